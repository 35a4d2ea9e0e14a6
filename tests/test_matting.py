"""Mask to alpha: the curve, the floor, the clean-up, the size, the subject."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared import matting
from shared.errors import NetworkFailed, NoSubject
from shared.options import CutOptions, MaskPreset
from shared.surroundings import Surroundings
from tests.composites import composite, hairy_disc

options = st.builds(
    CutOptions,
    mask_threshold=st.floats(0.01, 0.99),
    mask_contrast=st.floats(0.1, 50),
    mask_hard_floor=st.floats(0, 0.95),
    mask_kernel=st.sampled_from([1, 3, 5, 31]),
)
masks = npst.arrays(
    np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(0, 1, width=32)
)
NO_CLEAN_UP = CutOptions(mask_kernel=1)
RAMP = np.linspace(0, 1, 1001, dtype=np.float32)[None]


def enhanced(mask, preset=MaskPreset.STANDARD, **numbers):
    return matting.enhance(np.asarray(mask, np.float32), CutOptions(**numbers), preset)


def test_the_curve_by_hand():
    """L(p) = 1 / (1 + exp(-4 * 4 * (p - 0.6))): L(0) = 0.0000677, L(0.7) = 0.8320, L(1) = 0.99834."""
    low, middle, high = (1 / (1 + math.exp(-16 * (p - 0.6))) for p in (0, 0.7, 1))
    assert middle == pytest.approx(0.83202, abs=1e-5)
    expected = ((middle - low) / (high - low) - 0.25) / 0.75
    assert expected == pytest.approx(0.77785, abs=2e-5)
    assert enhanced([[0.7]], mask_kernel=1)[0, 0] == pytest.approx(expected, abs=1e-5)


def test_the_slope_at_the_threshold_is_the_contrast():
    near = np.array([0.599, 0.601], np.float32)
    before_rescaling = matting.contrast(np.array([0, 1], np.float32), threshold=0.6, slope=4.0)
    assert before_rescaling.tolist() == [0, 1]
    low, high = matting.contrast(near, threshold=0.6, slope=4.0)
    assert (high - low) / 0.002 == pytest.approx(4.0 / (0.998341 - 0.0000677), rel=1e-3)


@given(options=options)
def test_nothing_stays_nothing_and_certain_stays_certain(options):
    for preset in (MaskPreset.STANDARD, MaskPreset.SOFT, MaskPreset.OFF):
        halves = matting.enhance(np.float32([[0], [1]]).repeat(40, axis=0).repeat(40, axis=1), options, preset)
        assert (halves[:40] == 0).all()
        assert (halves[40:] == 1).all()


@given(options=options)
def test_more_probability_never_gives_less_opacity(options):
    curve = matting.contrast(RAMP, threshold=options.mask_threshold, slope=options.mask_contrast)
    curve = matting.floor(curve, level=options.mask_hard_floor)
    rounding = 1e-5 / (1 - options.mask_hard_floor)
    assert (np.diff(curve) >= -rounding).all()
    assert curve.min() >= 0
    assert curve.max() <= 1


@given(level=st.floats(0, 0.95))
def test_the_floor_has_no_step(level):
    around = np.array([level - 1e-4, level, level + 1e-4], np.float32)
    assert matting.floor(around, level=level) == pytest.approx([0, 0, 0], abs=1e-4 / (1 - level) + 1e-5)


@given(mask=masks, options=options, preset=st.sampled_from([MaskPreset.STANDARD, MaskPreset.SOFT, MaskPreset.OFF]))
def test_every_mask_stays_within_bounds_and_the_network_s_own_is_untouched(mask, options, preset):
    before = mask.copy()
    result = matting.enhance(mask, options, preset)
    assert result.dtype == np.float32
    assert result.shape == mask.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert (mask == before).all()
    if preset is MaskPreset.OFF:
        assert (result == mask).all()


def test_a_faint_mask_is_not_stretched_to_its_own_maximum():
    assert enhanced(np.full((50, 50), 0.0003)).max() == 0
    assert enhanced(np.full((50, 50), 0.0003), MaskPreset.SOFT).max() == pytest.approx(0.0003)


def test_a_mask_with_values_that_are_no_numbers_is_refused():
    with pytest.raises(NetworkFailed):
        enhanced([[0.5, math.nan]])


def test_specks_and_pinholes_smaller_than_the_kernel_go():
    mask = np.zeros((100, 100), np.float32)
    mask[20:80, 20:80] = 1
    mask[40:44, 40:44] = 0  # 16 pixels: a pinhole
    mask[60:65, 60:65] = 0  # 25 pixels: a hole
    mask[5:9, 5:9] = 0.9  # a speck
    mask[5:10, 90:95] = 0.9  # 25 pixels: a thing
    result = enhanced(mask, mask_kernel=5)
    assert (result[40:44, 40:44] == 1).all()
    assert (result[60:65, 60:65] == 0).all()
    assert (result[5:9, 5:9] == 0).all()
    assert (result[5:10, 90:95] > 0.8).all()
    assert (enhanced(mask, mask_kernel=1)[5:9, 5:9] > 0.8).all()


def test_a_notch_at_the_frame_is_no_pinhole():
    mask = np.ones((50, 50), np.float32)
    mask[0:3, 20:23] = 0
    assert (enhanced(mask)[0:3, 20:23] == 0).all()


def test_a_speck_takes_its_soft_surroundings_with_it():
    mask = np.zeros((60, 60), np.float32)
    mask[29:32, 29:32] = 0.05
    mask[30, 30] = 0.9
    assert enhanced(mask, MaskPreset.SOFT).max() == 0


def test_a_strand_that_contrast_cuts_in_pieces_stays_while_it_hangs_on_the_subject():
    mask = np.zeros((60, 60), np.float32)
    mask[30:, :] = 1
    mask[5:30, 30] = 0.3  # too faint for contrast and floor ...
    mask[5:30:4, 30] = 0.9  # ... between pieces of one pixel each
    adrift = mask.copy()
    adrift[26:30] = 0
    assert (enhanced(mask)[5:30:4, 30] > 0.9).all()
    assert enhanced(adrift, mask_kernel=7)[:25].max() == 0


def test_clean_up_leaves_every_soft_value_of_the_subject_as_it_was():
    mask = hairy_disc(1024, 1024).astype(np.float32) / 255
    cleaned = enhanced(mask, MaskPreset.SOFT, mask_kernel=5)
    changed = cleaned != mask
    assert set(np.unique(cleaned[changed])) <= {0.0, 1.0}  # small gaps between strands
    assert changed.mean() < 0.01
    assert len(np.unique(cleaned)) > 200


@given(mask=masks, width=st.integers(1, 90), height=st.integers(1, 90))
def test_any_mask_takes_any_size_and_an_even_one_stays_even(mask, width, height):
    even = np.full_like(mask, mask.mean())
    alpha = matting.to_alpha(even, (width, height))
    assert alpha.shape == (height, width)
    assert (alpha == np.rint(even[0, 0] * 255)).all()
    assert matting.to_alpha(mask, (width, height)).dtype == np.uint8


def test_upsampling_does_not_ring_beside_a_hard_edge():
    mask = np.zeros((64, 64), np.float32)
    mask[:, 32:] = 1
    alpha = matting.to_alpha(mask, (512, 512))
    assert (np.diff(alpha.astype(int), axis=1) >= 0).all()
    assert (alpha[:, :240] == 0).all()
    assert (alpha[:, 272:] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(20_000, 200), (8000, 6000), (1, 1), (3, 5000)])
def test_extreme_sizes_pass(width, height):
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    alpha = matting.to_alpha(mask, (width, height))
    assert alpha.shape == (height, width)
    assert alpha.mean() / 255 == pytest.approx(0.25, abs=0.01)


def test_the_subject_s_statistics_by_hand():
    alpha = np.zeros((10, 20), np.uint8)
    alpha[2:6, 5:15] = 255
    alpha[6, 5:15] = 51
    alpha[7, 5] = 10  # too faint for the box
    subject = matting.measure(alpha)
    assert subject.coverage == pytest.approx((40 + 10 * 0.2 + 10 / 255) / 200)
    assert subject.uncertain == pytest.approx(11 / 200)
    assert subject.box == (5, 2, 15, 7)


@given(alpha=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_the_box_holds_every_visible_pixel_and_no_empty_side(alpha):
    try:
        left, top, right, bottom = matting.measure(alpha).box
    except NoSubject:
        assert alpha.max() < 128
        return
    inside = alpha[top:bottom, left:right] >= matting.VISIBLE
    assert inside.sum() == (alpha >= matting.VISIBLE).sum()
    assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@pytest.mark.parametrize("peak", [0, 1, 127])
def test_a_matte_that_is_nowhere_half_opaque_holds_no_subject(peak):
    with pytest.raises(NoSubject):
        matting.measure(np.full((30, 30), peak, np.uint8))


def test_two_opaque_pixels_in_a_million_are_no_subject():
    alpha = np.zeros((1000, 1000), np.uint8)
    alpha[500, 500:502] = 255
    with pytest.raises(NoSubject):
        matting.measure(alpha)


def test_an_image_of_one_pixel_is_all_subject_or_none():
    assert matting.measure(np.array([[255]], np.uint8)).box == (0, 0, 1, 1)
    with pytest.raises(NoSubject):
        matting.measure(np.array([[0]], np.uint8))


def probability_of(alpha):
    """What a network that sees the image at a quarter of the size makes of an alpha: float32."""
    small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), 1)


def network_s(alpha):
    """The same at the alpha's own size: uint8."""
    return matting.to_alpha(probability_of(alpha), (alpha.shape[1], alpha.shape[0]))


