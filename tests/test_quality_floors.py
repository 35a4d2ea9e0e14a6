"""Each stage from mask to cutout on a scene whose alpha and colours are known: how far its result is from the truth.

The figures are recorded. A stage that gets worse, or whose constants change, leaves them; a change that is meant, and
better, is recorded anew: python -m tests.test_quality_floors prints them.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared import enhancement
from shared.foreground import estimate_foreground
from shared.local_colours import LocalColours
from shared.matting import refine_alpha
from shared.models import scaling
from shared.options import CutOptions, MaskPreset
from shared.transparency import on_contrasting_ground, without_own_edges
from shared.upscaling import enlarge_cutout
from tests.composites import Composite, colour_error, composite, hairy_disc

OPTIONS = CutOptions()
SIZE = (1300, 1000)  # the grid of the local colours has half of it
TOLERANCE = 0.001  # of a figure: between processors and libraries; a constant that doubles moves some figure by more


@cache
def scene() -> Composite:
    return composite(
        hairy_disc(*SIZE, strands=300, thickness=3, softness=1.2), subject="astronaut", background="coffee"
    )


@cache
def probability(side: int = 640) -> NDArray[np.float32]:
    """What a network makes of the scene: blurred, with faint doubts, specks and pinholes of several sizes."""
    small = cv2.resize(scene().alpha, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask = cv2.GaussianBlur(small, (0, 0), 1.5)
    random = np.random.default_rng(0)
    for size in range(1, 12):
        for level in (0.15, 0.3, 0.7, 1.0):
            row, column = random.integers(10, side - 20, 2)
            patch = mask[row : row + size, column : column + size]
            patch[:] = 1 - level if patch.mean() > 0.9 else np.maximum(patch, level)
    doubt = cv2.GaussianBlur(random.random((side, side), np.float32), (0, 0), 12)
    return np.clip(mask + (doubt - doubt.mean()) * 1.5, 0, 1)


def levels(result: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Mean absolute difference, levels of 255."""
    return float(np.abs(result.astype(np.float64) - truth).mean())


@cache
def enhanced(side: int = 640) -> NDArray[np.float32]:
    return enhancement.enhance(probability(side), OPTIONS, MaskPreset.STANDARD)


@cache
def unknown(side: int = 640) -> NDArray[np.uint8]:
    return scaling.to_image(enhancement.unknown_band(enhanced(side), probability(side), OPTIONS), SIZE)


@cache
def refined() -> tuple[NDArray[np.uint8], LocalColours]:
    colours = LocalColours.estimate(scene().image, unknown())
    alpha = refine_alpha(scene().image, scaling.to_image(enhanced(), SIZE), unknown(), colours)
    return alpha, colours.updated(alpha)


def enlarged() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A cutout of half the size, enlarged by plain interpolation; and the scene's own alpha."""
    alpha, colours = (
        cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for plane in (scene().alpha, scene().colours)
    )
    colours[alpha == 0] = 0

    def cubic(rgb: NDArray[np.uint8], *, scale: int, wanted: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))

    return enlarge_cutout(np.dstack([colours, alpha]), cubic, scale=2), scene().alpha


def seen_transparent() -> NDArray[np.uint8]:
    """The matte of the scene's colours on transparency, as a network that blurs edges sees them on a ground."""
    seen = on_contrasting_ground(scene().colours, scene().alpha)
    matte = cv2.GaussianBlur(scene().alpha, (0, 0), 1.5)
    return np.asarray(without_own_edges(np.where(seen.max(axis=2) > 0, matte, 0).astype(np.uint8), scene().alpha))


def ground_below_light_grey() -> float:
    """Which ground is laid below a grey that is almost white: its level."""
    grey, alpha = np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8), np.uint8)
    alpha[:, 4:] = 255
    return 1 + float(on_contrasting_ground(grey, alpha)[0, 0, 0])


FIGURES: dict[str, tuple[Callable[[], float], float]] = {
    "enhanced mask": (lambda: levels(scaling.to_image(enhanced(), SIZE), scene().alpha), 11.2561),
    "unknown band": (lambda: levels(unknown(), scene().alpha), 8.8894),
    "unknown band of a small mask": (lambda: levels(unknown(128), scene().alpha), 24.9937),
    "refined edge": (lambda: levels(refined()[0], scene().alpha), 6.5719),
    "colours by the true alpha": (lambda: colour_error(cleaned(scene().alpha), scene()), 4.8192),
    "colours by the refined alpha": (
        lambda: colour_error(estimate_foreground(scene().image, *refined()), scene()),
        21.9333,
    ),
    "colour kept beside the edge, %": (
        lambda: 100 * float((cleaned(scene().alpha)[..., :3].max(axis=2) > 0).mean()),
        39.187,
    ),
    "enlarged cutout, alpha": (lambda: levels(enlarged()[0][..., 3], enlarged()[1]), 0.7428),
    "enlarged cutout, colours": (lambda: colour_error(enlarged()[0], scene()), 1.2566),
    "ground below light grey": (ground_below_light_grey, 1),
    "transparent upload": (lambda: levels(seen_transparent(), scene().alpha), 20.2451),
}


def cleaned(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return estimate_foreground(scene().image, alpha, LocalColours.estimate(scene().image, alpha))


@pytest.mark.parametrize("stage", FIGURES)
def test_every_stage_is_as_near_to_the_truth_as_recorded(stage: str) -> None:
    measure, recorded = FIGURES[stage]
    assert measure() == pytest.approx(recorded, rel=TOLERANCE)


if __name__ == "__main__":
    for name, (measure_now, recorded_figure) in FIGURES.items():
        print(f"{name}: {measure_now():.4f}, recorded {recorded_figure}")
