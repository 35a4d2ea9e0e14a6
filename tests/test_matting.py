"""Alpha that follows the image."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared import enhancement
from shared.local_colours import LocalColours
from shared.matting import refine_alpha
from shared.models import scaling
from shared.options import CutOptions, MaskPreset
from tests.composites import composite, hairy_disc


def probability_of(alpha):
    """What a network that sees the image at a quarter of the size makes of an alpha: float32."""
    small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), 1)


def network_s(alpha):
    """The same at the alpha's own size: uint8."""
    return scaling.to_image(probability_of(alpha), (alpha.shape[1], alpha.shape[0]))


def refined_by(image, alpha):
    return refine_alpha(image, alpha, alpha, LocalColours.estimate(image, alpha))


def error(alpha, truth):
    return float(np.abs(alpha.astype(int) - truth).sum())


@pytest.mark.parametrize(
    ("subject", "background", "strands", "left"),
    [("astronaut", "coffee", 400, 0.65), ("rocket", "astronaut", 400, 0.5), ("chelsea", "coffee", 0, 0.85)],
)
def test_refining_takes_much_of_the_matte_s_error_away(subject, background, strands, left):
    truth = hairy_disc(640, 560, strands=strands, thickness=3, softness=1.2)
    scene = composite(truth, subject=subject, background=background)
    coarse = network_s(truth)
    assert error(refined_by(scene.image, coarse), truth) < left * error(coarse, truth)


@pytest.mark.parametrize(("subject", "background"), [("astronaut", "coffee"), ("chelsea", "rocket")])
def test_strands_that_the_standard_preset_would_lose_come_back_from_the_image(subject, background):
    truth = hairy_disc(1536, 1152, strands=500, thickness=3, softness=1.2)
    scene = composite(truth, subject=subject, background=background)
    small = cv2.resize(truth, (1024, 1024), interpolation=cv2.INTER_AREA)
    probability, options = cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), 1.5), CutOptions()
    opacity = enhancement.enhance(probability, options, MaskPreset.STANDARD)
    raw, enhanced, unknown = (
        scaling.to_image(mask, (1536, 1152))
        for mask in (probability, opacity, enhancement.unknown_band(opacity, probability, options))
    )
    refined = refine_alpha(scene.image, enhanced, unknown, LocalColours.estimate(scene.image, unknown))
    strands = (truth > 0) & (cv2.erode(truth, np.ones((15, 15), np.uint8)) == 0)
    assert enhanced[strands].sum() < 0.7 * raw[strands].sum()
    assert refined[strands].sum() >= 0.85 * raw[strands].sum()
    assert error(refined, truth) < 0.6 * error(enhanced, truth)


def test_where_the_image_tells_nothing_the_matte_stays():
    coarse = network_s(hairy_disc(320, 280))
    refined = refined_by(np.full((280, 320, 3), 120, np.uint8), coarse)
    assert np.abs(refined.astype(int) - coarse).max() <= 1


def test_noise_of_the_same_kind_on_both_sides_moves_the_matte_little():
    coarse = network_s(hairy_disc(320, 280, strands=0))
    noise = np.random.default_rng(0).integers(0, 256, (280, 320, 3), np.uint8)
    band = (coarse > 0) & (coarse < 255)
    moved = np.abs(refined_by(noise, coarse).astype(int) - coarse)[band]
    assert moved.mean() < 0.08 * 255


@given(
    alpha=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=90)),
    seed=st.integers(0, 2**16),
)
def test_refining_never_touches_what_is_opaque_or_transparent(alpha, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*alpha.shape, 3), np.uint8)
    before = alpha.copy()
    refined = refined_by(image, alpha)
    sure = (alpha == 0) | (alpha == 255)
    assert (refined[sure] == alpha[sure]).all()
    assert (alpha == before).all()


def test_refining_leaves_no_seam_between_blocks():
    """Mirrored, the image meets another grid of blocks."""
    scene = composite(hairy_disc(328, 264))
    coarse = network_s(scene.alpha)
    mirrored = refined_by(np.ascontiguousarray(scene.image[::-1, ::-1]), np.ascontiguousarray(coarse[::-1, ::-1]))
    assert np.abs(refined_by(scene.image, coarse).astype(int) - mirrored[::-1, ::-1]).max() <= 1
