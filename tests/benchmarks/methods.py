"""Ways to make a cutout from an image and a mask at network scale: ours, ours without each step, and what others do.

Every method: image uint8 HxWx3, mask float32 hxw in 0..1 -> straight RGBA uint8 HxWx4. The recipes of others are
written down here for the comparison, from their descriptions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.cutter import Cutter, Upscaler
from shared.options import AlphaMatting, CutOptions, MaskPreset
from shared.records import Cutout, ModelInfo, SourceImage

Method = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]
OURS = CutOptions()


class GivenMask:
    """A segmenter that always sees the same mask: it takes the network out of a comparison.

    trained_on_alpha: whether the mask is opacity already, as matting checkpoints give it; the preset follows from it.
    """

    def __init__(self, mask: NDArray[np.float32], *, trained_on_alpha: bool) -> None:
        self._mask = mask
        self.trained_on_alpha = trained_on_alpha
        self.size = (mask.shape[1], mask.shape[0])
        self.info = ModelInfo(id="given", revision="", sha256="", device="cpu", dtype="float32")

    def __call__(self, batch: Sequence[NDArray[np.uint8]], /) -> list[NDArray[np.float32]]:
        return [self._mask] * len(batch)


def cut(
    image: NDArray[np.uint8],
    mask: NDArray[np.float32],
    options: CutOptions,
    *,
    trained_on_alpha: bool,
    upscaler: Upscaler | None = None,
) -> Cutout:
    """The product's own way from a mask to a cutout."""
    cutter = Cutter(GivenMask(mask, trained_on_alpha=trained_on_alpha), upscaler=upscaler)
    try:
        return cutter(SourceImage(rgb=image.copy()), options)
    finally:
        cutter.stop()


def ours(*, trained_on_alpha: bool, **changes: object) -> Method:
    options = replace(OURS, **changes)  # type: ignore[arg-type]
    return lambda image, mask: np.asarray(cut(image, mask, options, trained_on_alpha=trained_on_alpha).rgba)


def _stretched(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(mask.min()), float(mask.max())
    return (mask - low) / (high - low) if high > low else mask


def _enlarged(mask: NDArray[np.float32], image: NDArray[np.uint8], how: Image.Resampling) -> NDArray[np.uint8]:
    levels = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(levels.resize((image.shape[1], image.shape[0]), how))


def rembg_naive(image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Composite onto transparent black: colours come out multiplied by alpha."""
    alpha = Image.fromarray(_enlarged(_stretched(mask), image, Image.Resampling.LANCZOS))
    picture = Image.fromarray(image).convert("RGBA")
    return np.asarray(Image.composite(picture, Image.new("RGBA", picture.size, 0), alpha))


def rembg_putalpha(image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image's own colours below the mask."""
    return np.dstack([image, _enlarged(_stretched(mask), image, Image.Resampling.LANCZOS)])


def blur_fusion(image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours by two passes of blur-fusion over the whole image (Forte, ICIP 2021), windows of 90 and 6 pixels."""
    alpha = _enlarged(mask, image, Image.Resampling.BICUBIC)
    share = (alpha.astype(np.float32) / 255)[..., None]
    picture = image.astype(np.float32) / 255
    front, behind = picture, picture
    for side in (90, 6):
        weight = cv2.blur(share[..., 0], (side, side))[..., None]
        mean = cv2.blur(front * share, (side, side)) / (weight + 1e-5)
        behind = cv2.blur(behind * (1 - share), (side, side)) / (1 - weight + 1e-5)
        front = np.clip(mean + share * (picture - share * mean - (1 - share) * behind), 0, 1)
    return np.dstack([(front * 255).astype(np.uint8), alpha])


def methods(*, trained_on_alpha: bool) -> Mapping[str, Method]:
    """All of them; ours as for a checkpoint that was trained on opacity, or on binary masks."""
    other = MaskPreset.STANDARD if trained_on_alpha else MaskPreset.SOFT
    return {
        "ours": ours(trained_on_alpha=trained_on_alpha),
        "ours, no edge refinement": ours(trained_on_alpha=trained_on_alpha, alpha_matting=AlphaMatting.OFF),
        "ours, no colour cleaning": ours(trained_on_alpha=trained_on_alpha, refine_foreground=False),
        "ours, no mask enhancement": ours(trained_on_alpha=trained_on_alpha, mask_preset=MaskPreset.OFF),
        "ours, no clean-up": ours(trained_on_alpha=trained_on_alpha, mask_kernel=1),
        f"ours, {other} preset": ours(trained_on_alpha=trained_on_alpha, mask_preset=other),
        "blur-fusion, whole image": blur_fusion,
        "rembg, naive": rembg_naive,
        "rembg, putalpha": rembg_putalpha,
    }


class Sharpened:
    """An enlarger for machines without Real-ESRGAN's weights: Lanczos, then a strong unsharp mask.

    It does what super-resolution does to a segmenting network's input, in kind: steeper edges with halos beside them.
    """

    sha256 = "none"
    name = "Lanczos and unsharp mask (no Real-ESRGAN weights here)"

    def enlarge(
        self, rgb: NDArray[np.uint8], /, *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        size = (rgb.shape[1] * scale, rgb.shape[0] * scale)
        large = cv2.resize(rgb, size, interpolation=cv2.INTER_LANCZOS4)
        soft = cv2.GaussianBlur(large, (0, 0), 1.5 * scale)
        return np.asarray(cv2.addWeighted(large, 2.0, soft, -1.0, 0), np.uint8)
