"""What mask to cutout costs and how true its colours and edges are: python -m tests.benchmarks.matting

Time is processor time of one thread, the median of five runs, so that a busy machine tells the same; memory is the peak
above what was resident before, inputs and earlier results excluded. Scenes are composites with known alpha and colours.
"""

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from shared import enhancement
from shared.foreground import estimate_foreground, with_own_colours
from shared.local_colours import LocalColours
from shared.matting import refine_alpha
from shared.models import scaling
from shared.options import CutOptions, MaskPreset
from shared.soft_pixels import soft
from shared.subject import measure
from tests.composites import Composite, colour_error, composite, full_blur_fusion, hairy_disc

SIZES = ((1600, 1200), (4000, 3000), (8000, 6000))
RUNS = 5
LIMIT_MS, LIMIT_MB = 150.0, 60.0  # of refining at 12 megapixels
SCENES = (("astronaut", "coffee"), ("chelsea", "rocket"), ("rocket", "astronaut"), ("coffee", "chelsea"))

console = Console()


def memory(field: str) -> float:
    """MB that this process holds (VmRSS) or has held at most (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1000


def cost(step: Callable[[], object]) -> tuple[float, float]:
    """(milliseconds, MB) of one call."""
    step()
    ctypes.CDLL(None).malloc_trim(0)  # or memory that earlier steps have freed would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    step()
    peak = memory("VmHWM") - before
    taken = []
    for _ in range(RUNS):
        started = time.thread_time()
        step()
        taken.append((time.thread_time() - started) * 1000)
    return statistics.median(taken), max(0.0, peak)


def after_the_network(image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    size = (image.shape[1], image.shape[0])
    enhanced = enhancement.enhance(mask, CutOptions(), MaskPreset.STANDARD)
    unknown = scaling.to_image(enhancement.unknown_band(enhanced, mask, CutOptions()), size)
    colours = LocalColours.estimate(image, unknown)
    alpha = refine_alpha(image, scaling.to_image(enhanced, size), unknown, colours)
    measure(alpha)
    return estimate_foreground(image, alpha, colours.updated(alpha))


def costs(width: int, height: int) -> dict[str, tuple[float, float]]:
    mask = hairy_disc(1024, 1024, strands=60, thickness=1.5, softness=1).astype(np.float32) * np.float32(1 / 255)
    truth = cv2.resize(mask, (width, height), interpolation=cv2.INTER_CUBIC)
    image = composite(np.rint(np.clip(truth, 0, 1) * 255).astype(np.uint8)).image
    options = CutOptions()
    size = (width, height)
    enhanced = enhancement.enhance(mask, options, MaskPreset.STANDARD)
    alpha = scaling.to_image(enhanced, size)

    unknown = scaling.to_image(enhancement.unknown_band(enhanced, mask, options), size)
    colours = LocalColours.estimate(image, unknown)
    refined = refine_alpha(image, alpha, unknown, colours)
    console.print(
        f"{width}x{height}: {soft(refined).mean():.1%} of the pixels are soft, "
        f"{soft(unknown).mean():.1%} were to the network"
    )

    def refine() -> NDArray[np.uint8]:
        unknown = scaling.to_image(enhancement.unknown_band(enhanced, mask, options), size)
        return refine_alpha(image, alpha, unknown, LocalColours.estimate(image, unknown))

    steps: dict[str, Callable[[], object]] = {
        "network's input": lambda: scaling.to_network(image, (1024, 1024)),
        "enhance": lambda: enhancement.enhance(mask, options, MaskPreset.STANDARD),
        "upsample": lambda: scaling.to_image(enhanced, size),
        "refine edges": refine,
        "subject": lambda: measure(refined),
        "merge": lambda: with_own_colours(image, refined),
        "merge, colours after refining": lambda: estimate_foreground(image, refined, colours.updated(refined)),
        "merge, colours alone": lambda: estimate_foreground(image, alpha, LocalColours.estimate(image, alpha)),
        "all after the network": lambda: after_the_network(image, mask),
    }
    return {name: cost(step) for name, step in steps.items()}


def show_costs() -> None:
    table = Table("one thread, ms (MB)", *(f"{width}x{height}" for width, height in SIZES))
    columns = [costs(width, height) for width, height in SIZES]
    for name in columns[0]:
        table.add_row(name, *(f"{column[name][0]:.0f} ({column[name][1]:.0f})" for column in columns))
    console.print(table)
    taken, held = columns[SIZES.index((4000, 3000))]["refine edges"]
    shares = f"{taken / LIMIT_MS:.2f} of its {LIMIT_MS:.0f} ms, {held / LIMIT_MB:.2f} of its {LIMIT_MB:.0f} MB"
    console.print(f"refining at 12 MP: {shares}")


def network_s(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a network at a quarter of the size makes of an alpha."""
    small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    mask = cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), 1)
    return scaling.to_image(mask, (alpha.shape[1], alpha.shape[0]))


def colour_methods() -> dict[str, Callable[[Composite], NDArray[np.generic]]]:
    methods: dict[str, Callable[[Composite], NDArray[np.generic]]] = {
        "no cleaning": lambda scene: scene.image,
        "ours": lambda scene: estimate_foreground(
            scene.image, scene.alpha, LocalColours.estimate(scene.image, scene.alpha)
        ),
        "blur-fusion, whole image": lambda scene: full_blur_fusion(scene.image, scene.alpha),
    }
    try:
        from pymatting import estimate_foreground_ml
    except ImportError:
        console.print("pymatting is not installed: not compared")
    else:
        methods["pymatting, multi-level"] = lambda scene: (
            estimate_foreground_ml(scene.image / 255, scene.alpha / 255) * 255
        )
    return methods


def show_colours() -> None:
    table = Table("colour error of the soft band, levels of 255", *(" on ".join(scene) for scene in SCENES), "mean")
    truth = hairy_disc(1100, 1000, strands=800, thickness=2, softness=1)
    scenes = [composite(truth, subject=subject, background=background) for subject, background in SCENES]
    for name, method in colour_methods().items():
        errors = [colour_error(method(scene), scene) for scene in scenes]
        table.add_row(name, *(f"{error:.2f}" for error in (*errors, statistics.mean(errors))))
    console.print(table)


def show_edges() -> None:
    table = Table("alpha's error, SAD in thousands", *(" on ".join(scene) for scene in SCENES), "same on same")
    for label, strands in (("hair", 500), ("edge", 0)):
        truth = hairy_disc(900, 800, strands=strands, thickness=3, softness=1.2)
        coarse = network_s(truth)
        rows: dict[str, list[float]] = {"as the network gives it": [], "refined": []}
        for subject, background in (*SCENES, ("chelsea", "chelsea")):
            image = composite(truth, subject=subject, background=background, mirrored=subject == background).image
            for name, alpha in (
                ("as the network gives it", coarse),
                ("refined", refine_alpha(image, coarse, coarse, LocalColours.estimate(image, coarse))),
            ):
                rows[name].append(float(np.abs(alpha.astype(int) - truth).sum()) / 255_000)
        for name, errors in rows.items():
            table.add_row(f"{label}, {name}", *(f"{error:.2f}" for error in errors))
    console.print(table)


def main() -> None:
    cv2.setNumThreads(1)
    show_colours()
    show_edges()
    show_costs()


if __name__ == "__main__":
    main()
