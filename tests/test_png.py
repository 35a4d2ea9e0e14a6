"""The PNG writer: exact in decoders of different origin, valid to the last checksum, the same bytes every time."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from shared.png import STRIPE, write_png
from tests.images import rgb_profile

pixels = st.sampled_from([(), (3,), (4,)]).flatmap(
    lambda channels: array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(
        lambda shape: arrays(np.uint8, (*shape, *channels))
    )
)


def chunks(data):
    """(kind, content) of each chunk, by the specification alone; fails on a wrong signature, length or checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        yield kind, content
        at += 12 + length
    assert at == len(data)


def by_hand(data):
    """The pixels, decoded with zlib and the specification."""
    parts = list(chunks(data))
    width, height, depth, colour_type = struct.unpack(">IIBB", parts[0][1][:10])
    assert depth == 8
    channels = {0: 1, 2: 3, 6: 4}[colour_type]
    raw = zlib.decompress(b"".join(content for kind, content in parts if kind == b"IDAT"))
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
    assert (lines[:, 0] == 2).all()
    summed = np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8)
    return summed.reshape((height, width) if channels == 1 else (height, width, channels))


@settings(max_examples=60, deadline=None)
@given(pixels)
def test_three_decoders_give_back_every_pixel(given_pixels):
    data = write_png(given_pixels)
    np.testing.assert_array_equal(by_hand(data), given_pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), given_pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    orders = {2: None, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    order = orders[given_pixels.shape[2] if given_pixels.ndim == 3 else 2]
    np.testing.assert_array_equal(read if order is None else cv2.cvtColor(read, order), given_pixels)


@pytest.mark.parametrize("height", [STRIPE - 1, STRIPE, STRIPE + 1, 3 * STRIPE, 3 * STRIPE + 7])
@pytest.mark.parametrize("channels", [3, 4])
def test_stripes_join_without_a_seam(height, channels):
    image = np.random.default_rng(height).integers(0, 256, (height, 31, channels), np.uint8)
    np.testing.assert_array_equal(by_hand(write_png(image)), image)


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 20_000, 3), (20_000, 1, 4), (50, 20_000, 4)])
def test_extreme_shapes_are_written(shape):
    image = np.random.default_rng(0).integers(0, 4, shape, np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(write_png(image)))), image)


def test_an_array_that_is_a_window_into_another_is_written():
    whole = np.random.default_rng(0).integers(0, 256, (50, 60, 4), np.uint8)
    for window in (whole[5:40, 7:30], whole[::-1], whole[..., :3], whole[..., 3]):
        np.testing.assert_array_equal(by_hand(write_png(window)), window)


@settings(max_examples=20, deadline=None)
@given(pixels)
def test_the_same_pixels_give_the_same_bytes(given_pixels):
    assert write_png(given_pixels) == write_png(given_pixels.copy())


@pytest.mark.parametrize("profile", [rgb_profile(), b"x", bytes(range(256)) * 300])
def test_the_profile_is_in_the_file_as_it_was_given(profile):
    data = write_png(np.zeros((2, 2, 4), np.uint8), icc_profile=profile)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile
    assert [kind for kind, _ in chunks(data)][:2] == [b"IHDR", b"iCCP"]


def test_without_a_profile_the_file_says_srgb_and_a_matte_says_nothing():
    colour, matte = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)
    assert {kind for kind, _ in chunks(write_png(colour))} == {b"IHDR", b"sRGB", b"IDAT", b"IEND"}
    assert {kind for kind, _ in chunks(write_png(matte))} == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2), np.uint16), np.zeros((0, 2), np.uint8), np.zeros(4, np.uint8)],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(TypeError):
        write_png(array)
