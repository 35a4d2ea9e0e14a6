"""Photographs with masks, backgrounds and cut-outs, read from a folder that is no part of the product.

The folder has index.csv (split, file, mask, source, drawn, fg_fraction), images/, masks/, backgrounds/ and cutouts/.
Masks are uint8: 255 subject, 0 background, 128 unknown.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.models.embedded.training.textures import Random

Bytes = NDArray[np.uint8]

# Share of each source among the photographs drawn: objects are not forgotten while people are learnt.
SHARES = {"caltech101": 0.46, "clothing_co_parsing": 0.3, "oxford_iiit_pet": 0.17, "feral_cat": 0.07}
DRAWN = 0.3  # a drawing is drawn this often for each time that a photograph of its source is
UNKNOWN = 128
SMALLEST = 0.002  # share of a photograph that its mask covers; less is a mask that lost its subject
EMPTY = "BACKGROUND_"  # Caltech's class of pictures that show none of its objects


class Photographs:
    """What the folder holds, decoded when it is asked for. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where the folder has no index."""
        with (folder / "index.csv").open(newline="") as file:
            listed = [row for row in csv.DictReader(file) if row["split"] == "train"]
        rows = [row for row in listed if float(row["fg_fraction"]) >= SMALLEST]
        self.folder = folder
        self.pairs = [(row["file"], row["mask"], row["source"]) for row in rows]
        weights = np.array([DRAWN if row["drawn"] == "1" else 1.0 for row in rows])
        sources = np.array([row["source"] for row in rows])
        for source in np.unique(sources):
            chosen = sources == source
            weights[chosen] *= SHARES.get(str(source), 0.1) / weights[chosen].sum()
        self._chances = np.cumsum(weights / weights.sum())
        self._backgrounds = _images(folder / "backgrounds")
        self._empty = [path for path in self._backgrounds if path.name.startswith(EMPTY)] or self._backgrounds
        self._cutouts = _images(folder / "cutouts")

    def draw(self, random: Random) -> tuple[Bytes, Bytes, str]:
        """A photograph, uint8 RGB HxWx3, its mask, uint8 HxW, and its source."""
        place = min(int(np.searchsorted(self._chances, random.random())), len(self.pairs) - 1)
        image, mask, source = self.pairs[place]
        return read_image(self.folder / image), read_mask(self.folder / mask), source

    def background(self, random: Random) -> Bytes:
        """A photograph to paste on, uint8 RGB HxWx3; shelves and hands with goods are among them."""
        return read_image(_pick(random, self._backgrounds))

    def empty(self, random: Random) -> Bytes:
        """A photograph without a subject, uint8 RGB HxWx3."""
        return read_image(_pick(random, self._empty))

    def cutout(self, random: Random) -> tuple[Bytes, Bytes]:
        """A subject's colours, uint8 RGB HxWx3, and its true alpha, uint8 HxW."""
        pixels = np.asarray(cv2.imread(str(_pick(random, self._cutouts)), cv2.IMREAD_UNCHANGED), np.uint8)
        return np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB), np.uint8), np.asarray(pixels[..., 3])


def read_image(file: Path) -> Bytes:
    """uint8 RGB HxWx3."""
    return np.asarray(cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def read_mask(file: Path) -> Bytes:
    """uint8 HxW."""
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), np.uint8)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in (".jpg", ".png", ".webp"))


def _pick(random: Random, files: Sequence[Path]) -> Path:
    return files[int(random.integers(len(files)))]
