"""Colour profiles: colours keep their look, and no profile, however broken, stops an image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.colour import colour_space, from_srgb, to_srgb
from tests.images import SRGB, cmyk_profile, grey_profile, picture, rgb_profile

RGB = picture(32, 24)


def test_the_space_of_a_profile_is_told():
    assert [colour_space(profile()) for profile in (rgb_profile, grey_profile, cmyk_profile)] == ["RGB", "GRAY", "CMYK"]
    assert colour_space(b"") == colour_space(b"nonsense") == ""


def test_colours_of_a_wide_profile_become_srgb():
    red_of_srgb = np.array([[[234, 51, 35]]], np.uint8)  # as Display P3 writes it
    assert np.abs(to_srgb(red_of_srgb, rgb_profile()).astype(int) - (255, 0, 0)).max() <= 2


def test_a_profile_that_names_the_channels_otherwise_is_followed():
    backwards = rgb_profile(SRGB[::-1])
    assert np.abs(to_srgb(RGB, backwards).astype(int) - RGB[..., ::-1]).max() <= 1


@pytest.mark.parametrize("profile", [b"", b"nonsense", grey_profile(), cmyk_profile()])
def test_without_a_profile_of_rgb_colours_are_taken_as_srgb(profile):
    assert to_srgb(RGB, profile) is RGB
    assert from_srgb((1, 2, 3), profile) == (1, 2, 3)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_looks_the_same_in_a_wider_space(colour):
    inside = from_srgb(colour, rgb_profile())
    back = to_srgb(np.array([[inside]], np.uint8), rgb_profile())[0, 0]
    assert np.abs(back.astype(int) - colour).max() <= 10  # 8 bits of the wider space are coarse near 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_profile_never_stops_an_image(data):
    profile = bytearray(rgb_profile())
    for _ in range(data.draw(st.integers(1, 6))):
        profile[data.draw(st.integers(0, 300))] = data.draw(st.integers(0, 255))
    damaged = bytes(profile[: data.draw(st.integers(0, len(profile)))])
    assert to_srgb(RGB, damaged).shape == RGB.shape
    assert len(from_srgb((10, 20, 30), damaged)) == 3


def test_pixels_that_may_not_be_written_are_read():
    sealed = RGB.copy()
    sealed.flags.writeable = False
    assert to_srgb(sealed, rgb_profile()).shape == RGB.shape
