"""Makes the files beside it that no Python wheel at hand can write: HEIC, and JPEGs of unusual kinds.

`python -m tests.data.images.make_files`, with heif-enc (Debian: libheif-examples) and cjpeg (libjpeg-turbo-progs).
"""

import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tests.images import DATA, encoded, exif, picture, rgb_profile, soft_disc, stored

WIDTH, HEIGHT = 64, 48
LOSSLESS = ["-L", "-p", "chroma=444", "--matrix_coefficients=0"]


def heic(source, suffix, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / f"in{suffix}", Path(folder) / "out.heic"
        given.write_bytes(source)
        subprocess.run(["heif-enc", str(given), "-o", str(made), *arguments], check=True, capture_output=True)
        return made.read_bytes()


def jpeg(rgb, *arguments):
    plain = b"P6 %d %d 255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes()
    command = ["cjpeg", "-quality", "95", *arguments]
    return subprocess.run(command, input=plain, check=True, capture_output=True).stdout


def boxes(data, start, end):
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, start, start + size
        start += size


def box(data, *path):
    """Start and end of the first box under `path`, its 8 bytes of header included."""
    start, end, skip = 0, len(data), 0
    for kind in path:
        start, end = next((s, e) for k, s, e in boxes(data, start + skip, end) if k == kind)
        skip = 12 if kind == b"meta" else 8  # meta is a full box: version and flags follow
    return start, end


def turned(data, quarters):
    """The same file, its primary image to be turned counter-clockwise by quarters when shown."""
    data = bytearray(data)
    start, end = box(data, b"meta", b"iprp", b"ipco")
    properties = list(boxes(data, start + 8, end))
    at = box(data, b"meta", b"iprp", b"ipma")[0] + 16  # header, version and flags, number of entries
    primary = data[box(data, b"meta", b"pitm")[0] + 12 :][:2]
    while data[at : at + 2] != primary:
        at += 3 + data[at + 2]
    data[at + 2] += 1
    data.insert(at + 2 + data[at + 2], 0x80 | (len(properties) + 1))  # essential
    grow(data, 1, [(b"meta",), (b"meta", b"iprp"), (b"meta", b"iprp", b"ipma")])
    data[properties[-1][2] : properties[-1][2]] = struct.pack(">I4sB", 9, b"irot", quarters)
    grow(data, 9, [(b"meta",), (b"meta", b"iprp"), (b"meta", b"iprp", b"ipco")])
    shift_locations(data, 10)
    return bytes(data)


def grow(data, by, paths):
    for path in paths:
        start, _ = box(data, *path)
        data[start : start + 4] = (int.from_bytes(data[start : start + 4]) + by).to_bytes(4)


def shift_locations(data, by):
    """Every item in the file (not in idat) lies `by` bytes later. For iloc of version 1 with 4-byte numbers."""
    start, _ = box(data, b"meta", b"iloc")
    if data[start + 8] != 1 or data[start + 12 : start + 14] != b"\x44\x40":
        raise SystemExit("heif-enc writes another kind of iloc now")
    at = start + 16
    for _ in range(int.from_bytes(data[start + 14 : start + 16])):
        if data[at + 3] == 0:
            data[at + 6 : at + 10] = (int.from_bytes(data[at + 6 : at + 10]) + by).to_bytes(4)
        at += 12 + 8 * int.from_bytes(data[at + 10 : at + 12])


def main():
    rgb, alpha = picture(WIDTH, HEIGHT), soft_disc(WIDTH, HEIGHT)
    sideways = encoded(stored(rgb, 6), "PNG")
    files = {
        "photo.heic": heic(encoded(rgb, "PNG", icc_profile=rgb_profile()), ".png", *LOSSLESS),
        "cutout.heic": heic(encoded(np.dstack([rgb, alpha]), "PNG"), ".png", *LOSSLESS),
        "grey.heic": heic(encoded(rgb[..., 1], "PNG"), ".png", "-L"),
        "turned.heic": turned(heic(sideways, ".png", *LOSSLESS), 3),
        # EXIF says "turn", the file itself does not: readers of HEIF obey the file
        "exif_only.heic": heic(encoded(rgb, "JPEG", exif=exif(6), quality=95), ".jpg", "-q", "90"),
        "sampled_3x1.jpg": jpeg(rgb, "-sample", "3x1"),  # sampling that TurboJPEG's interface has no name for
        "arithmetic.jpg": jpeg(rgb, "-arithmetic"),
    }
    for name, data in files.items():
        (DATA / name).write_bytes(data)
        print(name, len(data), "bytes")


if __name__ == "__main__":
    main()
