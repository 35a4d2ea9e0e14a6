"""Transparent uploads: seen on a ground that shows them, cut without counting their own edges twice."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared.cutter import Cutter
from shared.models import birefnet
from shared.options import CutOptions
from shared.records import SourceImage
from shared.transparency import on_contrasting_ground, without_own_edges
from tests.composites import photograph
from tests.images import soft_disc


@pytest.fixture(scope="module")
def cutter():
    cutter = Cutter(birefnet.load("embedded", device="cpu"))
    yield cutter
    cutter.stop()


def logo(*colours):
    """A ring over a word, smooth-edged, in stripes of colours; black hides under its transparency."""
    alpha = np.zeros((400, 400), np.uint8)
    cv2.circle(alpha, (200, 170), 90, 255, -1, cv2.LINE_AA)
    cv2.circle(alpha, (200, 170), 40, 0, -1, cv2.LINE_AA)
    cv2.putText(alpha, "ACME", (70, 350), cv2.FONT_HERSHEY_DUPLEX, 2.6, 255, 8, cv2.LINE_AA)
    rgb = np.zeros((400, 400, 3), np.uint8)
    for stripe, colour in zip(np.array_split(rgb, len(colours), axis=1), colours, strict=True):
        stripe[:] = colour
    rgb[alpha == 0] = 0
    return SourceImage(rgb=rgb, alpha=alpha)


@pytest.mark.parametrize(
    ("colours", "ground"),
    [
        ([(0, 0, 0)], 255),
        ([(255, 255, 255)], 0),
        ([(200, 20, 30)], 255),
        ([(0, 0, 0), (255, 255, 255)], 128),
        ([(255, 255, 255), (128, 128, 128)], 0),
    ],
)
def test_the_ground_contrasts_with_what_is_visible(colours, ground):
    image = logo(*colours)
    seen = on_contrasting_ground(image.rgb, image.alpha)
    assert (seen[image.alpha == 0] == ground).all()
    assert (seen == image.rgb)[image.alpha == 255].all()


@pytest.mark.parametrize("colours", [[(0, 0, 0)], [(255, 255, 255)], [(200, 20, 30)], [(0, 0, 0), (255, 255, 255)]])
def test_a_logo_on_transparency_is_found_and_keeps_its_edges(cutter, colours):
    image = logo(*colours)
    rgba = cutter(image, CutOptions()).rgba
    # the embedded model learns from photographs: of a drawn ring over a word it finds about four fifths
    assert rgba[..., 3].sum() >= 0.75 * image.alpha.sum()
    assert (rgba[..., 3] <= image.alpha).all()


def test_a_photograph_with_rounded_corners_is_cut_as_the_photograph(cutter):
    rgb = photograph("astronaut", 300, 300)
    corners = cv2.resize(soft_disc(64, 64, radius=0.68, softness=0.02), (300, 300))
    plain = cutter(SourceImage(rgb=rgb.copy()), CutOptions()).rgba[..., 3]
    rounded = cutter(SourceImage(rgb=rgb, alpha=corners), CutOptions()).rgba[..., 3]
    expected = plain * (corners / 255)
    assert np.abs(rounded - expected).mean() < 0.1 * expected.mean()


def test_a_matte_that_only_repeats_the_upload_s_own_edges_is_opaque_without_them():
    edges = soft_disc(200, 200, softness=0.01)
    product = cv2.multiply(without_own_edges(edges, edges), edges, scale=1 / 255)
    assert np.abs(product.astype(int) - edges).max() <= 1
    assert np.abs(cv2.multiply(edges, edges, scale=1 / 255).astype(int) - edges).max() > 60  # counted twice


@given(
    matte=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=20)),
    level=st.integers(0, 255),
)
def test_an_even_alpha_changes_no_matte(matte, level):
    before = matte.copy()
    assert (without_own_edges(matte, np.full_like(matte, level)) == before).all()


@given(data=st.data(), shape=npst.array_shapes(min_dims=2, max_dims=2, max_side=20))
def test_a_matte_without_own_edges_is_never_less(data, shape):
    matte, alpha = (data.draw(npst.arrays(np.uint8, shape)) for _ in range(2))
    assert (without_own_edges(matte, alpha) >= matte).all()
