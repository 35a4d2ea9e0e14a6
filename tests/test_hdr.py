"""HDR as SDR: reference white is white, nothing brighter is lost, nothing darker changes, hues stay."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.colour import Cicp, to_srgb
from shared.decoding import decode
from shared.hdr import tone_map
from tests.images import png, png_chunk

PQ, HLG = Cicp(primaries=9, transfer=16), Cicp(primaries=9, transfer=18)


def pq(nits):
    """The signal, 0..1, by the formula of SMPTE ST 2084."""
    power = (np.asarray(nits, float) / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def srgb(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def greys(*nits):
    """One row of grey pixels, 16 bits."""
    return np.repeat(np.rint(pq(nits) * 65_535).astype(np.uint16)[None, :, None], 3, axis=2)


def mapped(*nits):
    return tone_map(greys(*nits), 65_535, PQ)[0, :, 0].astype(float)


def test_reference_white_is_white_and_what_is_darker_keeps_its_light():
    nits = np.array([0, 1, 5, 20, 50, 100, 203])
    assert np.abs(mapped(*nits) - srgb(nits / 203)).max() <= 1


@pytest.mark.parametrize("peak", [400, 1000, 4000])
def test_highlights_are_compressed_and_not_cut_off(peak):
    levels = mapped(*np.linspace(100, peak, 24))
    assert levels[-1] >= 254
    assert (np.diff(levels) >= 0).all()
    assert len(np.unique(levels)) > 8
    white = mapped(203, *[peak] * 20)[0]
    assert 180 < white < 254  # darker than the highlights, and not dull


def test_dark_parts_of_a_picture_with_highlights_stay_as_they_are():
    dark = mapped(1, 5, 20, *[1000] * 20)[:3]
    assert np.abs(dark - srgb(np.array([1, 5, 20]) / 203)).max() <= 1


def test_a_few_hot_pixels_do_not_darken_a_picture():
    picture = np.full((300, 300, 3), np.rint(pq(203) * 65_535), np.uint16)
    picture[0, 0] = 65_535
    assert tone_map(picture, 65_535, PQ)[100, 100, 0] == 255


def test_colours_keep_their_hue_when_they_are_compressed():
    red = np.rint(pq([1000, 100, 100]) * 65_535).astype(np.uint16)[None, None]
    mapped_red = tone_map(np.repeat(red, 9, axis=1), 65_535, Cicp(primaries=12, transfer=16))[0, 0]
    light = np.where(mapped_red / 255 <= 0.04045, mapped_red / 255 / 12.92, ((mapped_red / 255 + 0.055) / 1.055) ** 2.4)
    assert light[0] / light[1] == pytest.approx(10, rel=0.05)


def test_hlg_has_its_reference_white_at_three_quarters():
    signal = np.repeat(np.rint(np.array([[0.75] * 30]) * 1023).astype(np.uint16)[..., None], 3, axis=2)
    assert abs(int(tone_map(signal, 1023, HLG)[0, 0, 0]) - 255) <= 2
    dark = np.repeat(np.array([[512] + [767] * 30], np.uint16)[..., None], 3, axis=2)
    nits = 1000 * (0.5**2 / 3) ** 1.2
    assert abs(tone_map(dark, 1023, HLG)[0, 0, 0] - srgb(nits / 203)) <= 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1023), min_size=1, max_size=40), st.sampled_from([PQ, HLG]))
def test_more_light_never_becomes_darker(values, cicp):
    values = sorted(values)
    row = np.repeat(np.array([values], np.uint16)[..., None], 3, axis=2)
    assert (np.diff(tone_map(row, 1023, cicp)[0, :, 0].astype(int)) >= 0).all()


def avif(samples, primaries, transfer, bits):
    if bits > 8:
        settings = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    else:
        settings = [cv2.IMWRITE_AVIF_QUALITY, 100]
    data = cv2.imencode(".avif", samples, settings)[1].tobytes()
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_hdr_avif_is_mapped_and_says_so(bits):
    top = 2**bits - 1
    kind = np.uint8 if bits == 8 else np.uint16
    samples = np.full((32, 32, 3), np.rint(pq(100) * top), kind)
    image = decode(avif(samples, 9, 16, bits), max_pixels=5000)
    assert image.notes["colour"] == "HDR (PQ or HLG) was tone-mapped to SDR, reference white at 203 nits"
    assert np.abs(to_srgb(image.rgb, image.icc_profile) - srgb(100 / 203)).max() <= (6 if bits == 8 else 3)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour_type", [2, 6])
def test_an_hdr_png_is_mapped_and_keeps_its_alpha(bits, colour_type):
    top = 2**bits - 1
    samples = np.full((8, 8, 4), np.rint(pq(100) * top), np.uint16)
    samples[..., 3] = top // 2
    said = png_chunk(b"cICP", bytes([9, 16, 0, 1]))
    image = decode(png(samples if colour_type == 6 else samples[..., :3], bits, colour_type, extra=said), max_pixels=99)
    assert "colour" in image.notes
    assert np.abs(to_srgb(image.rgb, image.icc_profile) - srgb(100 / 203)).max() <= (6 if bits == 8 else 2)
    assert (image.alpha is None) == (colour_type == 2)
    assert image.alpha is None or np.abs(image.alpha.astype(int) - 127).max() <= 1


def test_sdr_of_ten_bits_is_not_mapped():
    samples = np.full((32, 32, 3), 600, np.uint16)
    image = decode(avif(samples, 1, 13, 10), max_pixels=5000)
    assert "colour" not in image.notes
    assert np.abs(image.rgb.astype(int) - round(600 * 255 / 1023)).max() <= 2
