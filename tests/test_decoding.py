"""Decoding: real files of every accepted kind give their pixels; damaged ones a reason, and never anything else."""

import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

from shared.decoding import decode, media_type
from shared.errors import CorruptImage, ImageTooLarge, RejectedUpload, UnsupportedMedia
from shared.raster import BAND_PIXELS
from tests.images import (
    DATA,
    ORIENTATION,
    bmp,
    cmyk_profile,
    encoded,
    exif,
    grey_profile,
    picture,
    png,
    png_chunk,
    rgb_profile,
    soft_disc,
    stored,
    tiff,
)

WIDTH, HEIGHT = 64, 48
ENOUGH = WIDTH * HEIGHT
RGB = picture(WIDTH, HEIGHT)
GREY = RGB[..., 1]
ALPHA = soft_disc(WIDTH, HEIGHT)
RGBA = np.dstack([RGB, ALPHA])
OTHER = Image.fromarray(255 - RGB)  # what a second frame shows


def opened(data, max_pixels=ENOUGH):
    return decode(data, max_pixels=max_pixels)


def three(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def frames(kind, **settings):
    return encoded(RGB, kind, save_all=True, append_images=[OTHER], **settings)


@cache
def exact_files():
    """Files that keep every value: name -> (bytes, content type, RGB, alpha)."""
    palette = Image.fromarray(RGB).quantize(64)
    colours = np.asarray(palette.convert("RGB"))
    keyed = np.where(np.asarray(palette) == 3, 0, 255).astype(np.uint8)
    black_or_white = np.where(GREY > 128, 255, 0).astype(np.uint8)
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    premultiplied = np.dstack([RGB // 255 * 255, np.where(ALPHA > 128, 255, 0).astype(np.uint8)])
    premultiplied[premultiplied[..., 3] == 0] = 0
    return {
        "png": (encoded(RGB, "PNG"), "png", RGB, None),
        "png with alpha": (encoded(RGBA, "PNG"), "png", RGB, ALPHA),
        "png grey": (encoded(GREY, "PNG"), "png", three(GREY), None),
        "png grey with alpha": (encoded(grey_alpha, "PNG"), "png", three(GREY), ALPHA),
        "png palette": (encoded(palette, "PNG"), "png", colours, None),
        "png palette with a transparent colour": (encoded(palette, "PNG", transparency=3), "png", colours, keyed),
        "png bits": (encoded(black_or_white, "PNG", "1"), "png", three(black_or_white), None),
        "png opaque alpha": (encoded(RGB, "PNG", "RGBA"), "png", RGB, None),
        "png animated": (frames("PNG"), "png", RGB, None),
        "webp lossless": (encoded(RGBA, "WEBP", lossless=True, exact=True), "webp", RGB, ALPHA),
        "webp animated": (frames("WEBP", lossless=True), "webp", RGB, None),
        "tiff": (encoded(RGB, "TIFF"), "tiff", RGB, None),
        "tiff lzw with alpha": (encoded(RGBA, "TIFF", compression="tiff_lzw"), "tiff", RGB, ALPHA),
        "tiff deflate": (encoded(RGB, "TIFF", compression="tiff_adobe_deflate"), "tiff", RGB, None),
        "tiff packbits grey": (encoded(GREY, "TIFF", compression="packbits"), "tiff", three(GREY), None),
        "tiff fax": (encoded(black_or_white, "TIFF", "1", compression="group4"), "tiff", three(black_or_white), None),
        "tiff palette": (encoded(palette, "TIFF"), "tiff", colours, None),
        "tiff of two pages": (frames("TIFF"), "tiff", RGB, None),
        "tiff big-endian": (tiff(RGB, 2, byte_order=">"), "tiff", RGB, None),
        "tiff white is zero": (tiff(255 - GREY, 0), "tiff", three(GREY), None),
        "tiff in planes": (tiff(RGB, 2, planes=2), "tiff", RGB, None),
        "tiff with an unused channel": (tiff(RGBA, 2, extra_samples=[0]), "tiff", RGB, None),
        "tiff premultiplied": (
            tiff(premultiplied, 2, extra_samples=[1]),
            "tiff",
            premultiplied[..., :3],
            premultiplied[..., 3],
        ),
        "bmp": (encoded(RGB, "BMP"), "bmp", RGB, None),
        "bmp palette": (encoded(palette, "BMP"), "bmp", colours, None),
        "bmp of 32 bits": (encoded(RGBA, "BMP"), "bmp", RGB, None),  # without masks, the fourth byte means nothing
        "bmp with alpha": (bmp(RGBA), "bmp", RGB, ALPHA),
        "gif": (encoded(palette, "GIF"), "gif", colours, None),
        "gif with a transparent colour": (
            encoded(palette, "GIF", transparency=3, optimize=False),
            "gif",
            colours,
            keyed,
        ),
        "gif animated": (
            encoded(palette, "GIF", save_all=True, append_images=[OTHER.quantize(64)]),
            "gif",
            colours,
            None,
        ),
    }


@cache
def near_files():
    """Files that keep values nearly: name -> (bytes, content type, RGB, alpha)."""
    first = Image.fromarray(RGB)
    return {
        "jpeg": (encoded(RGB, "JPEG", quality=97, subsampling=0), "jpeg", RGB, None),
        "jpeg 4:2:0": (encoded(RGB, "JPEG", quality=97, subsampling=2), "jpeg", RGB, None),
        "jpeg progressive": (encoded(RGB, "JPEG", quality=97, progressive=True), "jpeg", RGB, None),
        "jpeg grey": (encoded(GREY, "JPEG", quality=97), "jpeg", three(GREY), None),
        "jpeg stored as RGB": (encoded(RGB, "JPEG", quality=97, keep_rgb=True), "jpeg", RGB, None),
        "jpeg sampled 3x1": ((DATA / "sampled_3x1.jpg").read_bytes(), "jpeg", RGB, None),
        "jpeg arithmetic": ((DATA / "arithmetic.jpg").read_bytes(), "jpeg", RGB, None),
        "mpo": (encoded(first, "MPO", save_all=True, append_images=[OTHER], quality=97), "jpeg", RGB, None),
        "webp": (encoded(RGBA, "WEBP", quality=97, exact=True), "webp", RGB, ALPHA),
        "avif": (encoded(RGBA, "AVIF", quality=97, subsampling="4:4:4"), "avif", RGB, ALPHA),
        "avif animated": (frames("AVIF", quality=97, subsampling="4:4:4"), "avif", RGB, None),
        "heic": ((DATA / "photo.heic").read_bytes(), "heic", RGB, None),
        "heic with alpha": ((DATA / "cutout.heic").read_bytes(), "heic", RGB, ALPHA),
        "heic grey": ((DATA / "grey.heic").read_bytes(), "heic", three(GREY), None),
        "heic turned": ((DATA / "turned.heic").read_bytes(), "heic", RGB, None),
        "tiff ycbcr": (encoded(RGB, "TIFF", "YCbCr"), "tiff", RGB, None),
        "tiff jpeg": (encoded(RGB, "TIFF", compression="jpeg", quality=97), "tiff", RGB, None),
    }


def every_file():
    return exact_files() | near_files()


@pytest.mark.parametrize("name", exact_files())
def test_lossless_files_give_every_pixel_exactly(name):
    data, kind, rgb, alpha = exact_files()[name]
    image = opened(data)
    assert image.content_type == f"image/{kind}"
    np.testing.assert_array_equal(image.rgb, rgb)
    if alpha is None:
        assert image.alpha is None
    else:
        np.testing.assert_array_equal(image.alpha, alpha)


@pytest.mark.parametrize("name", near_files())
def test_lossy_files_give_nearly_every_pixel(name):
    data, kind, rgb, alpha = near_files()[name]
    image = opened(data)
    assert image.content_type == f"image/{kind}"
    assert np.abs(image.rgb.astype(int) - rgb).mean() < 4
    if alpha is None:
        assert image.alpha is None
    else:
        assert np.abs(image.alpha.astype(int) - alpha).mean() < 2


# Depths


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_a_picture_is_converted_in_bands_as_in_one_piece(mode):
    width = 2100
    height = BAND_PIXELS // width + 50
    rows = np.arange(height, dtype=np.uint16)[:, None] + np.arange(width, dtype=np.uint16)  # no two rows are alike
    channel = (rows % 251).astype(np.uint8)
    pixels = np.dstack([channel, 255 - channel, channel // 2, channel][: len(mode)])
    data = encoded(pixels if len(mode) > 1 else channel, "PNG", compress_level=1)
    image = opened(data, max_pixels=width * height)
    np.testing.assert_array_equal(image.rgb, pixels[..., :3] if len(mode) > 2 else three(channel))
    if mode.endswith("A"):
        np.testing.assert_array_equal(image.alpha, pixels[..., -1])


def scaled(samples, white=65535):
    return np.rint(samples * (255 / white)).astype(np.uint8)


samples_16 = arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(4)))


@settings(deadline=None)
@given(samples_16)
def test_sixteen_bit_png_is_scaled_by_value(samples):
    grey, rgb, grey_alpha = samples[..., 0], samples[..., :3], samples[..., [0, 3]]
    contents = (grey, 0), (rgb, 2), (grey_alpha, 4), (samples, 6)
    opened_files = [opened(png(values, 16, colour_type)) for values, colour_type in contents]
    for image, expected in zip(opened_files, (three(grey), rgb, three(grey), rgb), strict=True):
        np.testing.assert_array_equal(image.rgb, scaled(expected))
    for image in opened_files[2:]:
        alpha = scaled(samples[..., 3])
        np.testing.assert_array_equal(image.alpha if image.alpha is not None else np.full_like(alpha, 255), alpha)


@settings(deadline=None)
@given(samples_16, st.sampled_from("<>"))
def test_sixteen_bit_tiff_is_scaled_by_value(samples, order):
    grey, rgb = samples[..., 0], samples[..., :3]
    np.testing.assert_array_equal(opened(tiff(rgb, 2, byte_order=order)).rgb, scaled(rgb))
    np.testing.assert_array_equal(opened(tiff(samples, 2, extra_samples=[2], byte_order=order)).rgb, scaled(rgb))
    np.testing.assert_array_equal(opened(tiff(grey, 1, byte_order=order)).rgb, three(scaled(grey)))


@settings(deadline=None)
@given(arrays(np.uint16, (4, 6), elements=st.integers(0, 4095)))
def test_twelve_bit_tiff_is_scaled_by_value(samples):
    np.testing.assert_array_equal(opened(tiff(samples, 1, bits=12)).rgb, three(scaled(samples, 4095)))


def test_sixteen_bit_tiff_in_which_white_is_zero_is_not_a_negative():
    samples = np.array([[0, 257, 65535]], np.uint16)
    assert opened(tiff(samples, 0)).rgb[0, :, 0].tolist() == [255, 254, 0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_deep_image_is_turned_upright_too(orientation):
    samples = RGB.astype(np.uint16) * 257
    turned = png_chunk(b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\x00\x00"))
    data = png(stored(samples, orientation), 16, 2, extra=turned)
    np.testing.assert_array_equal(opened(data).rgb, RGB)


@pytest.mark.parametrize(("bits", "colour_type"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_the_transparent_value_of_a_png_is_transparent_in_every_depth(bits, colour_type):
    values = (np.arange(16) % 2**bits).astype(np.uint16).reshape(2, 8)
    key = int(values.max())
    samples = np.stack([values, values // 2, values], -1) if colour_type == 2 else values
    channels = [key, key // 2, key] if colour_type == 2 else [key]
    extra = png_chunk(b"tRNS", b"".join(channel.to_bytes(2) for channel in channels))
    image = opened(png(samples, bits, colour_type, extra=extra))
    np.testing.assert_array_equal(image.alpha, np.where(values == key, 0, 255))


# Orientation

WITH_EXIF: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 97, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 97, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_every_orientation_is_shown_upright(kind, orientation):
    data = encoded(stored(RGB, orientation), kind, exif=exif(orientation), **WITH_EXIF[kind])
    image = opened(data)
    assert image.rgb.shape == RGB.shape
    assert np.abs(image.rgb.astype(int) - RGB).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_is_turned_with_its_colours(orientation):
    image = opened(encoded(stored(RGBA, orientation), "PNG", exif=exif(orientation)))
    np.testing.assert_array_equal(np.dstack([image.rgb, image.alpha]), RGBA)


def test_a_compressed_tiff_is_turned_once():
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    data = encoded(stored(RGB, 6), "TIFF", compression="tiff_lzw", exif=tags)
    np.testing.assert_array_equal(opened(data).rgb, RGB)


def test_heic_obeys_the_file_and_not_its_exif():
    assert opened((DATA / "exif_only.heic").read_bytes()).rgb.shape == RGB.shape


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(value):
    assert opened(encoded(RGB, "JPEG", exif=exif(value))).rgb.shape == RGB.shape


# Colour


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_rgb_profile_is_kept(kind):
    assert opened(encoded(RGB, kind, icc_profile=rgb_profile())).icc_profile == rgb_profile()


def test_an_rgb_profile_of_heic_is_kept():
    assert opened((DATA / "photo.heic").read_bytes()).icc_profile == rgb_profile()


@pytest.mark.parametrize("profile", [grey_profile(), cmyk_profile(), b"nonsense", b"\x00" * 200])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_profile_that_does_not_describe_rgb_is_dropped(kind, profile):
    assert opened(encoded(RGB, kind, icc_profile=profile)).icc_profile == b""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_grey_becomes_srgb_through_its_profile(kind):
    ramp = np.tile(np.array([0, 55, 128, 255], np.uint8), (8, 8))
    image = opened(encoded(ramp, kind, icc_profile=grey_profile(), **({"quality": 100} if kind == "JPEG" else {})))
    assert image.icc_profile == b""
    light = ramp / 255  # the profile's values are light itself
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(image.rgb - expected[..., None]).max() <= (6 if kind == "JPEG" else 1)


def test_grey_with_alpha_becomes_srgb_through_its_profile_and_keeps_its_alpha():
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 55), Image.new("L", (4, 4), 77)])
    image = opened(encoded(grey_alpha, "PNG", icc_profile=grey_profile()))
    assert np.unique(image.rgb).tolist() == [128]
    assert np.unique(image.alpha).tolist() == [77]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_value_is_matched_before_the_profile_changes_it(bits):
    values = np.array([[0, 55, 128, 255]], np.uint16) * (1 if bits == 8 else 257)
    profile = png_chunk(b"iCCP", b"light\x00\x00" + zlib.compress(grey_profile()))
    key = png_chunk(b"tRNS", int(values[0, 1]).to_bytes(2))
    image = opened(png(values, bits, 0, extra=profile + key))
    assert image.alpha.tolist() == [[255, 0, 255, 255]]
    assert image.rgb[0, :, 0].tolist() == [0, 128, 188, 255]


def inks(cyan, magenta, yellow, black):
    return Image.new("CMYK", (16, 16), (cyan, magenta, yellow, black))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_through_its_profile(kind):
    profile = {"icc_profile": cmyk_profile()}  # in which cyan prints red
    for ink, expected in (
        (inks(255, 0, 0, 0), (250, 0, 6)),
        (inks(0, 0, 0, 0), (255,) * 3),
        (inks(0, 0, 0, 255), (0,) * 3),
    ):
        image = opened(encoded(ink, kind, **profile))
        assert image.icc_profile == b""
        assert np.abs(image.rgb.astype(int) - expected).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_has_its_plain_colours(kind):
    for ink, expected in ((inks(255, 0, 0, 0), (0, 255, 255)), (inks(0, 0, 0, 128), (127,) * 3)):
        assert np.abs(opened(encoded(ink, kind)).rgb.astype(int) - expected).max() <= 2


def test_cmyk_stored_as_ycck_gives_the_same():
    stored_inverted = 255 - np.asarray(inks(200, 30, 100, 20))
    data = simplejpeg.encode_jpeg(stored_inverted, 98, "CMYK", "444")
    assert re.search(rb"Adobe.{6}\x02", data, re.DOTALL)  # 2: YCCK
    expected = opened(encoded(inks(200, 30, 100, 20), "JPEG", quality=98)).rgb
    assert np.abs(opened(data).rgb.astype(int) - expected).max() <= 3


def test_cielab_becomes_srgb():
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    soft = Image.fromarray((RGB // 2 + 64).astype(np.uint8))
    lab = ImageCms.profileToProfile(soft, *profiles, outputMode="LAB")
    assert np.abs(opened(encoded(lab, "TIFF")).rgb.astype(int) - np.asarray(soft)).mean() < 3


# Sizes


SMALL = [(kind, (1, height)) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF") for height in (1, 300)]
LONG = [(kind, (20_000, 200)) for kind in ("JPEG", "PNG", "TIFF", "BMP", "GIF")]


@pytest.mark.parametrize(("kind", "size"), [*SMALL, *LONG, ("WEBP", (16_383, 200))])
def test_the_smallest_and_the_longest_images_are_read(kind, size):
    image = opened(encoded(Image.new("RGB", size, (200, 100, 50)), kind), max_pixels=4_000_000)
    assert (image.width, image.height) == size
    for channel, value in enumerate((200, 100, 50)):
        assert value - 3 <= image.rgb[..., channel].min() <= image.rgb[..., channel].max() <= value + 3


@pytest.mark.parametrize("name", every_file())
def test_one_pixel_more_than_the_limit_is_too_many(name):
    data = every_file()[name][0]
    with pytest.raises(ImageTooLarge, match=r"shoes\.bin has 64 x 48 pixels"):
        decode(data, max_pixels=ENOUGH - 1, name="shoes.bin")


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "webp lossless", "webp animated", "tiff", "bmp", "gif"])
def test_the_size_is_judged_before_pixels_are_read(name):
    data = every_file()[name][0]
    with pytest.raises(ImageTooLarge):
        opened(data[: len(data) * 3 // 4], max_pixels=100)


def test_a_bomb_is_refused_by_its_header():
    bomb = png(np.zeros((1, 8), np.uint8), 1, 0)
    huge = bomb[:16] + (60_000).to_bytes(4) * 2 + bomb[24:]
    with pytest.raises(ImageTooLarge):
        opened(huge[:29] + png_chunk(b"IHDR", huge[16:29])[-4:] + huge[33:], max_pixels=50_000_000)


@pytest.mark.parametrize("name", every_file())
def test_only_the_given_limit_counts_and_not_the_librarys(name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = every_file()[name][0]
    if name == "webp animated":  # the one decoder that insists on Pillow's limit, of 179 million pixels
        with pytest.raises(ImageTooLarge, match="more pixels"):
            opened(data)
    else:
        assert opened(data).width == WIDTH


# What is refused


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"just text",
        b"BMW is a car, and this is no bitmap at all",
        b"%PDF-1.7 ...",
        b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        bytes(range(256)),
    ],
)
def test_what_is_no_image_of_an_accepted_kind_is_unsupported(data):
    with pytest.raises(UnsupportedMedia, match=r"^a/b\.png is (empty|not a JPEG, PNG)"):
        decode(data, max_pixels=100, name="a/b.png")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(GREY.astype(np.float32), 1, sample_format=3), "floating-point"),
        (tiff(GREY.astype(np.uint32), 1), "32-bit"),
        (tiff(GREY.astype(np.int16), 1, sample_format=2), "signed"),
        (tiff(RGB.astype(np.uint16), 2, planes=2), "separate planes"),
        (tiff(RGB, 2, subfile=1), "raw file"),
        (tiff(np.zeros((4, 4, 3), np.uint8), 32803), "kind that is not read"),
    ],
)
def test_images_whose_meaning_is_unknown_are_unsupported(data, reason):
    with pytest.raises(UnsupportedMedia, match=reason):
        opened(data)


def test_a_jpeg_of_twelve_bits_is_unsupported():
    data = bytearray(encoded(RGB, "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedMedia, match="JPEG of a kind that is not read"):
        opened(bytes(data))


def test_the_sentence_names_the_file_and_its_format():
    data = encoded(RGB, "JPEG")
    with pytest.raises(CorruptImage, match=r"^shoes/12\.jpg is a damaged or incomplete JPEG file\.$") as caught:
        decode(data[:-100], max_pixels=ENOUGH, name="shoes/12.jpg")
    assert "premature" in caught.value.detail.lower()


def test_a_claimed_size_of_zero_is_corrupt():
    data = bytearray(encoded(RGB, "BMP"))
    data[18:22] = bytes(4)
    with pytest.raises(CorruptImage):
        opened(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(every_file())), st.floats(0, 1), st.integers(0, 3))
def test_a_file_cut_short_gives_the_whole_picture_or_a_reason(name, share, before_end):
    data = every_file()[name][0]
    cut = data[: len(data) - before_end] if before_end else data[: int(share * len(data))]
    try:
        image = opened(cut)
    except (CorruptImage, UnsupportedMedia):
        return
    whole = opened(data)
    np.testing.assert_array_equal(image.rgb, whole.rgb)
    np.testing.assert_array_equal(image.alpha, whole.alpha)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(every_file())), st.data())
def test_a_damaged_file_gives_a_picture_or_a_reason_and_nothing_else(name, data):
    damaged = bytearray(every_file()[name][0])
    header = st.integers(0, min(200, len(damaged) - 1))
    for place in data.draw(st.lists(header | st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        image = opened(bytes(damaged))
    except RejectedUpload:
        return
    assert 0 < image.width * image.height <= ENOUGH


def test_libraries_warnings_do_not_reach_the_log():
    truncated_exif = encoded(RGB, "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x04\x01\x12")
    program = (
        "import sys, warnings\n"
        "from shared.decoding import decode\n"
        "print(decode(sys.stdin.buffer.read(), max_pixels=4000).rgb.shape)\n"
    )
    command = [sys.executable, "-W", "always::UserWarning", "-c", program]
    done = subprocess.run(command, input=truncated_exif, capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(RGB.shape)
    assert done.stderr == b""


def test_many_threads_read_what_one_reads():
    files = [entry[0] for entry in every_file().values()] * 3
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(opened, files))
    for data, image in zip(files, images, strict=True):
        np.testing.assert_array_equal(image.rgb, opened(data).rgb)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_have_an_accepted_type_or_none(data):
    assert media_type(data) in ("", *(f"image/{entry[1]}" for entry in every_file().values()))
