"""The pictures of the model: the rendered samples of the local run, and the card's sheet of photographs.

python -m shared.models.embedded.training.pictures samples FOLDER
python -m shared.models.embedded.training.pictures sheet PHOTOGRAPHS FILE --before WEIGHTS
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.models.embedded.evaluate import Method, Photograph, network, photographs
from shared.models.embedded.training.scenes import render

Bytes = NDArray[np.uint8]

# Name, kind of subject, seed, width and height.
SAMPLES = (
    ("marten", "face", 70015, (1200, 1600)),
    ("cars", "vehicle", 70014, (1600, 1200)),
    ("walker", "standing", 70018, (1200, 1600)),
)
CELL = 150  # pixels: side of the square that a picture of the sheet fits into
COLUMNS = 3  # photographs side by side
GROUND = 200  # grey level behind the cutouts


def samples(folder: Path) -> None:
    """Writes the rendered samples as JPEG."""
    for name, kind, seed, size in SAMPLES:
        picture = cv2.cvtColor(render(seed, size, kind=kind).image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


def sheet(seen: Sequence[Photograph], methods: Sequence[Method]) -> Bytes:
    """Each photograph beside its cutout by each method, COLUMNS photographs in a row, uint8 RGB HxWx3."""
    cells = [_cells(photograph.image, methods) for photograph in seen]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    rows = [np.concatenate(cells[i : i + COLUMNS], axis=1) for i in range(0, len(cells), COLUMNS)]
    return np.concatenate(rows, axis=0)


def _cells(image: Bytes, methods: Sequence[Method]) -> Bytes:
    height, width = image.shape[:2]
    pictures = [image]
    for method in methods:
        alpha = cv2.resize(method(image), (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
        pictures.append((image * alpha + GROUND * (1 - alpha)).round().astype(np.uint8))
    return np.concatenate([_fitted(picture) for picture in pictures], axis=1)


def _fitted(picture: Bytes) -> Bytes:
    """The picture in the middle of a white square of CELL pixels and a margin."""
    scale = CELL / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cell = np.full((CELL + 6, CELL + 6, 3), 255, np.uint8)
    top, left = (CELL + 6 - size[1]) // 2, (CELL + 6 - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the samples of the local run, or the card's sheet.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("samples").add_argument("folder", type=Path)
    of_sheet = kinds.add_parser("sheet")
    of_sheet.add_argument("folder", type=Path, help="with images/ and masks/")
    of_sheet.add_argument("file", type=Path, help="JPEG to write")
    of_sheet.add_argument("--before", default="", metavar="WEIGHTS", help="other weights, in the column before ours")
    of_sheet.add_argument("--count", type=int, default=24, help="photographs, spread evenly over the names")
    options = parser.parse_args()
    if options.kind == "samples":
        samples(options.folder)
        return
    found = list(photographs(options.folder))
    chosen = [found[index] for index in np.linspace(0, len(found) - 1, options.count).round().astype(int)]
    names = [name for name in (options.before, "embedded") if name]
    picture = sheet(chosen, [network(name) for name in names])
    cv2.imwrite(str(options.file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    print("\n".join(photograph.name for photograph in chosen))


if __name__ == "__main__":
    main()
