"""How good are the cutouts? Scenes with known alpha and colours, cut by every method.

    python -m tests.benchmarks.quality [--scenes 12] [--side 640] [--pairs FOLDER] [--esrgan NAME] [--sheet FILE.png]

Three tables. Cutouts: all methods from the same masks, once the true ones, smaller than the scene (what the steps after
the network are worth) and once the network's own (what a user gets). Enlarging and denoising: off, after, before the
network, the question this product began with. Enlarged edges: lines along a grey edge, seams between tiles.

FOLDER holds pairs NAME.jpg (or .png) and NAME.alpha.png; colour errors need known colours and are left out for them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.cutter import Cutter, Upscaler
from shared.errors import NoSubject
from shared.models import birefnet, realesrgan
from shared.models.embedded.training.scenes import HELD_OUT, render
from shared.options import CutOptions, Denoise, EsrganStage
from shared.records import SourceImage
from shared.upscaling import enlarge_alpha, enlarge_cutout
from tests.benchmarks import metrics
from tests.benchmarks.methods import OURS, Method, Sharpened, methods, ours
from tests.benchmarks.sheet import contact_sheet
from tests.realesrgan_networks import general_x4_like, save, x2plus_like, x4plus_like

FIRST_SCENE = HELD_OUT + 500_000  # apart from those that the embedded model's own figures use
ASPECTS = ((1.0, 1.0), (1.0, 0.75), (0.75, 1.0))
SMALLER = ("MAE", "SAD", "MSE", "Grad", "Conn", "colour", "ms")  # the others are better when larger


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Truth:
    """An image whose alpha is known, and perhaps its colours. uint8 HxWx3, float32 HxW in 0..1."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    foreground: NDArray[np.uint8] | None


def rendered(count: int, side: int) -> Iterator[Truth]:
    for number in range(count):
        wide, high = ASPECTS[number % len(ASPECTS)]
        scene = render(FIRST_SCENE + number, (int(side * wide), int(side * high)))
        yield Truth(image=scene.image, alpha=scene.alpha, foreground=scene.foreground)


def pairs(folder: Path) -> Iterator[Truth]:
    for alpha_file in sorted(folder.glob("*.alpha.png")):
        stem = alpha_file.name.removesuffix(".alpha.png")
        image_file = next(file for file in sorted(folder.glob(f"{stem}.*")) if file != alpha_file)
        image = np.asarray(Image.open(image_file).convert("RGB"))
        alpha = np.asarray(Image.open(alpha_file).convert("L"), np.float32) * np.float32(1 / 255)
        yield Truth(image=image, alpha=alpha, foreground=None)


def measured(truth: Truth, rgba: NDArray[np.uint8]) -> dict[str, float]:
    """Every measure of one cutout."""
    alpha = rgba[:, :, 3].astype(np.float32) / 255
    result = {
        "MAE": metrics.mae(alpha, truth.alpha),
        **metrics.mask_measures(alpha, truth.alpha),
        "bIoU": metrics.boundary_iou(alpha, truth.alpha),
        "SAD": metrics.sad(alpha, truth.alpha),
        "MSE": metrics.mse(alpha, truth.alpha),
        "Grad": metrics.grad(alpha, truth.alpha),
        "Conn": metrics.conn(alpha, truth.alpha),
    }
    if truth.foreground is not None:
        colour = rgba[:, :, :3]
        result["colour"] = metrics.foreground_error(colour, truth.foreground, truth.alpha)
        psnr = metrics.band_psnr(colour, alpha, truth.foreground, truth.alpha)
        result |= {f"dB {name}": value for name, value in psnr.items()}
    return result


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Markdown, the best figure of each column in bold."""
    names = list(next(iter(rows.values())))
    print(f"\n{title}\n")
    print("| | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    best = {name: (min if name in SMALLER else max)(row[name] for row in rows.values()) for name in names}
    for label, row in rows.items():
        cells = [f"**{row[n]:.4g}**" if row[n] == best[n] else f"{row[n]:.4g}" for n in names]
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def known_masks(truths: Sequence[Truth]) -> list[NDArray[np.float32]]:
    """What a faultless network would say: the true alpha at two thirds of the scene's side, as 1024 is of 1536."""
    return [np.asarray(cv2.resize(t.alpha, None, fx=2 / 3, fy=2 / 3, interpolation=cv2.INTER_AREA)) for t in truths]


