"""Before and after, side by side, for a person to look at."""

from pathlib import Path

import numpy as np
from PIL import Image

from shared import decoding

WIDEST = 1600  # pixels of the whole picture
TALLEST = 1200
GAP = 16  # pixels between the halves
LIGHT, DARK = 255, 204  # grey levels of the checkerboard
NO_LIMIT = 2**31  # pixels: the service has decoded both files already


def before_after(upload: Path, result: Path, picture: Path) -> None:
    """Write the upload and the cutout on a checkerboard next to each other, as PNG, never enlarged."""
    halves = []
    for path in (upload, result):
        image = decoding.decode(path.read_bytes(), max_pixels=NO_LIMIT)
        alpha = np.full((image.height, image.width), 255, np.uint8) if image.alpha is None else image.alpha
        halves.append(_on_checkerboard(Image.fromarray(image.rgb), Image.fromarray(alpha)))
        profile = image.icc_profile  # the result's is the upload's own
    left, right = halves
    canvas = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    for half, x in ((left, 0), (right, left.width + GAP)):
        canvas.paste(half, (x, (canvas.height - half.height) // 2))
    canvas.save(picture, icc_profile=profile or None)


def _on_checkerboard(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    share = min(1.0, (WIDEST - GAP) / 2 / rgb.width, TALLEST / rgb.height)
    size = (max(1, round(rgb.width * share)), max(1, round(rgb.height * share)))
    if share < 1.0:
        rgb, alpha = (band.resize(size, Image.Resampling.BOX, reducing_gap=2.0) for band in (rgb, alpha))
    return Image.composite(rgb, checkerboard(*size), alpha)


def checkerboard(width: int, height: int, *, square: int = 12) -> Image.Image:
    """RGB; `square` in pixels."""
    rows, columns = np.arange(height)[:, None] // square, np.arange(width)[None, :] // square
    grey = np.where((rows + columns) % 2 == 0, LIGHT, DARK).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
