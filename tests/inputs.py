"""Files that people really upload, through the local run, against their right outcomes: python -m tests.inputs FOLDER

FOLDER holds the files that ROWS names. Prints a row for each of them; exits with 1 if one is missing or comes out
otherwise than it should. Colours are compared in sRGB where the result is opaque, with what plain arithmetic makes of
the stored pixels; what is compared with another file's result is compared exactly.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from function.backfill.worklist import Manifest
from function.local.run.outcomes import console
from shared.colour import to_srgb
from shared.decoder_pool import DecoderPool
from shared.decoding import decode
from shared.errors import RejectedUpload
from tests.images import scans

LEVELS = 3  # by which a colour may differ
P3_TO_SRGB = ((1.2249, -0.2249, 0), (-0.0421, 1.0421, 0), (-0.0196, -0.0786, 1.0983))
ADOBE_TO_SRGB = ((1.3984, -0.3984, 0), (0, 1, 0), (0, -0.0429, 1.0429))
BT2020_TO_SRGB = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
SAME = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one upload. pixels: RGBA of the result file, or empty."""

    told: Mapping[str, Any]
    pixels: Pixels = field(default_factory=lambda: np.zeros((0, 0, 4), np.uint8))
    profile: bytes = b""

    @property
    def outcome(self) -> str:
        return self.told["code"] or self.told["status"]

    @property
    def size(self) -> str:
        return f"{self.pixels.shape[1]} x {self.pixels.shape[0]}" if self.pixels.size else ""


Check = Callable[[Path, Result, Mapping[str, Result]], str]  # the file, its result, all results -> what is wrong, or ''


def completed(size: str, *checks: Check, note: str = "") -> Check:
    def check(file: Path, result: Result, others: Mapping[str, Result]) -> str:
        if (result.outcome, result.size) != ("completed", size):
            return f"{result.outcome} {result.size}"
        if note not in " ".join(f"{name}: {text}" for name, text in result.told["notes"].items()):
            return f"no note {note!r}"
        return next(filter(None, (each(file, result, others) for each in checks)), "")

    return check


def rejected(code: str) -> Check:
    return lambda file, result, others: "" if result.outcome == code else f"{result.outcome} {result.size}"


def as_result_of(name: str) -> Check:
    def check(file: Path, result: Result, others: Mapping[str, Result]) -> str:
        same = others[name].pixels.shape == result.pixels.shape and (others[name].pixels == result.pixels).all()
        return "" if same else f"other pixels than {name}"

    return check


def nearly_as_result_of(name: str, levels: float) -> Check:
    """On average, as seen on white."""

    def check(file: Path, result: Result, others: Mapping[str, Result]) -> str:
        difference = np.abs(_on_white(result) - _on_white(others[name])).mean()
        return "" if difference <= levels else f"{difference:.1f} levels from {name}"

    return check


def _on_white(result: Result) -> Pixels:
    alpha = result.pixels[..., 3:] / 255
    return to_srgb(np.ascontiguousarray(result.pixels[..., :3]), result.profile) * alpha + 255 * (1 - alpha)


def opacity(most: int) -> Check:
    """The most opaque pixels have this alpha."""

    def check(file: Path, result: Result, others: Mapping[str, Result]) -> str:
        found = int(result.pixels[..., 3].max())
        return "" if abs(found - most) <= 1 else f"at most {found} opaque"

    return check


def colours(to_linear_srgb: tuple[tuple[float, ...], ...], gamma: float = 0.0) -> Check:
    """gamma: of the stored values; 0 = sRGB's curve."""

    def check(file: Path, result: Result, others: Mapping[str, Result]) -> str:
        opaque = result.pixels[..., 3] == 255
        seen = to_srgb(np.ascontiguousarray(result.pixels[..., :3]), result.profile)[opaque].astype(float)
        values = np.asarray(Image.open(file).convert("RGB"))[opaque] / 255
        expected = srgb_of(values, to_linear_srgb, gamma)
        differences = np.sort(np.abs(seen - expected).max(axis=1))
        found = differences[int(0.99 * differences.size)]  # clean foreground colours differ along the edge
        return "" if opaque.mean() > 0.1 and found <= LEVELS else f"{found:.1f} levels from what it says"

    return check


