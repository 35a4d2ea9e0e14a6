"""Milliseconds and memory of reading uploads and writing results: python -m tests.benchmarks.codec [MEGAPIXELS ...]

Each operation runs in a process of its own, alone, a few times; the shortest run counts (CPU time beside it: on a
busy machine it is the steadier figure). Peak memory is the process's high-water mark above what it held before, the
input not counted. Other writers of the same pixels run in the same way, and are told as multiples of ours.
"""

import argparse
import functools
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from shared.decoding import decode
from shared.encoding import encode
from shared.options import CutOptions
from shared.records import Cutout, Subject
from shared.rendition import render

RUNS = 3
MB = 1_000_000
LIMIT = 200_000_000  # pixels


def photograph(width: int, height: int) -> np.ndarray:
    """Smooth shapes, texture and grain, RGB."""
    random = np.random.default_rng(0)
    scene = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((6, 160), (60, 50), (400, 16)):
        coarse = random.random((cells, cells, 3), np.float32) * strength
        scene += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    scene += random.standard_normal((height, width, 1), np.float32) * 2
    return np.clip(scene, 0, 255).astype(np.uint8)


def cut(rgb: np.ndarray) -> np.ndarray:
    """A soft ellipse of the photograph, straight RGBA, nothing hidden under it: about half of the frame."""
    height, width = rgb.shape[:2]
    y, x = np.ogrid[0:height, 0:width]
    distance = np.hypot((x / width - 0.5) / 0.42, (y / height - 0.5) / 0.36).astype(np.float32)
    alpha = np.clip((1 - distance) * 60 * 255 + 128, 0, 255).astype(np.uint8)
    rgba = np.dstack([rgb, alpha])
    rgba[alpha == 0] = 0
    return rgba


def prepare(folder: Path, megapixels: int) -> None:
    width = round((megapixels * MB * 4 / 3) ** 0.5)
    rgb = photograph(width, round(megapixels * MB / width))
    files: dict[str, dict[str, Any]] = {
        "photo.jpg": {"quality": 92},
        "photo.png": {"compress_level": 1},
        "photo.webp": {"quality": 90, "method": 0},
        "photo.tif": {},
        "photo.avif": {"quality": 85, "speed": 10},
    }
    for name, settings in files.items():
        Image.fromarray(rgb).save(folder / name, **settings)
    rgba = cut(rgb)
    np.save(folder / "rgba.npy", rgba)
    Image.fromarray(rgba).save(folder / "cutout.png", compress_level=1)


def operations(folder: Path) -> dict[str, Callable[[], object]]:
    """Name -> a call without arguments; what it reads is loaded by `inputs` before."""

    @functools.cache
    def file(name: str) -> bytes:
        return (folder / name).read_bytes()

    @functools.cache
    def cutout() -> Cutout:
        rgba = np.load(folder / "rgba.npy")
        box = (rgba.shape[1] // 12, rgba.shape[0] // 7, rgba.shape[1] * 11 // 12, rgba.shape[0] * 6 // 7)
        return Cutout(rgba=rgba, subject=Subject(coverage=0.5, uncertain=0.02, box=box))

    @functools.cache
    def on_white() -> Cutout:
        return render(cutout(), CutOptions(bg_color="#ffffff"))

    def read(name: str) -> Callable[[], object]:
        return lambda: decode(file(name), max_pixels=LIMIT)

    def write(made: Callable[[], Cutout], **texts: str) -> Callable[[], object]:
        return lambda: encode(made(), CutOptions.from_texts(texts)).data

    def rendered(**texts: str) -> Callable[[], object]:
        return lambda: render(cutout(), CutOptions.from_texts(texts))

    def pillow(level: int) -> Callable[[], object]:
        def save() -> bytes:
            stream = io.BytesIO()
            Image.fromarray(cutout().rgba).save(stream, "PNG", compress_level=level)
            return stream.getvalue()

        return save

    def opencv() -> bytes:
        return cv2.imencode(".png", cv2.cvtColor(cutout().rgba, cv2.COLOR_RGBA2BGRA))[1].tobytes()

    names = ("photo.jpg", "photo.png", "photo.webp", "photo.tif", "photo.avif", "cutout.png")
    return {
        **{f"read {name}": read(name) for name in names},
        "write png": write(cutout),
        "write png, Pillow's default": pillow(6),
        "write png, Pillow level 1": pillow(1),
        "write png, OpenCV": opencv,
        "write webp": write(cutout, format="webp"),
        "write zip": write(cutout, format="zip"),
        "write jpg on white": write(on_white, format="jpg", bg_color="white"),
        "render: on white": rendered(bg_color="white"),
        "render: crop": rendered(crop="true", crop_margin="5%"),
        "render: 2000x2000 at 80%": rendered(size="2000x2000", scale="80%"),
    }


def memory(field: str) -> float:
    """MB of this process: VmRSS = now, VmHWM = the peak."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / MB


def measure(folder: Path, name: str) -> dict[str, float]:
    """One operation, in this process. The first run fills caches and tells the memory."""
    operation = operations(folder)[name]
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = memory("VmRSS")
        result = operation()
        peak = memory("VmHWM") - before
        size = len(result) / MB if isinstance(result, bytes) else 0.0
        del result
    times = []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        operation()
        times.append(((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000))
    return {"ms": min(t[0] for t in times), "cpu_ms": min(t[1] for t in times), "peak_mb": peak, "file_mb": size}


def table(folder: Path, megapixels: int) -> Table:
    result = Table("operation", "ms", "CPU ms", "peak MB", "file MB", "against ours", title=f"{megapixels} megapixels")
    ours = 0.0
    for name in operations(folder):
        command = [sys.executable, "-m", "tests.benchmarks.codec", "--folder", str(folder), "--operation", name]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        ours = figures["cpu_ms"] if name == "write png" else ours
        ratio = f"{figures['cpu_ms'] / ours:.1f} x" if name.startswith("write png,") else ""
        numbers = (f"{figures['ms']:.0f}", f"{figures['cpu_ms']:.0f}", f"{figures['peak_mb']:.0f}")
        result.add_row(name, *numbers, f"{figures['file_mb']:.2f}" if figures["file_mb"] else "", ratio)
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("megapixels", type=int, nargs="*", default=[12, 48])
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--operation", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.operation:
        print(json.dumps(measure(given.folder, given.operation)))
        return
    for megapixels in given.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), megapixels)
            Console(width=110).print(table(Path(folder), megapixels))


if __name__ == "__main__":
    main()
