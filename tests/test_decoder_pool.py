"""Decoder processes: the same pictures as in place; a file that loops, crashes or grows ends alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.decoder_pool import DecoderPool
from shared.decoding import decode
from shared.errors import CorruptImage, ImageTooComplex, ImageTooLarge, RejectedUpload, ShuttingDown
from tests.hostile_decoders import CRASH, GROW, GROW_SLOWLY, KILLED, LOOP, SLEEP
from tests.hostile_decoders import serve as hostile_serve
from tests.images import encoded, exif, picture, rgb_profile, soft_disc, stored

RGB = picture(64, 48)
RGBA = np.dstack([RGB, soft_disc(64, 48)])
PALETTE = Image.fromarray(RGB).quantize(16)
PLENTY = 200_000_000  # bytes
ENOUGH = 10_000  # pixels


def hostile(behaviour: bytes = b"") -> bytes:
    """A GIF that asks the tests' broken codec for something."""
    data = encoded(PALETTE, "GIF", optimize=False)
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    comment = b"!\xfe" + bytes([len(behaviour)]) + behaviour + b"\x00" if behaviour else b""
    return data[:at] + comment + data[at:]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(2, timeout_s=20)
    yield pool
    pool.stop()


@pytest.fixture(scope="module")
def broken() -> Iterator[DecoderPool]:
    """A pool whose codec for GIF misbehaves on request, and whose files have one second."""
    pool = DecoderPool(2, timeout_s=1, target=hostile_serve)
    yield pool
    pool.stop()


FILES = {
    "jpeg": encoded(RGB, "JPEG", icc_profile=rgb_profile()),
    "jpeg turned": encoded(stored(RGB, 6), "JPEG", exif=exif(6)),
    "png with alpha": encoded(RGBA, "PNG"),
    "png turned with alpha": encoded(stored(RGBA, 8), "PNG", exif=exif(8)),
    "png opaque alpha": encoded(RGB, "PNG", "RGBA"),
    "webp": encoded(RGBA, "WEBP", lossless=True, exact=True),
    "tiff": encoded(RGB, "TIFF"),
    "avif": encoded(RGBA, "AVIF"),
    "gif": encoded(PALETTE, "GIF"),
    "cmyk": encoded(RGB, "JPEG", "CMYK"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_process_gives_what_decoding_in_place_gives(pool, name):
    there, here = pool(FILES[name], max_pixels=ENOUGH, memory=PLENTY), decode(FILES[name], max_pixels=ENOUGH)
    np.testing.assert_array_equal(there.rgb, here.rgb)
    np.testing.assert_array_equal(there.alpha, here.alpha)
    assert (there.icc_profile, there.content_type, there.notes) == (here.icc_profile, here.content_type, here.notes)
    assert not there.rgb.flags.writeable


def test_notes_come_with_the_picture(pool):
    data = FILES["jpeg turned"]
    assert "metadata" in pool(data[:20] + b"\x00\x01\x02" + data[20:], max_pixels=ENOUGH).notes


@pytest.mark.parametrize(
    ("data", "error"),
    [(FILES["jpeg"][:-50], CorruptImage), (b"nothing", RejectedUpload), (FILES["tiff"], ImageTooLarge)],
)
def test_a_rejection_is_the_same_as_in_place(pool, data, error):
    limit = 10 if error is ImageTooLarge else ENOUGH
    with pytest.raises(error) as here:
        decode(data, max_pixels=limit)
    with pytest.raises(error) as there:
        pool(data, max_pixels=limit)
    assert (str(there.value), there.value.detail) == (str(here.value), here.value.detail)


@pytest.mark.parametrize(
    ("behaviour", "error", "reason", "bound_s"),
    [
        (LOOP, ImageTooComplex, "within 1 second", 4),
        (SLEEP, ImageTooComplex, "within 1 second", 4),
        (CRASH, CorruptImage, "ends its decoder", 2),
        (GROW, ImageTooComplex, "more memory", 2),
        (GROW_SLOWLY, ImageTooComplex, "more memory", 2),
        (KILLED, ImageTooComplex, "time or memory", 4),
    ],
)
def test_a_file_that_misbehaves_is_rejected_within_its_bounds_and_the_next_one_is_read(
    broken, behaviour, error, reason, bound_s
):
    broken(hostile(), max_pixels=ENOUGH, memory=PLENTY)
    began = time.monotonic()
    with pytest.raises(error, match=reason):
        broken(hostile(behaviour), max_pixels=ENOUGH, memory=PLENTY)
    assert time.monotonic() - began < bound_s
    for _ in range(3):
        assert broken(hostile(), max_pixels=ENOUGH, memory=PLENTY).width == 64


def test_pictures_beside_a_file_that_loops_are_read(broken):
    with ThreadPoolExecutor(2) as threads:
        looping = threads.submit(broken, hostile(LOOP), max_pixels=ENOUGH, memory=PLENTY)
        done = 0
        while not looping.done():
            assert broken(hostile(), max_pixels=ENOUGH, memory=PLENTY).width == 64
            done += 1
        assert done > 3
        assert isinstance(looping.exception(), ImageTooComplex)


def test_a_process_that_was_killed_while_idle_is_replaced(pool):
    pool(FILES["jpeg"], max_pixels=ENOUGH)
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    for _ in range(4):
        assert pool(FILES["jpeg"], max_pixels=ENOUGH).width == 64


def test_memory_that_a_picture_may_take_is_not_refused(broken):
    data = encoded(Image.new("RGB", (3000, 2000), (1, 2, 3)), "PNG")
    assert broken(data, max_pixels=10**7, memory=100_000_000).width == 3000
    with pytest.raises(ImageTooComplex):
        broken(data, max_pixels=10**7, memory=1_000_000)


def test_many_threads_read_what_one_reads(pool):
    names = [name for name in FILES for _ in range(5)]
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(lambda name: pool(FILES[name], max_pixels=ENOUGH, memory=PLENTY), names))
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(image.rgb, decode(FILES[name], max_pixels=ENOUGH).rgb)
    assert len(pool.pids) <= 2


def test_descriptors_and_memory_are_given_back(pool):
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), Path("/proc/self/maps").read_text().count("memfd:pixels")

    def read_all() -> None:
        for data in FILES.values():
            pool(data, max_pixels=ENOUGH)

    read_all()
    before = held()
    for _ in range(3):
        read_all()
    assert held() == before


