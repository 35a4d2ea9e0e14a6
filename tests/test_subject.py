"""What an alpha says of its subject."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from shared.errors import NoSubject
from shared.subject import VISIBLE, measure


def test_the_subject_s_statistics_by_hand():
    alpha = np.zeros((10, 20), np.uint8)
    alpha[2:6, 5:15] = 255
    alpha[6, 5:15] = 51
    alpha[7, 5] = 10  # too faint for the box
    subject = measure(alpha)
    assert subject.coverage == pytest.approx((40 + 10 * 0.2 + 10 / 255) / 200)
    assert subject.uncertain == pytest.approx(11 / 200)
    assert subject.box == (5, 2, 15, 7)


@given(alpha=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_the_box_holds_every_visible_pixel_and_no_empty_side(alpha):
    try:
        left, top, right, bottom = measure(alpha).box
    except NoSubject:
        assert alpha.max() < 128
        return
    inside = alpha[top:bottom, left:right] >= VISIBLE
    assert inside.sum() == (alpha >= VISIBLE).sum()
    assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@pytest.mark.parametrize("peak", [0, 1, 127])
def test_a_matte_that_is_nowhere_half_opaque_holds_no_subject(peak):
    with pytest.raises(NoSubject):
        measure(np.full((30, 30), peak, np.uint8))


def test_two_opaque_pixels_in_a_million_are_no_subject():
    alpha = np.zeros((1000, 1000), np.uint8)
    alpha[500, 500:502] = 255
    with pytest.raises(NoSubject):
        measure(alpha)


def test_an_image_of_one_pixel_is_all_subject_or_none():
    assert measure(np.array([[255]], np.uint8)).box == (0, 0, 1, 1)
    with pytest.raises(NoSubject):
        measure(np.array([[0]], np.uint8))
