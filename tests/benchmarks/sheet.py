"""A contact sheet: each image and what several ways made of it, side by side on a checkerboard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL = 224  # pixels
GAP = 6
HEAD = 24
ROWS = 6


def contact_sheet(
    path: Path, images: Sequence[NDArray[np.uint8]], cutouts: Mapping[str, Sequence[NDArray[np.uint8]]]
) -> None:
    """images: uint8 HxWx3; cutouts: name -> one uint8 HxWx4 per image. Writes a PNG of the first rows."""
    columns = ["upload", *cutouts]
    count = min(ROWS, len(images))
    sheet = Image.new("RGB", (len(columns) * (CELL + GAP) + GAP, HEAD + count * (CELL + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, name in enumerate(columns):
        draw.text((GAP + column * (CELL + GAP), 4), name, fill="black", font=font)
        for row in range(count):
            picture = images[row] if column == 0 else on_checkerboard(cutouts[name][row])
            sheet.paste(Image.fromarray(fitted(picture)), (GAP + column * (CELL + GAP), HEAD + row * (CELL + GAP)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(path, optimize=True)


def on_checkerboard(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgba.shape[:2]
    square = max(4, max(height, width) // 32)
    rows, columns = np.arange(height)[:, None] // square, np.arange(width)[None] // square
    board = np.where((rows + columns) % 2, 255, 204)[..., None]
    alpha = rgba[:, :, 3:].astype(np.float32) / 255
    return np.rint(rgba[:, :, :3] * alpha + board * (1 - alpha)).astype(np.uint8)


def fitted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Into a cell, its aspect ratio kept, white around it."""
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    cell = np.full((CELL, CELL, 3), 255, np.uint8)
    top, left = (CELL - size[1]) // 2, (CELL - size[0]) // 2
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cell[top : top + size[1], left : left + size[0]] = small
    return cell


def edges(path: Path, image: Path, box: tuple[int, int, int, int], times: int = 3) -> None:
    """A piece of one sample's edge, enlarged: as uploaded, and three ways of cutting it, on green."""
    from shared.models import birefnet
    from tests.benchmarks.methods import methods

    rgb = np.asarray(Image.open(image).convert("RGB"))
    segmenter = birefnet.load("embedded")
    small = Image.fromarray(rgb).resize(segmenter.size, Image.Resampling.BILINEAR)
    mask = segmenter([np.asarray(small)])[0]
    left, top, right, bottom = box
    pieces = {"upload": rgb[top:bottom, left:right]}
    for name in ("rembg, putalpha", "blur-fusion, whole image", "ours"):
        rgba = methods(trained_on_alpha=False)[name](rgb, mask)[top:bottom, left:right]
        alpha = rgba[:, :, 3:].astype(np.float32) / 255
        pieces[name] = np.rint(rgba[:, :, :3] * alpha + np.array([0, 177, 64]) * (1 - alpha)).astype(np.uint8)
    width, height = (right - left) * times, (bottom - top) * times
    sheet = Image.new("RGB", (len(pieces) * (width + GAP) + GAP, HEAD + height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, (name, piece) in enumerate(pieces.items()):
        draw.text((GAP + column * (width + GAP), 4), name, fill="black", font=font)
        large = Image.fromarray(piece).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(large, (GAP + column * (width + GAP), HEAD))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    here = Path(__file__).parent
    edges(here / "pictures" / "edges.png", here.parents[1] / "function/local/samples/marten.jpg", (205, 420, 325, 560))
