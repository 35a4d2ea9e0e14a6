"""Between an image's size and the network's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from shared.models import scaling

masks = npst.arrays(
    np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(0, 1, width=32)
)


@given(mask=masks, width=st.integers(1, 90), height=st.integers(1, 90))
def test_any_mask_takes_any_size_and_an_even_one_stays_even(mask, width, height):
    even = np.full_like(mask, mask.mean())
    alpha = scaling.to_image(even, (width, height))
    assert alpha.shape == (height, width)
    assert (alpha == np.rint(even[0, 0] * 255)).all()
    assert scaling.to_image(mask, (width, height)).dtype == np.uint8


def test_upsampling_does_not_ring_beside_a_hard_edge():
    mask = np.zeros((64, 64), np.float32)
    mask[:, 32:] = 1
    alpha = scaling.to_image(mask, (512, 512))
    assert (np.diff(alpha.astype(int), axis=1) >= 0).all()
    assert (alpha[:, :240] == 0).all()
    assert (alpha[:, 272:] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(20_000, 200), (8000, 6000), (1, 1), (3, 5000)])
def test_extreme_sizes_pass(width, height):
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    alpha = scaling.to_image(mask, (width, height))
    assert alpha.shape == (height, width)
    assert alpha.mean() / 255 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1333, 777, (1024, 1024)),
        (2001, 3000, (512, 512)),
        (5, 3, (320, 320)),
        (20_000, 100, (256, 256)),
        (1, 1, (64, 64)),
    ],
)
def test_the_network_s_input_is_pillow_s_antialiased_bilinear_within_one_level(width, height, size):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    whole = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR))
    assert np.abs(scaling.to_network(noise, size).astype(int) - whole).max() <= 1
