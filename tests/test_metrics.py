"""The measures of quality, on cases worked by hand."""

import numpy as np
import pytest
from scipy import ndimage

from tests.benchmarks import metrics


def square(low: int = 8, high: int = 24, side: int = 32) -> np.ndarray:
    alpha = np.zeros((side, side))
    alpha[low:high, low:high] = 1
    return alpha


def test_a_perfect_matte_has_no_error_and_full_scores() -> None:
    true = ndimage.gaussian_filter(square(), 1.0)
    assert metrics.mae(true, true) == 0
    assert metrics.mse(true, true) == 0
    assert metrics.sad(true, true) == 0
    assert metrics.grad(true, true) == 0
    assert metrics.conn(true, true) == 0
    assert metrics.boundary_iou(true, true) == 1
    hard = square()
    assert min(metrics.mask_measures(hard, hard).values()) > 0.95


def test_the_sums_and_means_of_ten_half_wrong_pixels() -> None:
    true = np.zeros((10, 10))
    wrong = true.copy()
    wrong[0] = 0.5
    assert metrics.mae(wrong, true) == pytest.approx(0.05)
    assert metrics.mse(wrong, true) == pytest.approx(0.025)
    assert metrics.sad(wrong, true) == pytest.approx(0.005)


def test_a_blurred_edge_has_a_gradient_error_and_a_constant_shift_has_none() -> None:
    true = square()
    assert metrics.grad(ndimage.gaussian_filter(true, 2.0), true) > 0.001
    flat = np.full((32, 32), 0.3)
    assert metrics.grad(flat + 0.4, flat) == pytest.approx(0)


def test_an_island_costs_connectivity_and_the_same_opacity_at_the_subject_costs_none() -> None:
    true = square()
    island = true.copy()
    island[1:3, 1:3] = 1  # four pixels away from the subject: level 0 there, so 4 x 1
    assert metrics.conn(island, true) == pytest.approx(4 / 1000)
    slightly_less = true * 0.9  # connected at 0.9, and 0.1 is below the 0.15 that counts
    assert metrics.conn(slightly_less, true) == pytest.approx(0)


def test_the_boundary_of_a_shifted_square_overlaps_in_part() -> None:
    true = square()
    shifted = np.roll(true, 1, axis=1)
    share = 1 / np.hypot(32, 32)  # a border one pixel wide: 60 pixels each
    # the rows above and below share 15 of 16 pixels each, the columns none beside the corners' ends
    assert metrics.boundary_iou(shifted, true, share) == pytest.approx(30 / 90)
    assert metrics.boundary_iou(np.zeros_like(true), true) == 0


def test_the_colour_error_counts_only_the_soft_band_by_its_opacity() -> None:
    alpha = np.array([[0.0, 0.5, 0.25, 1.0]])
    true = np.zeros((1, 4, 3))
    colour = true.copy()
    colour[0, 0] = 200  # hidden: does not count
    colour[0, 1] = 30
    colour[0, 3] = 90  # opaque: does not count
    assert metrics.foreground_error(colour, true, alpha) == pytest.approx(30 * 0.5 / 0.75)


def test_alpha_stored_into_the_colour_darkens_the_composite_on_white_more_than_on_black() -> None:
    true_alpha = np.full((8, 8), 0.5)
    true_colour = np.full((8, 8, 3), 200.0)
    darkened = true_colour * 0.5  # (200 -> 100): the composite is 50 levels too dark on every background
    psnr = metrics.band_psnr(darkened, true_alpha, true_colour, true_alpha)
    assert psnr["black"] == pytest.approx(10 * np.log10(255**2 / 50**2))
    assert psnr["white"] == pytest.approx(psnr["green"])


def test_a_dark_line_is_seen_and_a_clean_edge_has_none() -> None:
    alpha = np.linspace(0, 1, 9)[None]
    subject = (128, 128, 128)
    clean = np.full((1, 9, 3), 128)
    assert metrics.edge_line(clean, alpha, subject) == pytest.approx(0, abs=1e-9)
    darkened = clean * alpha[..., None]
    # at alpha 0.5 the colour is 64 too dark, half of which shows
    assert metrics.edge_line(darkened, alpha, subject) == pytest.approx(32)