def test_pixels_of_a_picture_in_use_are_not_overwritten_by_the_next_ones(pool):
    pictures = [
        pool(encoded(np.full((40, 50, 3), level, np.uint8), "PNG"), max_pixels=ENOUGH) for level in range(0, 250, 10)
    ]
    view = pictures[0].rgb[5:9]
    assert (
        [int(one.rgb.min()) for one in pictures] == [int(one.rgb.max()) for one in pictures] == list(range(0, 250, 10))
    )
    pictures.clear()
    for _ in range(5):
        pool(FILES["png with alpha"], max_pixels=ENOUGH)
    assert view.max() == 0  # a view keeps the memory of its picture


def test_without_processes_files_are_decoded_in_place():
    pool = DecoderPool(0)
    pool.start()
    assert pool(FILES["jpeg"], max_pixels=ENOUGH, memory=1).width == 64
    assert pool.pids == []
    pool.stop()


def test_processes_hold_codecs_and_no_network_nor_cloud(pool):
    pool(FILES["jpeg"], max_pixels=ENOUGH)
    for pid in pool.pids:
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "cv2" in maps
        assert not any(name in maps for name in ("torch", "google", "grpc", "cuda"))


def test_a_stopped_pool_ends_its_processes_and_takes_nothing():
    pool = DecoderPool(2)
    pool.start()
    pool(FILES["jpeg"], max_pixels=ENOUGH)
    pids = pool.pids
    pool.stop()
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(ShuttingDown):
        pool(FILES["jpeg"], max_pixels=ENOUGH)


def test_a_file_that_is_decoded_while_the_pool_stops_is_handed_back():
    pool = DecoderPool(1, timeout_s=30, target=hostile_serve)
    pool(hostile(), max_pixels=ENOUGH)
    with ThreadPoolExecutor(1) as threads:
        looping = threads.submit(pool, hostile(SLEEP), max_pixels=ENOUGH)
        stack_empties = threading.Event()
        stack_empties.wait(0.3)  # lets the file reach its process; whatever comes first, it is handed back
        pool.stop()
        assert isinstance(looping.exception(timeout=20), ShuttingDown)


def test_processes_end_with_the_process_that_started_them():
    program = (
        "import os, sys, signal\n"
        "from shared.decoder_pool import DecoderPool\n"
        "pool = DecoderPool(2)\n"
        "pool(sys.stdin.buffer.read(), max_pixels=10000)\n"
        "print(*pool.pids, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=FILES["jpeg"], capture_output=True, check=False)
    pids = done.stdout.split()
    assert pids, done.stderr
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{int(pid)}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{int(pid)}").exists() for pid in pids)