def refined_by(image, alpha):
    return matting.refine(alpha, Surroundings.of(image, alpha))


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
    opacity = matting.enhance(probability, options, MaskPreset.STANDARD)
    raw, enhanced, uncertain = (
        matting.to_alpha(mask, (1536, 1152))
        for mask in (probability, opacity, matting.uncertain(opacity, probability, options))
    )
    refined = matting.refine(enhanced, Surroundings.of(scene.image, uncertain))
    strands = (truth > 0) & (cv2.erode(truth, np.ones((15, 15), np.uint8)) == 0)
    assert enhanced[strands].sum() < 0.7 * raw[strands].sum()
    assert refined[strands].sum() >= 0.85 * raw[strands].sum()
    assert error(refined, truth) < 0.6 * error(enhanced, truth)


def test_what_the_network_doubts_far_from_an_edge_stays_decided():
    probability = np.zeros((120, 120), np.float32)
    probability[20:100, 10:60] = 0.9
    probability[20:100, 60:110] = 0.3  # a thing that the network half believes in
    probability[5, 5] = 0.9  # a speck
    opacity = matting.enhance(probability, CutOptions(), MaskPreset.STANDARD)
    uncertain = matting.uncertain(opacity, probability, CutOptions())
    near, reach = uncertain[60], matting.LEAST_REACH
    assert (near[60 - reach : 60 + reach] == probability[60, 60 - reach : 60 + reach]).all()
    assert (near[10 + reach : 60 - reach] == 1).all()
    assert (near[60 + reach :] == 0).all()
    assert uncertain[:12, :12].max() == 0


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
