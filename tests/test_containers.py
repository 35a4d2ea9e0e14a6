"""Metadata: it never refuses a picture, says only what its format lets it say, and costs no more than its bytes."""

import re
import struct
import time
import zlib
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.containers import PARSERS
from shared.containers.container import MOST_PARTS
from shared.decoding import decode, media_type
from shared.errors import CorruptImage, ImageTooComplex, RejectedUpload, UnsupportedMedia
from tests.images import (
    DATA,
    ORIENTATION,
    bmp,
    encoded,
    exif,
    picture,
    png_chunk,
    rgb_profile,
    scans,
    soft_disc,
    stored,
    tiff,
)

INPUTS = DATA.parent / "inputs"
WIDTH, HEIGHT = 64, 48
RGB = picture(WIDTH, HEIGHT)
ENOUGH = 100_000
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    b"<rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation='6'/></rdf:RDF></x:xmpmeta>"
)
EXIF = exif(6).tobytes()  # begins with Exif\0\0
GARBAGE_EXIF = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + bytes(range(60))


def opened(data):
    return decode(data, max_pixels=ENOUGH)


def broken(chunk):
    """The same chunk with a wrong checksum."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def in_png(*chunks, after=(), data=None):
    """A PNG with chunks in front of its pixels, and behind them."""
    data = data or encoded(RGB, "PNG")
    end = data.index(b"IEND") - 4
    return data[:33] + b"".join(chunks) + data[33:end] + b"".join(after) + data[end:]


def unpacks_to(size):
    return zlib.compress(bytes(size), 9)


OVERSIZED_PNG = {
    "zTXt": png_chunk(b"zTXt", b"Comment\x00\x00" + unpacks_to(3_000_000)),
    "iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + unpacks_to(3_000_000)),
    "iCCP": png_chunk(b"iCCP", b"x\x00\x00" + unpacks_to(3_000_000)),
}
PRIVATE = png_chunk(b"prVt", b"anything")
IGNORED_PNG = {
    **{f"bad checksum of {kind.decode()}": broken(png_chunk(kind, content)) for kind, content in {
        b"tEXt": b"a\x00b",
        b"iCCP": b"x\x00\x00" + zlib.compress(rgb_profile()),
        b"gAMA": struct.pack(">I", 100_000),
        b"cHRM": bytes(32),
        b"cICP": bytes([12, 13, 0, 1]),
        b"eXIf": EXIF[6:],
        b"sRGB": b"\x00",
        b"pHYs": bytes(9),
        b"acTL": bytes(8),
        b"PLTE": bytes(9),
        b"tRNS": bytes(6),
        b"prVt": b"x",
    }.items()},
    "unknown method of iCCP": png_chunk(b"iCCP", b"x\x00\x07" + zlib.compress(rgb_profile())),
    "iCCP without a name": png_chunk(b"iCCP", b"no end of the name"),
    "iCCP that is no profile": png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(b"nonsense")),
    "iCCP cut short": png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(rgb_profile())[:-30]),
    "gAMA of 0": png_chunk(b"gAMA", bytes(4)),
    "gAMA of the wrong length": png_chunk(b"gAMA", b"\x01"),
    "cHRM of zeros": png_chunk(b"cHRM", bytes(32)),
    "cHRM on one line": png_chunk(b"cHRM", struct.pack(">8I", *[31_270, 32_900] * 4)),
    "cHRM of the wrong length": png_chunk(b"cHRM", b"\x01\x02"),
    "cICP with unknown numbers": png_chunk(b"cICP", bytes([99, 13, 0, 1])),
    "cICP of YCbCr": png_chunk(b"cICP", bytes([9, 13, 9, 1])),
    "cICP of the wrong length": png_chunk(b"cICP", b"\x0c"),
    "sRGB of the wrong length": png_chunk(b"sRGB", b""),
    "garbage eXIf": png_chunk(b"eXIf", GARBAGE_EXIF[6:]),
}  # fmt: skip
SILENT_PNG = {
    "private chunk": PRIVATE,
    "critical chunk that nobody knows": png_chunk(b"PRVT", b"x"),
    "frames of an animation": png_chunk(b"acTL", bytes(8)) + png_chunk(b"fdAT", bytes(99)),
    "tRNS of the wrong length": png_chunk(b"tRNS", b"\x01"),
    "suggested palette": png_chunk(b"PLTE", bytes(9)),
}


@pytest.mark.parametrize("name", IGNORED_PNG)
def test_a_damaged_optional_chunk_of_a_png_counts_as_absent_and_is_named(name):
    image = opened(in_png(IGNORED_PNG[name]))
    np.testing.assert_array_equal(image.rgb, RGB)
    assert (image.icc_profile, image.alpha) == (b"", None)
    assert image.notes["metadata"].startswith("ignored: ")


@pytest.mark.parametrize("name", SILENT_PNG)
def test_a_chunk_of_a_png_that_decides_no_pixel_changes_nothing(name):
    for data in (in_png(SILENT_PNG[name]), in_png(after=[SILENT_PNG[name]])):
        image = opened(data)
        np.testing.assert_array_equal(image.rgb, RGB)
        assert image.alpha is None


@pytest.mark.parametrize("kind", OVERSIZED_PNG)
@pytest.mark.parametrize("place", ["before", "after"])
def test_text_or_profile_that_unpacks_to_megabytes_counts_as_absent(kind, place):
    chunk = OVERSIZED_PNG[kind]
    image = opened(in_png(chunk) if place == "before" else in_png(after=[chunk]))
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.icc_profile == b""


def test_a_profile_beside_damaged_text_is_kept():
    profile = png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(rgb_profile()))
    image = opened(in_png(broken(png_chunk(b"tEXt", b"a\x00b")), profile))
    assert image.icc_profile == rgb_profile()
    assert image.notes["metadata"] == "ignored: tEXt chunk with a wrong checksum"


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT"])
def test_a_damaged_chunk_that_decides_pixels_is_never_ignored(kind):
    data = bytearray(encoded(RGB, "PNG"))
    at = data.index(kind) + (8 if kind == b"IHDR" else 40)
    data[at] ^= 0xFF
    with pytest.raises(RejectedUpload):
        opened(bytes(data))


def test_the_palette_of_a_palette_png_decides_pixels():
    data = encoded(Image.fromarray(RGB).quantize(16), "PNG")
    at, length = data.index(b"PLTE"), struct.unpack(">I", data[data.index(b"PLTE") - 4 : data.index(b"PLTE")])[0]
    with pytest.raises(CorruptImage):
        opened(data[: at + 4 + length] + b"\x00\x00\x00\x00" + data[at + 8 + length :])


# JPEG


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def in_jpeg(*parts, data=None):
    """A JPEG with bytes after its JFIF segment."""
    data = data or encoded(RGB, "JPEG", quality=95)
    return data[:20] + b"".join(parts) + data[20:]


PROFILE = rgb_profile()
HALVES = [b"ICC_PROFILE\x00" + bytes([n, 2]) + part for n, part in ((1, PROFILE[:900]), (2, PROFILE[900:]))]
IGNORED_JPEG = {
    "stray bytes": b"\x00\x01\x02\x03",
    "stray bytes that hold a marker": b"\x13\xff\x00\x37",
    "a segment of length 0": b"\xff\xe5\x00\x00",
    "a segment of length 1": b"\xff\xe5\x00\x01",
    "half a profile": segment(0xE2, HALVES[0]),
    "the other half of a profile": segment(0xE2, HALVES[1]),
    "a profile whose parts disagree": segment(0xE2, HALVES[0])
    + segment(0xE2, HALVES[1][:13] + b"\x03" + HALVES[1][14:]),
    "a profile of zero parts": segment(0xE2, b"ICC_PROFILE\x00\x00\x00" + PROFILE),
    "a profile segment that is too short": segment(0xE2, b"ICC_PROFILE\x00\x01"),
    "a profile that is none": segment(0xE2, b"ICC_PROFILE\x00\x01\x01nonsense"),
    "garbage EXIF": segment(0xE1, GARBAGE_EXIF),
    "EXIF cut short": segment(0xE1, EXIF[:12]),
}
SILENT_JPEG = {
    "a short JFIF segment": segment(0xE0, b"JFIF\x00\x01"),
    "a short Adobe segment": segment(0xEE, b"Adobe\x00"),
    "comments": segment(0xFE, b"x" * 60_000) * 20,
    "unknown segments": segment(0xEB, bytes(5000)) + segment(0xE9, b""),
    "fill bytes": b"\xff" * 9,
}


def same_as_the_clean_one(image):
    np.testing.assert_array_equal(image.rgb, opened(encoded(RGB, "JPEG", quality=95)).rgb)
    assert image.icc_profile == b""


@pytest.mark.parametrize("name", IGNORED_JPEG)
def test_a_damaged_segment_of_a_jpeg_counts_as_absent_and_is_named(name):
    image = opened(in_jpeg(IGNORED_JPEG[name]))
    same_as_the_clean_one(image)
    assert image.notes["metadata"].startswith("ignored: ")


@pytest.mark.parametrize("name", SILENT_JPEG)
def test_a_segment_of_a_jpeg_that_decides_no_pixel_changes_nothing(name):
    same_as_the_clean_one(opened(in_jpeg(SILENT_JPEG[name])))


def test_stray_bytes_stand_anywhere_before_the_scan():
    data = encoded(RGB, "JPEG", quality=95)
    for marker in (b"\xff\xdb", b"\xff\xc4", b"\xff\xc0", b"\xff\xda"):
        at = data.index(marker)
        same_as_the_clean_one(opened(data[:at] + b"\x00\x11\x22\x33" + data[at:]))


def test_a_whole_profile_in_parts_of_any_order_is_kept():
    image = opened(in_jpeg(segment(0xE2, HALVES[1]), segment(0xE2, HALVES[0])))
    assert image.icc_profile == PROFILE


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_jpeg_with_a_hole_in_its_scan_is_never_shown(data):
    file = encoded(RGB, "JPEG", quality=95)
    scan = file.index(b"\xff\xda") + 14
    at = data.draw(st.integers(scan, len(file) - 40))
    try:
        image = opened(file[:at] + file[at + data.draw(st.integers(8, 30)) :])
    except CorruptImage:
        return
    assert image.rgb.shape == RGB.shape


@pytest.mark.parametrize("channels", [2, 5])
def test_a_jpeg_of_an_odd_number_of_channels_is_unsupported(channels):
    data = bytearray(encoded(RGB, "JPEG"))
    at = data.index(b"\xff\xc0")
    frame = bytes(data[at + 4 : at + 9]) + bytes([channels]) + bytes([1, 0x11, 0] * channels)
    whole = bytes(data[:at]) + segment(0xC0, frame) + bytes(data[at + 19 :])
    with pytest.raises(UnsupportedMedia, match="channels"):
        opened(whole)


# WebP and others


def riff(*chunks):
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def extended_webp(*chunks, flags=0x2C):
    """A WebP of pixels and chunks of metadata."""
    plain = encoded(RGB, "WEBP", lossless=True)
    header = struct.pack("<I", flags) + (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    return riff((b"VP8X", header), (b"VP8L", plain[20 : 20 + struct.unpack("<I", plain[16:20])[0]]), *chunks)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (extended_webp((b"ICCP", b"nonsense")), True),
        (extended_webp((b"EXIF", GARBAGE_EXIF)), True),
        (extended_webp((b"EXIF", b"")), False),
        (extended_webp((b"abcd", bytes(33)), (b"XMP ", XMP)), False),
        (extended_webp((b"EXIF", EXIF[6:]))[:-40], True),
        (extended_webp((b"ICCP", PROFILE))[:-200], True),
        (extended_webp((b"XMP ", XMP))[:-7], True),
    ],
)
def test_damaged_metadata_of_a_webp_counts_as_absent(data, named):
    image = opened(data)
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.icc_profile == b""
    assert ("metadata" in image.notes) == named


def test_damaged_metadata_of_a_tiff_counts_as_absent():
    good = encoded(RGB, "TIFF", icc_profile=PROFILE)
    at = good.index(PROFILE)
    image = opened(good[:at] + bytes(len(PROFILE)) + good[at + len(PROFILE) :])
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.icc_profile == b""
    assert image.notes["metadata"] == "ignored: a damaged colour profile"


def test_damaged_metadata_of_an_avif_counts_as_absent():
    whole = encoded(RGB, "AVIF", quality=90, exif=exif(1).tobytes(), icc_profile=PROFILE, xmp=XMP)
    garbage = whole.replace(b"MM\x00*", b"\xff\xff\xff\xff").replace(b"II*\x00", b"\xff\xff\xff\xff")
    assert garbage != whole
    np.testing.assert_array_equal(opened(garbage).rgb, opened(whole).rgb)
    at = whole.index(PROFILE)
    image = opened(whole[:at] + bytes(len(PROFILE)) + whole[at + len(PROFILE) :])
    assert (image.icc_profile, image.notes["metadata"]) == (b"", "ignored: a damaged colour profile")


def test_a_gif_of_comments_and_unknown_extensions_is_read():
    palette = Image.fromarray(RGB).quantize(32)
    data = encoded(palette, "GIF", comment=b"x" * 5000)
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    strange = b"!\x99" + bytes([3]) + b"abc" + b"\x00"
    np.testing.assert_array_equal(opened(data[:at] + strange + data[at:]).rgb, np.asarray(palette.convert("RGB")))


# Orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_in_xmp_turns_nothing(kind):
    if kind == "PNG":
        data = in_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + XMP))
    elif kind == "TIFF":
        tags = Image.Exif()
        tags[700] = XMP
        data = encoded(RGB, kind, exif=tags)
    else:
        data = encoded(RGB, kind, xmp=XMP)
    assert XMP in data
    assert opened(data).rgb.shape == RGB.shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_does_not_overrule_exif(kind):
    tags = exif(8)
    if kind == "TIFF":
        tags[700] = XMP
    data = encoded(stored(RGB, 8), kind, exif=tags, **({"xmp": XMP} if kind in ("JPEG", "WEBP") else {}))
    assert opened(data).rgb.shape == RGB.shape


def test_exif_turns_no_avif():
    data = encoded(RGB, "AVIF", exif=exif(1).tobytes())
    turned = data.replace(b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06")
    turned = turned.replace(b"\x12\x01\x03\x00\x01\x00\x00\x00\x01\x00", b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00")
    assert opened(turned).rgb.shape == RGB.shape


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_byte_orders(order):
    entry = struct.pack(order + "HHIH", ORIENTATION, 3, 1, 6)
    block = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "IH", 8, 1) + entry + bytes(6)
    data = in_jpeg(segment(0xE1, b"Exif\x00\x00" + block), data=encoded(stored(RGB, 6), "JPEG"))
    assert opened(data).rgb.shape == RGB.shape


# What the files say


def test_a_clean_aperture_is_cut_out():
    image = opened((INPUTS / "11-cropped-by-clap.avif").read_bytes())
    assert (image.width, image.height) == (100, 120)
    whole = np.asarray(Image.open(INPUTS / "11-cropped-by-clap.avif"))  # Pillow does not crop
    assert np.abs(image.rgb.astype(int) - whole[60:180, 60:160]).max() <= 1


def test_an_impossible_clean_aperture_counts_as_absent():
    data = bytearray((INPUTS / "11-cropped-by-clap.avif").read_bytes())
    at = data.index(b"clap") + 4
    for wrong in (struct.pack(">I", 5000), bytes(4)):
        data[at : at + 4] = wrong
        image = opened(bytes(data))
        assert (image.width, image.height) == (225, 300)
        assert image.notes["metadata"] == "ignored: an impossible clean aperture"


@pytest.mark.parametrize("background", [0, 200])
def test_a_bmp_whose_alpha_is_zero_everywhere_is_opaque(background):
    alpha = np.full((HEIGHT, WIDTH), background, np.uint8)
    image = opened(bmp(np.dstack([RGB, alpha])))
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.alpha is None if background == 0 else (image.alpha == background).all()


def pages(*images):
    """A TIFF of several pages: (pixels, kind of page)."""
    file = bytearray(b"II*\x00\x00\x00\x00\x00")
    pointer = 4
    for pixels, subfile in images:
        part = tiff(pixels, 2, subfile=subfile)
        base, directory = len(file), struct.unpack("<I", part[4:8])[0]
        file += part
        struct.pack_into("<I", file, pointer, base + directory)
        count = struct.unpack_from("<H", file, base + directory)[0]
        for entry in range(base + directory + 2, base + directory + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from("<HHII", file, entry)
            if tag == 273 or number * {3: 2, 4: 4}[kind] > 4:
                struct.pack_into("<I", file, entry + 8, value + base)
        pointer = base + directory + 2 + 12 * count
    return bytes(file)


SMALL = RGB[::2, ::2].copy()
FULL_PAGE, REDUCED_PAGE, MASK_PAGE = 0, 1, 4


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ([(SMALL, REDUCED_PAGE), (RGB, FULL_PAGE)], None),
        ([(SMALL, MASK_PAGE), (SMALL, REDUCED_PAGE), (RGB, FULL_PAGE)], None),
        ([(RGB, FULL_PAGE), (SMALL, REDUCED_PAGE)], None),
        ([(RGB, FULL_PAGE), (SMALL, FULL_PAGE)], "the first of 2 pages was cut out"),
        ([(SMALL, REDUCED_PAGE), (RGB, FULL_PAGE), (SMALL, FULL_PAGE)], "the first of 2 pages was cut out"),
    ],
)
def test_the_first_page_that_is_no_reduced_copy_is_the_picture(content, note):
    image = opened(pages(*content))
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.notes.get("pages") == note


def test_pages_that_lead_in_a_circle_end():
    data = bytearray(pages((RGB, FULL_PAGE), (SMALL, FULL_PAGE)))
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    np.testing.assert_array_equal(opened(bytes(data)).rgb, RGB)


# What costs too much


@pytest.mark.parametrize("number", [501, 1000, 100_000])
def test_a_jpeg_of_too_many_scans_is_refused_at_once(number):
    data = scans(number)
    began = time.process_time()
    with pytest.raises(ImageTooComplex, match=r"more than 500 scans"):
        decode(data, max_pixels=50_000_000)
    assert time.process_time() - began < 1


def test_scans_are_counted_in_the_picture_and_not_behind_it():
    data = encoded(RGB, "JPEG", progressive=True) + b"\xff\xda" * 1000
    assert opened(data).rgb.shape == RGB.shape


def test_an_end_of_image_inside_a_comment_hides_no_scans():
    data = scans(1000)
    at = data.index(b"\xff\xda")
    with pytest.raises(ImageTooComplex):
        decode(data[:at] + segment(0xFE, b"\xff\xd9") + data[at:], max_pixels=50_000_000)
    second = data.index(b"\xff\xda", at + 10)
    with pytest.raises(ImageTooComplex):
        decode(data[:second] + segment(0xFE, b"\xff\xd9") + data[second:], max_pixels=50_000_000)


def with_many(media):
    tiny = {"jpeg": segment(0xFE, b""), "png": png_chunk(b"tEXt", b""), "webp": b"abcd" + bytes(4)}[media]
    many = tiny * (MOST_PARTS + 10)
    if media == "jpeg":
        return in_jpeg(many)
    return in_png(many) if media == "png" else riff((b"VP8X", bytes(10))) + many


@pytest.mark.parametrize("media", ["jpeg", "png", "webp"])
def test_absurd_numbers_of_parts_are_refused_at_once(media):
    data = with_many(media)
    began = time.process_time()
    with pytest.raises(ImageTooComplex, match="more than 100,000"):
        opened(data)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("media", ["jpeg", "png", "webp"])
def test_more_metadata_than_any_camera_writes_is_refused(media):
    bulk = 65_000_000
    data = {
        "jpeg": lambda: in_jpeg(segment(0xEB, bytes(65_000)) * 1001),
        "png": lambda: in_png(png_chunk(b"tEXt", bytes(bulk))),
        "webp": lambda: extended_webp((b"XMP ", bytes(bulk))),
    }[media]()
    with pytest.raises(ImageTooComplex, match="more than 64 MB of metadata"):
        opened(data)


def test_a_tiff_of_absurdly_many_strips_is_refused():
    data = bytearray(tiff(RGB, 2))
    directory = struct.unpack_from("<I", data, 4)[0]
    for entry in range(directory + 2, len(data) - 12, 12):
        if struct.unpack_from("<H", data, entry)[0] == 273:
            struct.pack_into("<I", data, entry + 4, 5_000_000)
    with pytest.raises(ImageTooComplex, match="strips or tiles"):
        opened(bytes(data))


@cache
def every_kind():
    alpha = np.dstack([RGB, soft_disc(WIDTH, HEIGHT)])
    return [
        encoded(RGB, "JPEG", exif=exif(6), icc_profile=PROFILE),
        encoded(RGB, "JPEG", progressive=True),
        encoded(alpha, "PNG", icc_profile=PROFILE, exif=exif(3)),
        extended_webp((b"ICCP", PROFILE), (b"EXIF", EXIF)),
        pages((SMALL, REDUCED_PAGE), (RGB, FULL_PAGE)),
        bmp(alpha),
        encoded(Image.fromarray(RGB).quantize(8), "GIF"),
        encoded(alpha, "AVIF", exif=exif(6), icc_profile=PROFILE),
        (DATA / "photo.heic").read_bytes(),
        (INPUTS / "05-display-p3-by-nclx.heic").read_bytes(),
        (INPUTS / "11-cropped-by-clap.avif").read_bytes(),
    ]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(range(11)), st.data())
def test_reading_a_damaged_header_ends_with_a_size_or_an_error(kind, data):
    damaged = bytearray(every_kind()[kind])
    places = st.integers(0, min(700, len(damaged) - 1)) | st.integers(0, len(damaged) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=10)):
        damaged[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    media = media_type(bytes(damaged))
    if not media:
        return
    try:
        decode(bytes(damaged), max_pixels=ENOUGH)
    except RejectedUpload as error:
        assert re.match(r"The upload (is|has|needs) .*\.$", str(error))  # noqa: PT017


def test_every_accepted_type_has_its_parser():
    assert all(media_type(data) in PARSERS for data in every_kind())