def patches_decoded_as(name: str) -> Check:
    """Patches are no photograph, in which the demo model finds a subject or not; the colours must be right."""

    def check(file: Path, result: Result, others: Mapping[str, Result]) -> str:
        if result.outcome not in ("completed", "no_subject"):
            return result.outcome
        image = decode(file.read_bytes(), max_pixels=10**6)
        seen = to_srgb(image.rgb, image.icc_profile).astype(float)
        values = np.asarray(Image.open(file.parent / name).convert("RGB")) / 255
        found = float(np.abs(seen - srgb_of(values, P3_TO_SRGB))[8::16, 8::16].max())  # lossy beside the edges
        return "" if found <= LEVELS else f"{found:.1f} levels from what it says"

    return check


def srgb_of(values: Pixels, to_linear_srgb: tuple[tuple[float, ...], ...], gamma: float = 0.0) -> Pixels:
    """0..255 of stored values, 0..1."""
    light = values**gamma if gamma else np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.transpose(to_linear_srgb), 0, 1)
    return encoded_srgb(light)


def encoded_srgb(light: Pixels) -> Pixels:
    """0..255 of linear light, 0..1."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def sdr_of_pq(file: Path, result: Result, others: Mapping[str, Result]) -> str:
    """203 nits are white, and what is darker than 20 nits is never compressed (BT.2390 for a peak of 10,000 nits)."""
    deep = np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED))  # ten bits, in which PQ's dark steps are small
    values = deep[..., ::-1] / 1023
    power = values ** (1 / 78.84375)
    nits = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    light = nits @ np.transpose(BT2020_TO_SRGB) / 203
    compared = (result.pixels[..., 3] == 255) & (nits.max(axis=2) < 20) & (light.min(axis=2) >= 0.001)
    seen = to_srgb(np.ascontiguousarray(result.pixels[..., :3]), result.profile)[compared].astype(float)
    differences = np.sort(np.abs(seen - encoded_srgb(light[compared])).max(axis=1))
    found = differences[int(0.99 * differences.size)] if differences.size > 1000 else 255
    return "" if found <= LEVELS else f"{found:.1f} levels from what it says"


PHOTO = "225 x 300"
CONTROL = as_result_of("00-control.png")
ROWS: Mapping[str, tuple[str, Check]] = {
    "00-control.jpg": (PHOTO, completed(PHOTO)),
    "00-control.png": (PHOTO, completed(PHOTO)),
    "01-profile-over-1MiB.png": (f"{PHOTO}, note", completed(PHOTO, CONTROL, note="iCCP")),
    "01-text-over-1MiB-after-pixels.png": (PHOTO, completed(PHOTO, CONTROL)),
    "01-text-over-1MiB.png": (PHOTO, completed(PHOTO, CONTROL)),
    "01-xmp-over-1MiB.png": (PHOTO, completed(PHOTO, CONTROL)),
    "02-iccp-bad-crc.png": (f"{PHOTO}, note", completed(PHOTO, CONTROL, note="iCCP")),
    "02-text-bad-crc.png": (f"{PHOTO}, note", completed(PHOTO, CONTROL, note="tEXt")),
    "03-icc-part-1-of-2-only.jpg": (f"{PHOTO}, note", completed(PHOTO, note="profile")),
    "03-stray-bytes-between-segments.jpg": (
        "as the control, note",
        completed(PHOTO, as_result_of("00-control.jpg"), note="stray bytes"),
    ),
    **{f"04-xmp-orientation-6.{suffix}": (PHOTO, completed(PHOTO)) for suffix in ("avif", "jpg", "png", "webp")},
    "05-bt2020-pq-by-cicp.avif": ("SDR, note of HDR", completed(PHOTO, sdr_of_pq, note="HDR")),
    "05-display-p3-by-cicp.avif": ("P3", completed(PHOTO, colours(P3_TO_SRGB))),
    "05-display-p3-by-cicp.png": ("P3", completed(PHOTO, colours(P3_TO_SRGB))),
    "05-display-p3-by-nclx.heic": ("P3", patches_decoded_as("05-patches-the-heic-was-made-of.png")),
    "06-adobergb-by-chrm-gama.png": ("Adobe RGB", completed(PHOTO, colours(ADOBE_TO_SRGB, 2.2))),
    "06-gamma-1.0.png": ("light", completed(PHOTO, colours(SAME, 1.0))),
    "07-adobe-rgb-by-exif-r03.jpg": ("Adobe RGB", completed(PHOTO, colours(ADOBE_TO_SRGB, 2.2))),
    "08-same-logo-on-white.png": ("600 x 400", completed("600 x 400")),
    "08-black-logo-on-transparency.png": (
        "as on white",
        completed("600 x 400", nearly_as_result_of("08-same-logo-on-white.png", 2)),
    ),
    "09-alpha-128-photo.png": ("half opaque", completed(PHOTO, opacity(128))),
    "09-half-transparent-photo.png": ("half opaque", completed(PHOTO, opacity(127))),
    "10-unused-alpha-v5.bmp": ("opaque", completed("150 x 200", opacity(255))),
    "11-cropped-by-clap.avif": ("100 x 120", completed("100 x 120")),
    "12-1000-scans.jpg": ("image_too_complex", rejected("image_too_complex")),
    "13-Mr. Smith portrait": ("its whole name", completed(PHOTO)),
    "13-Mr. Jones portrait": ("its whole name", completed(PHOTO)),
    "14-thumbnail-page-first.tif": ("the full page", completed(PHOTO)),
    "14-small-page-first-unmarked.tif": ("first page, note", completed("60 x 80", note="2 pages")),
    "two-suffixes/a.jpg": ("one of three", completed(PHOTO)),
    "two-suffixes/a.png": ("output_name_taken", rejected("output_name_taken")),
    "two-suffixes/a.webp": ("output_name_taken", rejected("output_name_taken")),
}
MANIFESTS = {"15-manifest-with-bom.csv": ["a.jpg", "b.jpg"], "15-manifest-u2028.csv": ["u\u2028v.jpg", "plain.jpg"]}
MOST_SECONDS = 1.0  # for a file of too many scans


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    table = Table("file", "right", "outcome", "", box=None)
    wrong = 0
    for name, right, outcome, problem in [*photographs(folder), *many_scans(folder), *manifests(folder)]:
        wrong += bool(problem)
        table.add_row(name, right, outcome, f"WRONG: {problem}" if problem else "right")
    console().print(table)
    console().print(f"{table.row_count} rows, {wrong} wrong")
    return 1 if wrong else 0


def photographs(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    results = run(folder)
    for name, (right, check) in ROWS.items():
        if name not in results:
            yield name, right, "", "no outcome"
            continue
        result = results[name]
        yield name, right, f"{result.outcome} {result.size}".strip(), check(folder / name, result, results)


def run(folder: Path) -> dict[str, Result]:
    """Name -> result. Files lie apart by their suffix, so that their results have different names."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        uploads = {name if "/" in name else f"of{Path(name).suffix}/{name}": name for name in ROWS}
        for path, name in uploads.items():
            (work / "in" / path).parent.mkdir(parents=True, exist_ok=True)
            if (folder / name).exists():
                shutil.copyfile(folder / name, work / "in" / path)
        targets = ["--out", f"{work}/out", "--outcomes", f"{work}/outcomes"]
        subprocess.run(
            [sys.executable, "-m", "function.local", *targets, f"{work}/in"], check=True, stdout=subprocess.DEVNULL
        )
        told = [json.loads(line) for line in (work / "outcomes").read_text().splitlines()]
        return {uploads[one["source"]["name"]]: result_of(one, work / "out") for one in told}


