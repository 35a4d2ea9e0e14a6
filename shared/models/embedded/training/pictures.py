"""The card's pictures: image, mask and cutout on a checkerboard, for held-out renders and for photographs.

python -m shared.models.embedded.training.pictures [--out FOLDER]
python -m shared.models.embedded.training.pictures --samples FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from shared.models.embedded.training.scenes import HELD_OUT, render
from shared.models.embedded.training.train import HERE, held_out, load, predict

HEIGHT = 176
# The local run's sample images: name, kind of subject, seed, width and height.
SAMPLES = (
    ("marten", "face", 70015, (1200, 1600)),
    ("cars", "vehicle", 70014, (1600, 1200)),
    ("walker", "people", 70017, (1200, 1600)),
)


def checkerboard(height: int, width: int, square: int = 8) -> np.ndarray:
    """Grey squares, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[:height, :width] // square
    return np.repeat(np.where((rows + columns) % 2, 210, 160).astype(np.uint8)[..., None], 3, 2)


def triple(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Image, mask and cutout side by side, HEIGHT pixels high; image uint8 [h, w, 3], mask [h, w] in [0, 1]."""
    size = (round(image.shape[1] * HEIGHT / image.shape[0]), HEIGHT)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)[..., None]
    cutout = small * alpha + checkerboard(size[1], size[0]) * (1 - alpha)
    grey = np.repeat((alpha * 255).round(), 3, 2)
    return np.concatenate([small, grey.astype(np.uint8), cutout.round().astype(np.uint8)], 1)


def sheet(rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one height laid out in columns on white."""
    width = max(r.shape[1] for r in rows)
    padded = [np.pad(r, ((4, 4), (4, width - r.shape[1] + 4), (0, 0)), constant_values=255) for r in rows]
    padded += [np.full_like(padded[0], 255)] * (-len(padded) % columns)
    return np.concatenate([np.concatenate(padded[i : i + columns], 1) for i in range(0, len(padded), columns)], 0)


def write(picture: np.ndarray, file: Path, quality: int) -> None:
    """Stores uint8 RGB [h, w, 3] as JPEG."""
    cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])


def main() -> None:
    """Writes renders.jpg and photographs.jpg, or the sample images."""
    parser = argparse.ArgumentParser(description="Make the pictures of the card, or the samples of the local run.")
    parser.add_argument("--model", type=Path, default=HERE)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--samples", type=Path, help="folder to render the sample images into, instead")
    options = parser.parse_args()
    if options.samples:
        for name, kind, seed, size in SAMPLES:
            write(render(seed, size, kind=kind).image, options.samples / f"{name}.jpg", 88)
        return
    from skimage import data  # a development dependency

    model = load(options.model)
    scenes = [s.image for s in held_out(HELD_OUT, 12)]
    photographs = [data.astronaut(), data.chelsea(), data.coffee()]
    for name, images, columns in (("renders", scenes, 2), ("photographs", photographs, 1)):
        picture = sheet([triple(image, predict(model, image)) for image in images], columns)
        write(picture, options.out / f"{name}.jpg", 82)


if __name__ == "__main__":
    main()
