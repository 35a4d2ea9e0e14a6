"""Enlarging with Real-ESRGAN: opaque colour in overlapping tiles, opacity apart, recombined straight.

Networks and checkpoints: Wang et al., "Real-ESRGAN", 2021 (BSD-3-Clause). They are opened by spandrel, which detects
the architecture and never executes what a checkpoint contains.
"""

import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from spandrel import ImageModelDescriptor, ModelLoader

from shared.errors import NetworkFailed, OutOfGpuMemory, WeightsError
from shared.models.device import gpu_faults
from shared.models.weights import fetch
from shared.upscaling import enlarge_cutout

RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download/"
TILE = 256  # network-input pixels per side of a tile, its overlap not counted
OVERLAP = 32  # pixels of context on each side; they are computed and cut away, so that neighbours agree
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
    release = PUBLISHED.get(name.removesuffix(".pth"))
    if release is not None:
        path = fetch(releases + release.path, release.sha256, folder)
        digest = release.sha256
    else:
        path = Path(name)
        if not path.is_file():
            raise WeightsError(f"{name} is neither a file nor one of {', '.join(PUBLISHED)}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        LOG.warning("Real-ESRGAN weights from a local file: %s, sha256 %s", path.name, digest)
    return RealEsrgan(_open(path), sha256=digest, device=device, dtype=dtype, tile=tile)


def is_here(name: str, folder: Path) -> bool:
    """Whether `load` would find this checkpoint without fetching it."""
    release = PUBLISHED.get(name.removesuffix(".pth"))
    return (folder / Path(release.path).name if release else Path(name)).is_file()


def _open(path: Path) -> ImageModelDescriptor:
    try:
        descriptor = ModelLoader(device="cpu").load_from_file(path)
    except Exception as error:  # spandrel raises many kinds, among them its own, pickle's and zipfile's
        raise WeightsError(f"{path.name} is not a checkpoint that can be opened safely: {error}") from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3 or descriptor.scale < 2:
        raise WeightsError(f"{path.name} holds a network that does not enlarge RGB images")
    return descriptor


@dataclass(frozen=True, slots=True)
class _Tile:
    """One square of the image: its fresh pixels start at (top, left)."""

    top: int
    left: int


class RealEsrgan:
    """Cutouts and images, enlarged. Thread-safe: one call at a time is in the network."""

    def __init__(
        self, descriptor: ImageModelDescriptor, *, sha256: str, device: str, dtype: str, tile: int = TILE
    ) -> None:
        self.sha256 = sha256
        self.native_scale = int(descriptor.scale)
        self._device = torch.device(device)
        self._dtype = _working_dtype(descriptor, device, dtype)
        self._network: Any = descriptor.to(self._device, dtype=self._dtype).eval().model
        self._multiple = max(descriptor.size_requirements.multiple_of, 1)
        self._tile = max(self._multiple, tile - tile % self._multiple)
        self._turn = threading.Lock()

    def __call__(self, rgba: NDArray[np.uint8], *, scale: int) -> NDArray[np.uint8]:
        """A straight-alpha cutout, `scale` (2 or 4) times wider and higher.

        rgba: uint8, HxWx4. Gives uint8, (H*scale)x(W*scale)x4, colour 0 where alpha is 0 except beside the edge.
        Raises OutOfGpuMemory, NetworkFailed.
        """
        return enlarge_cutout(rgba, self.enlarge, scale=scale)

    def enlarge(
        self, rgb: NDArray[np.uint8], *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """An opaque image, `scale` times wider and higher.

        rgb: uint8, HxWx3. wanted: bool, HxW; tiles without a wanted pixel are not computed and stay 0. Other scales
        than the network's own are reached by running it again, or by averaging down.
        """
        result, reached = rgb, 1
        while reached < scale:
            result = self._enlarge_once(result, _grown(wanted, reached))
            reached *= self.native_scale
        if reached == scale:
            return result
        size = (rgb.shape[1] * scale, rgb.shape[0] * scale)
        return np.asarray(cv2.resize(result, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _enlarge_once(self, rgb: NDArray[np.uint8], wanted: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        with self._turn, gpu_faults():
            try:
                return self._run(rgb, wanted, self._tile, BATCH if self._device.type == "cuda" else 1)
            except torch.cuda.OutOfMemoryError:
                LOG.warning("out of GPU memory while enlarging: once more with a quarter of the pixels per tile")
            torch.cuda.empty_cache()
            half = max(self._multiple, self._tile // 2 - self._tile // 2 % self._multiple)
            try:
                return self._run(rgb, wanted, half, 1)
            except torch.cuda.OutOfMemoryError as error:
                raise OutOfGpuMemory(f"enlarging does not fit into GPU memory with tiles of {half} pixels") from error

    def _run(
        self, rgb: NDArray[np.uint8], wanted: NDArray[np.bool_] | None, tile: int, batch: int
    ) -> NDArray[np.uint8]:
        height, width = rgb.shape[:2]
        scale = self.native_scale
        tile = min(tile, -(-max(height, width) // self._multiple) * self._multiple)
        output = np.zeros((height * scale, width * scale, 3), np.uint8)
        tiles = list(_wanted_tiles(height, width, tile, wanted))
        for start in range(0, len(tiles), batch):
            group = tiles[start : start + batch]
            crops = np.stack([_crop(rgb, t, tile) for t in group])
            for position, fresh in zip(group, self._forward(crops, tile), strict=True):
                top, left = position.top * scale, position.left * scale
                target = output[top : top + tile * scale, left : left + tile * scale]
                target[...] = fresh[: target.shape[0], : target.shape[1]]
        return output

    def _forward(self, crops: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
        """uint8 NxSxSx3 with overlap -> uint8 Nx(tile*scale)x(tile*scale)x3 without."""
        with torch.inference_mode():
            batch = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).to(self._dtype).div_(255)
            result = self._network(batch).float()
            if not torch.isfinite(result).all():
                raise NetworkFailed("Real-ESRGAN gave values that are not numbers")
            inner = slice(OVERLAP * self.native_scale, (OVERLAP + tile) * self.native_scale)
            levels = result[:, :, inner, inner].clamp_(0, 1).mul_(255).round_().to(torch.uint8)
            return np.asarray(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _working_dtype(descriptor: ImageModelDescriptor, device: str, dtype: str) -> torch.dtype:
    """Half precision only on a GPU and only where the network allows it."""
    allowed = {"float16": descriptor.supports_half, "bfloat16": descriptor.supports_bfloat16}
    if torch.device(device).type == "cuda" and allowed.get(dtype, False):
        return torch.float16 if dtype == "float16" else torch.bfloat16
    return torch.float32


def _grown(wanted: NDArray[np.bool_] | None, times: int) -> NDArray[np.bool_] | None:
    return wanted if wanted is None or times == 1 else wanted.repeat(times, 0).repeat(times, 1)


def _wanted_tiles(height: int, width: int, tile: int, wanted: NDArray[np.bool_] | None) -> Iterator[_Tile]:
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            if wanted is None or wanted[top : top + tile, left : left + tile].any():
                yield _Tile(top, left)


def _crop(rgb: NDArray[np.uint8], tile: _Tile, side: int) -> NDArray[np.uint8]:
    """The tile with OVERLAP pixels around it; beyond the image its mirror image, however small the image is."""
    rows = _mirrored(np.arange(tile.top - OVERLAP, tile.top + side + OVERLAP), rgb.shape[0])
    columns = _mirrored(np.arange(tile.left - OVERLAP, tile.left + side + OVERLAP), rgb.shape[1])
    return rgb[rows[:, None], columns[None, :]]


def _mirrored(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Reflection about the outermost pixels, which are not repeated."""
    if length == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)
