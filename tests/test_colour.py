"""Colour profiles: colours keep their look, and no profile, however broken, stops an image."""

import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.colour import CURVES, PRIMARIES, Cicp, ColourDescription, colour_space, from_srgb, to_srgb
from shared.colour import rgb_profile as rgb_profile_of
from shared.decoding import decode
from shared.icc import rgb_to_xyz
from tests.images import DATA, SRGB, cmyk_profile, encoded, grey_profile, picture, png_chunk, rgb_profile

RGB = picture(32, 24)
SCENE = picture(64, 48)
SOFT = (SCENE // 3 + 90).astype(np.uint8)  # inside sRGB: a level of difference stays one


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


def test_white_stays_white_on_any_medium():
    yellowish = rgb_profile(white=(0.9, 0.92, 0.6))
    assert to_srgb(np.full((1, 1, 3), 255, np.uint8), yellowish).tolist() == [[[255, 255, 255]]]


def test_the_darkest_value_of_a_medium_becomes_black():
    greyish = rgb_profile(black=0.05)
    assert to_srgb(np.zeros((1, 1, 3), np.uint8), greyish).max() <= 1


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


# What a file says otherwise than by a profile

PATCH = (200, 120, 40)
SWATCH = np.full((16, 16, 3), PATCH, np.uint8)
DISPLAY_P3_IN_SRGB, ADOBE_RGB_IN_SRGB, LINEAR_IN_SRGB = (213, 115, 0), (224, 121, 25), (229, 183, 110)
ADOBE_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)  # white, red, green, blue
P3_CHROMATICITIES = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def cicp(primaries, transfer, full=1):
    return png_chunk(b"cICP", bytes([primaries, transfer, 0, full]))


def gamma(value):
    return png_chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chromaticities(*numbers):
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers)))


def profile_chunk(profile):
    return png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(profile))


SRGB_CHUNK = png_chunk(b"sRGB", b"\x00")


