"""Before and after, side by side, for a person to look at."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

WIDEST = 1600  # pixels of the whole picture
TALLEST = 1200
GAP = 16  # pixels between the halves
LIGHT, DARK = 255, 204  # grey levels of the checkerboard


def before_after(upload: Path, result: Path, picture: Path) -> None:
    """Write the upload and the cutout on a checkerboard next to each other, as PNG, never enlarged."""
    before, after = _open(upload), _open(result)
    limit = ((WIDEST - GAP) // 2, TALLEST)
    before, after = _fit(before, limit), _fit(after, limit)
    canvas = Image.new("RGB", (before.width + GAP + after.width, max(before.height, after.height)), "white")
    for image, left in ((before, 0), (after, before.width + GAP)):
        board = checkerboard(image.width, image.height)
        canvas.paste(Image.composite(image, board, image.getchannel("A")), (left, (canvas.height - image.height) // 2))
    picture.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(picture)


def checkerboard(width: int, height: int, *, square: int = 12) -> Image.Image:
    """RGBA, opaque; `square` in pixels."""
    rows, columns = np.arange(height)[:, None] // square, np.arange(width)[None, :] // square
    grey = np.where((rows + columns) % 2 == 0, LIGHT, DARK).astype(np.uint8)
    return Image.fromarray(grey).convert("RGBA")


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))  # convert() would clip, not scale
        return upright.convert("RGBA")


def _fit(image: Image.Image, limit: tuple[int, int]) -> Image.Image:
    share = min(1.0, limit[0] / image.width, limit[1] / image.height)
    if share == 1.0:
        return image
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
