"""The rendered ones among the sample images of the local run.

python -m shared.models.embedded.training.pictures FOLDER
"""

import argparse
from pathlib import Path

import cv2

from shared.models.embedded.training.scenes import render

# Name, kind of subject, seed, width and height.
SAMPLES = (
    ("marten", "face", 70015, (1200, 1600)),
    ("cars", "vehicle", 70014, (1600, 1200)),
    ("walker", "people", 70017, (1200, 1600)),
)


def main() -> None:
    """Writes the samples as JPEG."""
    parser = argparse.ArgumentParser(description="Render the sample images of the local run.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, kind, seed, size in SAMPLES:
        picture = cv2.cvtColor(render(seed, size, kind=kind).image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