def png_saying(*chunks, pixels=SWATCH):
    data = encoded(pixels, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def nclx(data, primaries, transfer):
    """An AVIF or HEIC with other code points."""
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def avif(primaries, transfer, pixels=SWATCH, **settings):
    return nclx(encoded(pixels, "AVIF", quality=100, subsampling="4:4:4", **settings), primaries, transfer)


def seen(data):
    """The mean colour in sRGB."""
    image = decode(data, max_pixels=100_000)
    return to_srgb(image.rgb, image.icc_profile).reshape(-1, 3).mean(axis=0)


def jpeg_saying(block, **settings):
    data = encoded(SWATCH, "JPEG", quality=100, subsampling=0, **settings)
    return data[:20] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[20:]


def dcf(index, space=0xFFFF):
    """An EXIF block with a colour space and an interoperability index."""
    ifd0 = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    details = struct.pack("<H", 2) + struct.pack("<HHIHH", 0xA001, 3, 1, space, 0)
    details += struct.pack("<HHII", 0xA005, 4, 1, 56) + bytes(4)
    interoperability = struct.pack("<HHHI4s", 1, 1, 2, 4, index) + bytes(4)
    return b"Exif\x00\x00II*\x00" + struct.pack("<I", 8) + ifd0 + details + interoperability


SAID = {
    "P3 by cICP": (png_saying(cicp(12, 13)), DISPLAY_P3_IN_SRGB),
    "P3 by nclx": (avif(12, 13), DISPLAY_P3_IN_SRGB),
    "P3 by cHRM alone": (png_saying(chromaticities(*P3_CHROMATICITIES)), DISPLAY_P3_IN_SRGB),
    "Adobe RGB by gAMA and cHRM": (
        png_saying(gamma(0.45455), chromaticities(*ADOBE_CHROMATICITIES)),
        ADOBE_RGB_IN_SRGB,
    ),
    "Adobe RGB by R03": (jpeg_saying(dcf(b"R03\x00")), ADOBE_RGB_IN_SRGB),
    "Adobe RGB by R03 in PNG": (png_saying(png_chunk(b"eXIf", dcf(b"R03\x00")[6:])), ADOBE_RGB_IN_SRGB),
    "light itself by gAMA": (png_saying(gamma(1.0)), LINEAR_IN_SRGB),
    "light itself by cICP": (png_saying(cicp(1, 8)), LINEAR_IN_SRGB),
    "sRGB by gAMA": (png_saying(gamma(0.45455)), PATCH),
    "sRGB by cICP": (png_saying(cicp(1, 13)), PATCH),
    "unspecified by cICP": (png_saying(cicp(2, 2)), PATCH),
    "unspecified by nclx": (avif(2, 2), PATCH),
    "R98": (jpeg_saying(dcf(b"R98\x00")), PATCH),
    "R03 of an sRGB picture": (jpeg_saying(dcf(b"R03\x00", space=1)), PATCH),
    "BT.2020": (png_saying(cicp(9, 13)), (237, 105, 0)),
    "BT.709 curve": (png_saying(cicp(1, 1)), (206, 132, 56)),
}
# What stands first is stronger.
STRONGER = {
    "cICP than iCCP": png_saying(profile_chunk(rgb_profile(SRGB[::-1])), cicp(12, 13)),
    "iCCP than sRGB": png_saying(SRGB_CHUNK, profile_chunk(rgb_profile())),
    "iCCP than gAMA": png_saying(gamma(1.0), profile_chunk(rgb_profile())),
    "cICP than gAMA": png_saying(gamma(1.0), cicp(12, 13)),
    "cHRM than R03": png_saying(chromaticities(*P3_CHROMATICITIES), png_chunk(b"eXIf", dcf(b"R03\x00")[6:])),
    "ICC than R03": jpeg_saying(dcf(b"R03\x00"), icc_profile=rgb_profile()),
}


@pytest.mark.parametrize("name", SAID)
def test_colours_are_those_that_the_file_says(name):
    data, expected = SAID[name]
    assert np.abs(seen(data) - expected).max() <= 2


@pytest.mark.parametrize("name", STRONGER)
def test_of_two_statements_the_stronger_one_counts(name):
    assert np.abs(seen(STRONGER[name]) - DISPLAY_P3_IN_SRGB).max() <= 2


def test_srgb_is_stronger_than_gamma_and_chromaticities():
    data = png_saying(SRGB_CHUNK, gamma(1.0), chromaticities(*ADOBE_CHROMATICITIES))
    assert np.abs(seen(data) - PATCH).max() == 0


def test_grey_is_lightened_by_its_gamma():
    data = png_saying(gamma(1.0), pixels=np.full((8, 8), 55, np.uint8))
    assert np.abs(seen(data) - 128).max() <= 1


@pytest.mark.parametrize("primaries", sorted(set(PRIMARIES)))
@pytest.mark.parametrize("transfer", sorted(set(CURVES)))
def test_every_known_pair_of_code_points_has_a_profile_in_which_white_is_white(primaries, transfer):
    profile = rgb_profile_of(ColourDescription(cicp=Cicp(primaries=primaries, transfer=transfer)))
    for grey in (0, 255):
        assert np.abs(to_srgb(np.full((1, 1, 3), grey, np.uint8), profile).astype(int) - grey).max() <= 1
    assert profile == b"" or colour_space(profile) == "RGB"


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from([9, 12]))
def test_a_profile_that_we_write_is_what_the_standard_says(colour, primaries):
    profile = rgb_profile_of(ColourDescription(cicp=Cicp(primaries=primaries, transfer=13)))
    values = np.array(colour) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    to_bt709 = np.linalg.inv(rgb_to_xyz(PRIMARIES[1])) @ rgb_to_xyz(PRIMARIES[primaries])  # one white: no adaptation
    light = np.clip(to_bt709 @ light, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(to_srgb(np.array([[colour]], np.uint8), profile)[0, 0] - expected).max() <= 1.5


def test_paper_white_becomes_white_and_not_the_colour_of_the_paper():
    """Relative colorimetric intent: absolute would keep the tint of the profile's own white."""
    whole = rgb_profile()
    at = whole.index(b"wtpt")
    offset = struct.unpack(">I", whole[at + 4 : at + 8])[0]
    tinted = struct.pack(">3i", *(round(65_536 * value) for value in (0.88, 0.90, 0.60)))
    printer = whole[:12] + b"prtr" + whole[16:]  # a display's white is taken for white by every intent
    paper = printer[: offset + 8] + tinted + printer[offset + 20 :]
    assert colour_space(paper) == "RGB"
    np.testing.assert_array_equal(to_srgb(np.full((1, 1, 3), 255, np.uint8), paper), 255)
    assert np.abs(np.subtract(from_srgb((255, 255, 255), paper), 255)).max() == 0


# Another program's opinion

P3_TO_SRGB = "1.2249 -0.2249 0 -0.0421 1.0421 0 -0.0196 -0.0786 1.0983"
ADOBE_TO_SRGB = "1.3984 -0.3984 0 0 1 0 0 -0.0429 1.0429"
VIPS = shutil.which("vips") or ""
MAGICK = shutil.which("magick") or shutil.which("convert-im6.q16") or ""
OPINIONS = {
    "P3 by cICP": (png_saying(cicp(12, 13), pixels=SCENE), "png", ["-colorspace", "RGB", "-color-matrix", P3_TO_SRGB]),
    "P3 by nclx": (
        (DATA.parent / "inputs" / "05-display-p3-by-nclx.heic").read_bytes(),
        "heic",
        ["-colorspace", "RGB", "-color-matrix", P3_TO_SRGB],
    ),
    "P3 by nclx in AVIF": (avif(12, 13, SOFT), "avif", ["-colorspace", "RGB", "-color-matrix", P3_TO_SRGB]),
    "light itself": (png_saying(gamma(1.0), pixels=SCENE), "png", []),
    "Adobe RGB by gAMA and cHRM": (
        png_saying(gamma(0.45455), chromaticities(*ADOBE_CHROMATICITIES), pixels=SCENE),
        "png",
        ["-evaluate", "pow", "2.2", "-set", "colorspace", "RGB", "-color-matrix", ADOBE_TO_SRGB],
    ),
    "Adobe RGB by R03": (
        jpeg_saying(dcf(b"R03\x00")),
        "jpg",
        ["-evaluate", "pow", "2.2", "-set", "colorspace", "RGB", "-color-matrix", ADOBE_TO_SRGB],
    ),
}


@pytest.mark.skipif(not (MAGICK and VIPS), reason="ImageMagick and libvips are not both installed")
@pytest.mark.parametrize("name", OPINIONS)
def test_libvips_and_imagemagick_see_the_same_colours_within_three_levels(name, tmp_path):
    data, suffix, steps = OPINIONS[name]
    given_file, made = tmp_path / f"in.{suffix}", tmp_path / "out.png"
    given_file.write_bytes(data)
    if suffix == "avif":  # libvips gives its pixels as they are stored; ImageMagick smooths them
        subprocess.run([VIPS, "copy", given_file, tmp_path / "in.png"], check=True, stderr=subprocess.DEVNULL)
        given_file = tmp_path / "in.png"
    subprocess.run([MAGICK, given_file, *steps, "-colorspace", "sRGB", "-depth", "8", f"png24:{made}"], check=True)
    theirs = np.asarray(Image.open(made).convert("RGB")).astype(int)
    image = decode(data, max_pixels=100_000)
    ours = to_srgb(image.rgb, image.icc_profile)
    assert np.abs(ours - theirs).max() <= 3
