"""Result files: every format keeps what it promises, says what it is, and comes out the same every time."""

import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from shared.decoding import decode, media_type
from shared.encoding import content_type, encode, suffix
from shared.errors import InvalidOptions
from shared.options import Channels, CutOptions, OutputFormat
from shared.records import Cutout, Subject
from tests.images import encoded, exif, picture, rgb_profile, soft_disc

SUBJECT = Subject(coverage=0.5, uncertain=0.1, box=(0, 0, 1, 1))
LOSSLESS = [OutputFormat.PNG, OutputFormat.WEBP]
WHITE = "#ffffff"
OPTIONS = {
    "png": CutOptions(),
    "webp": CutOptions(output_format=OutputFormat.WEBP),
    "zip": CutOptions(output_format=OutputFormat.ZIP),
    "png matte": CutOptions(channels=Channels.ALPHA),
    "webp matte": CutOptions(output_format=OutputFormat.WEBP, channels=Channels.ALPHA),
    "jpg matte": CutOptions(output_format=OutputFormat.JPG, channels=Channels.ALPHA),
    "jpg": CutOptions(output_format=OutputFormat.JPG, bg_color=WHITE),
    "png on white": CutOptions(bg_color=WHITE),
    "webp on white": CutOptions(output_format=OutputFormat.WEBP, bg_color=WHITE),
}


def cutout(rgba, icc_profile=b""):
    return Cutout(rgba=rgba, subject=SUBJECT, icc_profile=icc_profile)


def scene(opaque=False, icc_profile=b""):
    alpha = np.full((48, 64), 255, np.uint8) if opaque else soft_disc(64, 48)
    return cutout(np.dstack([picture(64, 48), alpha]), icc_profile)


def prepared(options, icc_profile=b""):
    return scene(opaque=bool(options.bg_color), icc_profile=icc_profile)


def pillow(data, mode):
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


rgba_arrays = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4)))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(LOSSLESS), rgba_arrays)
def test_every_pixel_survives_even_under_alpha_zero(output_format, rgba):
    file = encode(cutout(rgba.copy()), CutOptions(output_format=output_format))
    np.testing.assert_array_equal(pillow(file.data, "RGBA"), rgba)
    image = decode(file.data, max_pixels=200)
    np.testing.assert_array_equal(image.rgb, rgba[..., :3])
    np.testing.assert_array_equal(np.full(rgba.shape[:2], 255) if image.alpha is None else image.alpha, rgba[..., 3])


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(LOSSLESS), rgba_arrays)
def test_the_matte_alone_survives(output_format, rgba):
    options = CutOptions(output_format=output_format, channels=Channels.ALPHA)
    file = encode(cutout(rgba.copy()), options)
    np.testing.assert_array_equal(pillow(file.data, "L"), rgba[..., 3])
    assert decode(file.data, max_pixels=200).alpha is None


@pytest.mark.parametrize("name", OPTIONS)
def test_what_the_file_claims_is_what_it_is(name):
    options = OPTIONS[name]
    file = encode(prepared(options), options)
    assert (file.width, file.height) == (64, 48)
    assert file.content_type == content_type(options)
    assert suffix(options) == f".{options.output_format}"
    if options.output_format is OutputFormat.ZIP:
        assert zipfile.is_zipfile(io.BytesIO(file.data))
    else:
        assert media_type(file.data) == file.content_type


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_cutout_gives_the_same_bytes(name):
    options = OPTIONS[name]
    assert encode(prepared(options), options).data == encode(prepared(options), options).data


@pytest.mark.parametrize("name", ["png", "webp", "jpg", "png on white", "webp on white"])
@pytest.mark.parametrize("profile", [rgb_profile(), rgb_profile() + b"\x00" * 150_000])
def test_the_profile_goes_into_every_coloured_file(name, profile):
    data = encode(prepared(OPTIONS[name], profile), OPTIONS[name]).data
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile


