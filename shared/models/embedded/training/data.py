"""Training samples: scenes rendered ahead into a folder of chunks, then re-composed and degraded anew for each batch.

python -m shared.models.embedded.training.data FOLDER --start 0 --chunks 40
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from shared.models.embedded.training.scenes import photographed, render_batch
from shared.models.embedded.training.textures import chance, uniform

SIDE = 256
CHUNK = 200
PLANES = 7  # foreground, alpha, background

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def render_chunk(folder: Path, index: int, device: torch.device, count: int = CHUNK) -> None:
    """Renders `count` scenes, of seeds from index * CHUNK on, into FOLDER/index.npy: uint8 [count, 7, SIDE, SIDE]."""
    planes = np.empty((count, PLANES, SIDE, SIDE), np.uint8)
    for start in range(0, count, 20):
        rows = range(start, min(start + 20, count))
        layers = render_batch([index * CHUNK + row for row in rows], SIDE, device)
        stacked = torch.cat([layers.foreground, layers.alpha, layers.background], 1)
        planes[start : start + 20] = (stacked * 255).round().to(torch.uint8).cpu().numpy()
    part = folder / f"{index:05d}.part"
    with part.open("wb") as file:
        np.save(file, planes)
    part.rename(folder / f"{index:05d}.npy")


class Samples:
    """Batches of crops made from the chunks of a folder, at one side length."""

    def __init__(self, folder: Path, side: int, device: torch.device, seed: int) -> None:
        self.side = side
        self.device = device
        self.random = np.random.default_rng([seed, side])
        kept = min(SIDE, round(side * 1.15))
        files = sorted(folder.glob("*.npy"))
        if not files:
            raise FileNotFoundError(
                f"no rendered scenes in {folder}; run python -m shared.models.embedded.training.data first"
            )
        chunks = [_shrunk(np.load(file, mmap_mode="r"), kept) for file in files]
        self.scenes = [(chunk, row) for chunk in chunks for row in range(len(chunk))]

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Normalised images [count, 3, side, side] and alphas [count, 1, side, side]."""
        front, back = self._draw(count, slice(0, PLANES)), self._draw(count, slice(4, PLANES))
        image, alpha = self._pasted(front[:, :3], front[:, 3:4], back, front[:, 4:])
        self._add_second(image, alpha)
        image = self._toned(image)
        images = [self._photographed(i) for i in image.cpu()]
        return normalised(torch.stack(images).to(self.device)), alpha

    def _add_second(self, image: Tensor, alpha: Tensor) -> None:
        """Pastes another scene's subject into about one image in eight, in place."""
        paired = np.flatnonzero(self.random.random(len(image)) < 0.12)
        if len(paired):
            second = self._draw(len(paired), slice(0, 4))
            other, places = second[:, 3:], torch.from_numpy(paired).to(self.device)
            image[places] = image[places] * (1 - other) + second[:, :3] * other
            alpha[places] = alpha[places] + other * (1 - alpha[places])

    def _draw(self, count: int, kept: slice) -> Tensor:
        """Some of the stored planes of random scenes, cropped, stretched and mirrored at random."""
        chosen = [self.scenes[index] for index in self.random.integers(len(self.scenes), size=count)]
        planes = torch.from_numpy(np.stack([chunk[row, kept] for chunk, row in chosen])).to(self.device).float() / 255
        zoom = self.random.choice([1.0, 0.85, 0.7], count, p=[0.5, 0.3, 0.2]) * self.random.uniform(0.9, 1.0, count)
        stretch = self.random.uniform(0.9, 1.0, count)
        flip = self.random.choice([-1.0, 1.0], count)
        free = 1 - zoom
        matrix = np.zeros((count, 2, 3), np.float32)
        matrix[:, 0, 0], matrix[:, 1, 1] = zoom * flip, zoom * stretch
        matrix[:, 0, 2], matrix[:, 1, 2] = self.random.uniform(-1, 1, (2, count)) * free * 0.8
        grid = nnf.affine_grid(
            torch.from_numpy(matrix).to(self.device), [*planes.shape[:2], self.side, self.side], False
        )
        return nnf.grid_sample(planes, grid, padding_mode="border", align_corners=False)

    def _pasted(self, colour: Tensor, alpha: Tensor, other: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Half of the subjects keep their own background, half get another scene's, with a shadow on some."""
        count = len(alpha)
        swap = torch.from_numpy(self.random.random(count) < 0.5).to(self.device).view(-1, 1, 1, 1)
        reach = max(3, self.side // 20) | 1
        shadow = nnf.avg_pool2d(alpha, reach, 1, reach // 2)
        shadow = torch.roll(shadow, (reach, int(self.random.integers(-reach, reach + 1))), (2, 3))
        strength = self.random.uniform(-0.4, 0.5, (count, 1, 1, 1)).clip(0).astype(np.float32)
        shaded = other * (1 - shadow * torch.from_numpy(strength).to(self.device))
        background = torch.where(swap, shaded, own)
        return colour * alpha + background * (1 - alpha), alpha

    def _toned(self, image: Tensor) -> Tensor:
        shape = (len(image), 3, 1, 1)
        gain = np.exp(self.random.normal(0, 0.12, (len(image), 1, 1, 1)) + self.random.normal(0, 0.05, shape))
        gamma = np.exp(self.random.normal(0, 0.15, (len(image), 1, 1, 1)))
        gains, gammas = (torch.from_numpy(v.astype(np.float32)).to(self.device) for v in (gain, gamma))
        toned = (image.clamp(1e-3, 1) * gains).clamp(0, 1) ** gammas
        grey = torch.from_numpy(self.random.random((len(image), 1, 1, 1)) < 0.05).to(self.device)
        return torch.where(grey, toned.mean(1, keepdim=True), toned)

    def _photographed(self, image: Tensor) -> Tensor:
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        if chance(self.random, 0.15):
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), uniform(self.random, 0.4, 1.3)), np.uint8)
        if chance(self.random, 0.7):
            pixels = photographed(pixels, self.random)
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def normalised(image: Tensor) -> Tensor:
    """RGB in [0, 1], [B, 3, h, w], as the network takes it."""
    mean, deviation = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (image - mean) / deviation


def _shrunk(planes: np.ndarray, side: int) -> np.ndarray:
    if side == planes.shape[-1]:
        return planes
    small = np.empty((len(planes), PLANES, side, side), np.uint8)
    for index, scene in enumerate(planes):
        for channel, plane in enumerate(scene):
            small[index, channel] = cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA)
    return small


def main() -> None:
    """Renders chunks that are not there yet."""
    parser = argparse.ArgumentParser(description="Render training scenes ahead.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for index in range(options.start, options.start + options.chunks):
        if not (options.folder / f"{index:05d}.npy").exists():
            render_chunk(options.folder, index, device)


if __name__ == "__main__":
    main()