def network_masks(truths: Sequence[Truth], segmenter: birefnet.BiRefNetSegmenter) -> list[NDArray[np.float32]]:
    small = [Image.fromarray(t.image).resize(segmenter.size, Image.Resampling.BILINEAR) for t in truths]
    return [segmenter([np.asarray(picture)])[0] for picture in small]


def compare(
    truths: Sequence[Truth], masks: Sequence[NDArray[np.float32]], ways: Mapping[str, Method]
) -> dict[str, dict[str, float]]:
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for truth, mask in zip(truths, masks, strict=True):
        for name, method in ways.items():
            began = time.perf_counter()
            try:
                rgba = method(truth.image, mask)
            except NoSubject:
                rgba = np.dstack([truth.image, np.zeros(truth.image.shape[:2], np.uint8)])
            spent = (time.perf_counter() - began) * 1000
            rows[name].append(measured(truth, rgba) | {"ms": spent})
    return {name: mean(found) for name, found in rows.items()}


def stages(
    truths: Sequence[Truth], segmenter: birefnet.BiRefNetSegmenter, upscaler: Upscaler
) -> tuple[dict[str, dict[str, float]], dict[str, list[NDArray[np.uint8]]]]:
    """The A/B: mask measures, milliseconds and the cutouts themselves, per place of the enlarger."""
    choices: Mapping[str, CutOptions] = {
        "off": OURS,
        "enlarged after the cut": replace(OURS, esrgan_stage=EsrganStage.AFTER),
        "enlarged before the network": replace(OURS, esrgan_stage=EsrganStage.BEFORE),
        "denoised before the network": replace(OURS, denoise=Denoise.NLM),
    }
    cutter = Cutter(segmenter, upscaler=upscaler)
    rows: dict[str, dict[str, float]] = {}
    pictures: dict[str, list[NDArray[np.uint8]]] = {}
    for name, options in choices.items():
        found, spent = [], []
        pictures[name] = []
        for truth in truths:
            began = time.perf_counter()
            rgba = _cut(cutter, truth, options)
            spent.append((time.perf_counter() - began) * 1000)
            pictures[name].append(rgba)
            found.append(_mask_only(truth, rgba))
        rows[name] = mean(found) | {"ms": float(np.mean(spent))}
    cutter.stop()
    return rows, pictures


def _cut(cutter: Cutter, truth: Truth, options: CutOptions) -> NDArray[np.uint8]:
    try:
        return np.asarray(cutter(SourceImage(rgb=truth.image.copy()), options).rgba)
    except NoSubject:
        return np.dstack([truth.image, np.zeros(truth.image.shape[:2], np.uint8)])