@pytest.mark.parametrize("name", ["png matte", "webp matte", "jpg matte"])
def test_a_matte_carries_no_profile(name):
    data = encode(scene(icc_profile=rgb_profile()), OPTIONS[name]).data
    assert "icc_profile" not in Image.open(io.BytesIO(data)).info


def test_the_parts_of_a_long_profile_in_a_jpeg_are_numbered_from_one():
    data = encode(prepared(OPTIONS["jpg"], rgb_profile() + b"\x00" * 150_000), OPTIONS["jpg"]).data
    assert re.findall(rb"\xff\xe2..ICC_PROFILE\x00(..)", data, re.DOTALL) == [b"\x01\x03", b"\x02\x03", b"\x03\x03"]
    assert data.index(b"JFIF") < data.index(b"ICC_PROFILE") < data.index(b"\xff\xda")


def test_a_matte_as_png_or_jpeg_is_grey():
    for name in ("png matte", "jpg matte"):
        assert Image.open(io.BytesIO(encode(scene(), OPTIONS[name]).data)).mode == "L"


def test_a_jpeg_is_close_and_in_full_colour_resolution():
    data = encode(scene(opaque=True), OPTIONS["jpg"]).data
    assert np.abs(pillow(data, "RGB").astype(int) - picture(64, 48)).mean() < 1.5
    opened = Image.open(io.BytesIO(data))
    assert isinstance(opened, JpegImageFile)
    layers = opened.layer
    assert [(across, down) for _, across, down, _ in layers] == [(1, 1)] * 3


@pytest.mark.parametrize("name", ["jpg", "png on white", "webp on white"])
def test_a_cutout_that_was_not_laid_on_its_colour_is_a_mistake(name):
    with pytest.raises(ValueError, match="bg_color"):
        encode(scene(), OPTIONS[name])


def test_a_zip_holds_colour_and_alpha_of_the_same_size():
    cut = scene(icc_profile=rgb_profile())
    with zipfile.ZipFile(io.BytesIO(encode(cut, OPTIONS["zip"]).data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        colour, alpha = archive.read("color.jpg"), archive.read("alpha.png")
    np.testing.assert_array_equal(pillow(alpha, "L"), cut.rgba[..., 3])
    assert np.abs(pillow(colour, "RGB").astype(int) - cut.rgba[..., :3]).mean() < 1.5
    assert Image.open(io.BytesIO(colour)).info["icc_profile"] == rgb_profile()


@pytest.mark.parametrize(
    ("name", "shape"), [("webp", (1, 16_384)), ("webp", (16_384, 1)), ("zip", (1, 65_536)), ("jpg matte", (65_536, 1))]
)
def test_a_side_that_the_format_cannot_hold_is_named(name, shape):
    with pytest.raises(InvalidOptions, match=f"output_format={OPTIONS[name].output_format}.*{max(shape)}"):
        encode(cutout(np.zeros((*shape, 4), np.uint8)), OPTIONS[name])


@pytest.mark.parametrize(("name", "side"), [("webp", 16_383), ("zip", 65_500), ("jpg matte", 65_500), ("png", 70_000)])
def test_the_longest_side_of_each_format_is_written(name, side):
    data = encode(cutout(np.full((1, side, 4), 255, np.uint8)), OPTIONS[name]).data
    if name == "zip":
        data = zipfile.ZipFile(io.BytesIO(data)).read("color.jpg")
    assert Image.open(io.BytesIO(data)).size == (side, 1)


@pytest.mark.parametrize("name", OPTIONS)
def test_where_and_with_what_a_picture_was_taken_stays_behind(name):
    upload = encoded(picture(64, 48), "JPEG", exif=exif(1))
    assert b"Camera of the test" in upload
    image = decode(upload, max_pixels=10_000)
    options = OPTIONS[name]
    alpha = np.full((48, 64), 255 if options.bg_color else 100, np.uint8)
    data = encode(cutout(np.dstack([image.rgb, alpha]), image.icc_profile), options).data
    assert b"Camera of the test" not in data
    assert b"Exif" not in data
