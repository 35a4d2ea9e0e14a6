"""Enlarging opaque images with Real-ESRGAN, in overlapping tiles.

Networks and checkpoints: Wang et al., "Real-ESRGAN", 2021 (BSD-3-Clause). They are opened by spandrel, which detects
the architecture and never executes what a checkpoint contains.
"""

import hashlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import NetworkFailed, WeightsError
from shared.models.device import first_that_fits, native_half_precision
from shared.models.limits import Limits
from shared.models.tiling import even_tiles
from shared.models.weights import fetch

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download/"
TILE = 384  # pixels of the network's input per side of a tile, without its overlap
OVERLAP = 32  # pixels of context on each side of a tile: computed and cut away, so that neighbours agree
BATCH = 4  # tiles in one forward on a GPU

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published checkpoint: where it is and what its bytes must hash to."""

    path: str
    sha256: str


PUBLISHED = {
    "RealESRGAN_x2plus": Release(
        path="v0.2.1/RealESRGAN_x2plus.pth",
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
    "RealESRGAN_x4plus": Release(
        path="v0.1.0/RealESRGAN_x4plus.pth",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    ),
    "realesr-general-x4v3": Release(
        path="v0.2.5.0/realesr-general-x4v3.pth",
        sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
    ),
}


def load(
    name: str,
    *,
    folder: Path,
    device: str = "cpu",
    dtype: str = "float32",
    tile: int = TILE,
    releases: str = RELEASES,
) -> "RealEsrgan":
    """An enlarger from a published name ("RealESRGAN_x2plus") or a local file.

    A published checkpoint is taken from `folder`, or fetched into it from `releases` (or a mirror of it), and must have
    its published sha256. A local file is opened whatever its hash, which is logged. Raises WeightsError.
    """
    path, digest = find(name, folder, releases)
    return RealEsrgan(_open(path), sha256=digest, device=device, dtype=dtype, tile=tile)


def find(name: str, folder: Path, releases: str = RELEASES) -> tuple[Path, str]:
    """The file that `load` opens, fetched if needed, and its sha256. Raises WeightsError."""
    release = PUBLISHED.get(name.removesuffix(".pth"))
    if release is not None:
        return fetch(releases + release.path, release.sha256, folder), release.sha256
    path = Path(name)
    if not path.is_file():
        raise WeightsError(f"{name} is neither a file nor one of {', '.join(PUBLISHED)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    LOG.warning("Real-ESRGAN weights from a local file: %s, sha256 %s", path.name, digest)
    return path, digest


def is_here(name: str, folder: Path) -> bool:
    """Whether `load` would find this checkpoint without fetching it."""
    release = PUBLISHED.get(name.removesuffix(".pth"))
    return (folder / Path(release.path).name if release else Path(name)).is_file()


def sha256_of(name: str) -> str:
    """The hash that `load` gives this checkpoint, without opening it."""
    release = PUBLISHED.get(name.removesuffix(".pth"))
    return release.sha256 if release else hashlib.sha256(Path(name).read_bytes()).hexdigest()


def _open(path: Path) -> "ImageModelDescriptor":
    from spandrel import ImageModelDescriptor, ModelLoader  # slow to import: only for who enlarges

    try:
        descriptor = ModelLoader(device="cpu").load_from_file(path)
    except Exception as error:  # spandrel raises many kinds, among them its own, pickle's and zipfile's
        raise WeightsError(f"{path.name} is not a checkpoint that can be opened safely: {error}") from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3 or descriptor.scale < 2:
        raise WeightsError(f"{path.name} holds a network that does not enlarge RGB images")
    return descriptor


class RealEsrgan:
    """Images, enlarged. Thread-safe: one call at a time is in the network."""

    def __init__(
        self, descriptor: "ImageModelDescriptor", *, sha256: str, device: str, dtype: str, tile: int = TILE
    ) -> None:
        """tile: pixels of the network's input per side of a tile, without its overlap."""
        self.sha256 = sha256
        self.native_scale = int(descriptor.scale)
        self.limits = _limits(descriptor)
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, self.limits.dtype(dtype, device, native=native_half_precision()))
        network: Any = descriptor.to(self._device, dtype=self._dtype).eval().model
        self._network = network.to(memory_format=torch.channels_last)
        self._tile = self.limits.rounded_down(tile)
        self._lock = threading.Lock()

    def enlarge(
        self, rgb: NDArray[np.uint8], *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """An opaque image, `scale` (2 or 4) times wider and higher.

        rgb: uint8, HxWx3. wanted: bool, HxW; tiles without a wanted pixel are not computed and stay 0; None = all.
        Other scales than the network's own are reached by running it again, or by averaging down.
        Raises OutOfGpuMemory, GpuUnavailable, NetworkFailed.
        """
        result, reached = rgb, 1
        needed = np.ones(rgb.shape[:2], np.bool_) if wanted is None else wanted
        while reached < scale:
            result = self._enlarge_once(result, needed.repeat(reached, axis=0).repeat(reached, axis=1))
            reached *= self.native_scale
        if reached == scale:
            return result
        size = (rgb.shape[1] * scale, rgb.shape[0] * scale)
        smaller: NDArray[np.uint8] = cv2.resize(result, size, interpolation=cv2.INTER_AREA)
        return smaller

    def _enlarge_once(self, rgb: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> NDArray[np.uint8]:
        half = self.limits.rounded_down(self._tile // 2)
        with self._lock:
            return first_that_fits(
                lambda: self._run(rgb, wanted, self._tile, BATCH if self._device.type == "cuda" else 1),
                lambda: self._run(rgb, wanted, half, 1),
                what=f"enlarging with tiles of {half} pixels",
            )

    def _run(self, rgb: NDArray[np.uint8], wanted: NDArray[np.bool_], side: int, batch: int) -> NDArray[np.uint8]:
        height, width = wanted.shape
        scale = self.native_scale
        output = np.zeros((height * scale, width * scale, 3), np.uint8)
        cut = even_tiles(wanted, side=side, margin=OVERLAP, multiple=self.limits.multiple)
        for start in range(0, len(cut), batch):
            group = cut[start : start + batch]
            crops = np.stack([tile.crop(rgb) for tile in group])
            for tile, enlarged in zip(group, self._forward(crops), strict=True):
                target = tile.within(output, scale=scale)
                target[...] = enlarged[: target.shape[0], : target.shape[1]]
        return output

    @torch.inference_mode()
    def _forward(self, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles with their overlap, uint8 NxHxWx3 -> enlarged tiles without it."""
        batch = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).to(self._dtype).div_(255)
        result = self._network(batch).float()
        if not torch.isfinite(result).all():
            raise NetworkFailed("Real-ESRGAN gave values that are not numbers")
        inner = slice(OVERLAP * self.native_scale, -OVERLAP * self.native_scale)
        levels = result[:, :, inner, inner].clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        enlarged: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return enlarged


def _limits(descriptor: "ImageModelDescriptor") -> Limits:
    supported = {"float16": descriptor.supports_half, "bfloat16": descriptor.supports_bfloat16}
    return Limits(
        multiple=max(descriptor.size_requirements.multiple_of, 1),
        half_precision=frozenset(dtype for dtype, holds in supported.items() if holds),
    )
