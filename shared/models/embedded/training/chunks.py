"""Scenes rendered ahead into a folder of chunks, for training.

python -m shared.models.embedded.training.chunks FOLDER --start 0 --chunks 40
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from shared.models.embedded.training.scenes import render_batch

SIDE = 256
CHUNK = 200
PLANES = 7  # foreground, alpha, background


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
