"""The enhanced mask: the curve, the floor, the clean-up, the band that the image may decide."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared import enhancement
from shared.errors import NetworkFailed
from shared.options import CutOptions, MaskPreset
from tests.composites import hairy_disc

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
    return enhancement.enhance(np.asarray(mask, np.float32), CutOptions(**numbers), preset)


def test_the_curve_by_hand():
    """L(p) = 1 / (1 + exp(-4 * 4 * (p - 0.6))): L(0) = 0.0000677, L(0.7) = 0.8320, L(1) = 0.99834."""
    low, middle, high = (1 / (1 + math.exp(-16 * (p - 0.6))) for p in (0, 0.7, 1))
    assert middle == pytest.approx(0.83202, abs=1e-5)
    expected = ((middle - low) / (high - low) - 0.25) / 0.75
    assert expected == pytest.approx(0.77785, abs=2e-5)
    assert enhanced([[0.7]], mask_kernel=1)[0, 0] == pytest.approx(expected, abs=1e-4)  # a table in steps of 1 / 65,535


def test_the_slope_at_the_threshold_is_the_contrast():
    near = np.array([0.599, 0.601], np.float32)
    before_rescaling = enhancement.contrast(np.array([0, 1], np.float32), threshold=0.6, slope=4.0)
    assert before_rescaling.tolist() == [0, 1]
    low, high = enhancement.contrast(near, threshold=0.6, slope=4.0)
    assert (high - low) / 0.002 == pytest.approx(4.0 / (0.998341 - 0.0000677), rel=1e-3)


@given(options=options)
def test_nothing_stays_nothing_and_certain_stays_certain(options):
    for preset in (MaskPreset.STANDARD, MaskPreset.SOFT, MaskPreset.OFF):
        halves = enhancement.enhance(
            np.array([[0], [1]], np.float32).repeat(40, axis=0).repeat(40, axis=1), options, preset
        )
        assert (halves[:40] == 0).all()
        assert (halves[40:] == 1).all()


@given(options=options)
def test_more_probability_never_gives_less_opacity(options):
    curve = enhancement.contrast(RAMP, threshold=options.mask_threshold, slope=options.mask_contrast)
    curve = enhancement.floor(curve, level=options.mask_hard_floor)
    rounding = 1e-5 / (1 - options.mask_hard_floor)
    assert (np.diff(curve) >= -rounding).all()
    assert curve.min() >= 0
    assert curve.max() <= 1


@given(level=st.floats(0, 0.95))
def test_the_floor_has_no_step(level):
    around = np.array([level - 1e-4, level, level + 1e-4], np.float32)
    assert enhancement.floor(around, level=level) == pytest.approx([0, 0, 0], abs=1e-4 / (1 - level) + 1e-5)


@given(mask=masks, options=options, preset=st.sampled_from([MaskPreset.STANDARD, MaskPreset.SOFT, MaskPreset.OFF]))
def test_every_mask_stays_within_bounds_and_the_network_s_own_is_untouched(mask, options, preset):
    before = mask.copy()
    result = enhancement.enhance(mask, options, preset)
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


def test_what_the_network_doubts_far_from_an_edge_stays_decided():
    probability = np.zeros((120, 120), np.float32)
    probability[20:100, 10:60] = 0.9
    probability[20:100, 60:110] = 0.3  # a thing that the network half believes in
    probability[5, 5] = 0.9  # a speck
    opacity = enhancement.enhance(probability, CutOptions(), MaskPreset.STANDARD)
    unknown = enhancement.unknown_band(opacity, probability, CutOptions())
    near, reach = unknown[60], enhancement.LEAST_BAND_REACH
    assert (near[60 - reach : 60 + reach] == probability[60, 60 - reach : 60 + reach]).all()
    assert (near[10 + reach : 60 - reach] == 1).all()
    assert (near[60 + reach :] == 0).all()
    assert unknown[:12, :12].max() == 0


def test_the_unknown_band_reaches_as_far_as_a_128th_of_the_mask_s_side():
    probability = np.full((640, 640), 0.3, np.float32)  # neither subject nor background, away from the edge
    probability[:, :320] = 0.95
    opacity = enhancement.enhance(probability, CutOptions(), MaskPreset.STANDARD)
    band = enhancement.unknown_band(opacity, probability, CutOptions())[320]
    assert np.flatnonzero((band > 0) & (band < 1)).tolist() == list(range(320 - 5, 320 + 5))