def result_of(told: Mapping[str, Any], out: Path) -> Result:
    if not told["outputs"]:
        return Result(told)
    with Image.open(out / told["outputs"][0]["name"]) as picture:
        return Result(told, np.asarray(picture.convert("RGBA")), picture.info.get("icc_profile", b""))


def many_scans(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """In a decoder process, from the file's bytes to its rejection."""
    pool = DecoderPool(1)
    pool((folder / "00-control.jpg").read_bytes(), max_pixels=10**6)
    files = {"12-1000-scans.jpg": (folder / "12-1000-scans.jpg").read_bytes(), "100,000 scans": scans(100_000, 7000)}
    for name, data in files.items():
        began, code = time.perf_counter(), "a picture"
        try:
            pool(data, max_pixels=50_000_000)
        except RejectedUpload as error:
            code = error.code
        spent = time.perf_counter() - began
        right = code == "image_too_complex" and spent < MOST_SECONDS
        outcome = f"{code}, {spent * 1000:.0f} ms"
        yield f"{name}, {len(data) / 1e6:.1f} MB", "refused within 1 s", outcome, "" if right else outcome
    pool.stop()


def manifests(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    for name, right in MANIFESTS.items():
        text = (folder / name).read_bytes().decode()
        read = [item.upload.name for item in Manifest(text=text).items("")]
        yield name, f"{len(right)} objects", f"{len(read)} objects", "" if read == right else f"{read}"


if __name__ == "__main__":
    sys.exit(main())