def _mask_only(truth: Truth, rgba: NDArray[np.uint8]) -> dict[str, float]:
    """The mask's measures at the truth's size: an enlarged cutout is averaged down to it."""
    height, width = truth.alpha.shape
    alpha = cv2.resize(rgba[:, :, 3], (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return {
        "MAE": metrics.mae(alpha, truth.alpha),
        **metrics.mask_measures(alpha, truth.alpha),
        "bIoU": metrics.boundary_iou(alpha, truth.alpha),
        "SAD": metrics.sad(alpha, truth.alpha),
    }


def opaque_difference(truths: Sequence[Truth], masks: Sequence[NDArray[np.float32]]) -> int:
    """The largest change to any pixel that is opaque in the cutout, levels of 255."""
    worst = 0
    for truth, mask in zip(truths, masks, strict=True):
        rgba = ours(trained_on_alpha=True)(truth.image, mask)
        opaque = rgba[:, :, 3] == 255
        if opaque.any():
            worst = max(worst, int(np.abs(rgba[opaque][:, :3].astype(int) - truth.image[opaque]).max()))
    return worst


def enlarged_edges(name: str, enlarge: Callable[..., NDArray[np.uint8]]) -> dict[str, float]:
    """A soft 50 % grey edge, enlarged: the line beside it on black, white and green, in levels of 255."""
    rows, columns = np.mgrid[:96, :96]
    alpha = np.clip((32 - np.hypot(rows - 48, columns - 48)) / 4 + 0.5, 0, 1)
    grey = np.dstack([np.full((96, 96, 3), 128, np.uint8), np.rint(alpha * 255).astype(np.uint8)])
    grey[grey[:, :, 3] == 0] = 0
    large = enlarge_cutout(grey, enlarge, scale=2)
    careless = np.dstack([enlarge(grey[:, :, :3].copy(), scale=2), enlarge_alpha(grey[:, :, 3], 2)])
    return {
        f"{name}, colours grown outward first (ours)": metrics.edge_line(
            large[:, :, :3], large[:, :, 3] / 255, (128, 128, 128)
        ),
        f"{name}, black left below the transparency": metrics.edge_line(
            careless[:, :, :3], careless[:, :, 3] / 255, (128, 128, 128)
        ),
    }


def seams() -> dict[str, int]:
    """Tiles against the whole picture, per architecture of the published enlargers: largest difference, of 255."""
    picture = render(FIRST_SCENE, (96, 64)).image
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, network in (
            ("x2plus", x2plus_like()),
            ("x4plus", x4plus_like()),
            ("general-x4v3", general_x4_like()),
        ):
            path = save(network, Path(folder) / f"{name}.pth")
            whole, tiled = (
                realesrgan.load(str(path), folder=path.parent, tile=tile).enlarge(picture, scale=2) for tile in (96, 32)
            )
            found[name] = int(np.abs(whole.astype(int) - tiled).max())
    return found


def enlarger(name: str) -> tuple[Upscaler, str]:
    if not name:
        return Sharpened(), Sharpened.name
    folder = Path.home() / ".cache" / "cutdrop"
    return realesrgan.load(name, folder=folder), name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--side", type=int, default=640, help="longer side of the rendered scenes, pixels")
    parser.add_argument("--pairs", type=Path, help="a folder of image / alpha pairs instead of rendered scenes")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--esrgan", default="", help="a published name or a file; without it a stand-in enlarges")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the A/B here (PNG)")
    given = parser.parse_args()
    truths = list(pairs(given.pairs) if given.pairs else rendered(given.scenes, given.side))
    segmenter = birefnet.load(given.model)
    print(f"{len(truths)} scenes; network: {segmenter.info.id} at {segmenter.size[0]}x{segmenter.size[1]}")
    true_masks = known_masks(truths)
    table(
        "Cutouts from true masks at two thirds of the scene's side",
        compare(truths, true_masks, methods(trained_on_alpha=True)),
    )
    seen = network_masks(truths, segmenter)
    table(
        "Cutouts from the network's masks", compare(truths, seen, methods(trained_on_alpha=segmenter.trained_on_alpha))
    )
    print(f"\nLargest change to an opaque pixel: {opaque_difference(truths, true_masks)} levels of 255")
    upscaler, name = enlarger(given.esrgan)
    rows, pictures = stages(truths, segmenter, upscaler)
    table(f"Enlarging and denoising, after and before the network. Enlarger: {name}", rows)
    print("\nThe line along an enlarged soft grey edge on black, white and green, levels of 255:\n")
    for label, worst in enlarged_edges(name, upscaler.enlarge).items():
        print(f"- {label}: {worst:.2f}")
    print("\nTiles of 32 pixels against the whole picture, random weights, largest difference of 255:\n")
    for label, difference in seams().items():
        print(f"- {label}: {difference}")
    if given.sheet:
        contact_sheet(given.sheet, [t.image for t in truths], pictures)


if __name__ == "__main__":
    main()
