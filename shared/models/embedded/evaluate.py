"""Measures a model on photographs with masks, beside other weights and beside methods without a network.

python -m shared.models.embedded.evaluate FOLDER [--model embedded] [--against WEIGHTS ...] [--size 256] [--keep-aspect]

FOLDER has images/ and masks/ with equal stems (masks: 255 subject, 0 background, 128 unknown and left out). Where it or
the folder above has index.csv (file, source, domain), figures are given per source and domain as well.
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.confidence import BIAS, DECIDED, GOOD, WHOLE, confidence, evidence
from shared.models import birefnet
from shared.models.scaling import to_network

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Method = Callable[[Bytes], NDArray[np.float32]]  # RGB HxWx3 -> probability of subject at any size

UNKNOWN = (64, 192)  # mask values between these are unknown
BOUNDARY = 0.02  # of the diagonal: width of the band in which boundary IoU compares (Cheng et al. 2021)
FOLDS, ROUNDS = 5, 20  # of the cross-validation, and how often it is repeated


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """name; image: uint8 RGB HxWx3; mask: uint8 HxW; groups: what its figures count for ("source coco", ...)."""

    name: str
    image: Bytes
    mask: Bytes
    groups: tuple[str, ...]


class Figures(NamedTuple):
    """Of one mask against the truth."""

    iou: float  # at threshold 0.5; 1 where both are empty
    error: float  # mean absolute difference of probability and mask
    boundary: float  # IoU of the two bands along the masks' edges


def photographs(folder: Path) -> Iterator[Photograph]:
    """What a folder holds, by name. Raises FileNotFoundError where images or masks are missing."""
    files = sorted(path for path in (folder / "images").glob("*") if path.suffix in (".jpg", ".jpeg", ".png", ".webp"))
    if not files:
        raise FileNotFoundError(f"{folder}/images holds no photographs")
    known = {Path(row["file"]).name: row for row in _index(folder)}
    for file in files:
        mask = cv2.imread(str(folder / "masks" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE)
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if mask is None or image is None:
            raise FileNotFoundError(f"{file} or its mask is missing or cannot be read")
        row = known.get(file.name, {})
        groups = tuple(f"{name} {row[name]}" for name in ("source", "domain") if row.get(name))
        yield Photograph(
            file.stem, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), _like(mask, image), groups
        )


def _index(folder: Path) -> list[dict[str, str]]:
    for place in (folder, folder.parent):
        if (place / "index.csv").is_file():
            with (place / "index.csv").open(newline="") as file:
                return list(csv.DictReader(file))
    return []


def _like(mask: Bytes, image: Bytes) -> Bytes:
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def network(name: str, side: int = 0, *, keep_aspect: bool = False) -> Method:
    """A checkpoint as a method. side: of the input, 0 = the checkpoint's own; else images are squeezed to squares."""
    segmenter = birefnet.load(name, device="cpu", size=(side, side) if side else None)

    def probability(image: Bytes) -> NDArray[np.float32]:
        size = _size_like(image, segmenter.size[0]) if keep_aspect else segmenter.size
        return replace(segmenter, size=size)([to_network(image, size)])[0]

    return probability


def _size_like(image: Bytes, side: int) -> tuple[int, int]:
    """Width and height of about side x side pixels with the image's aspect ratio, multiples of 32."""
    height, width = image.shape[:2]
    wide = (width / height) ** 0.5
    across, down = (max(32, 32 * round(side * share / 32)) for share in (wide, 1 / wide))
    return across, down


def border_colour(image: Bytes) -> NDArray[np.float32]:
    """Without a network: Otsu's threshold on the distance from the border's median colour, in Lab."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    distance = np.linalg.norm(lab - np.median(border, axis=0), axis=2)
    levels = np.clip(distance * (255 / max(float(distance.max()), 1.0)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1], np.float32)


def brightness(image: Bytes) -> NDArray[np.float32]:
    """Without a network: Otsu's threshold on brightness; subject is what the border shows less of."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    bright = np.asarray(cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1], np.float32)
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return bright if border.mean() < 0.5 else 1 - bright


def middle(image: Bytes) -> NDArray[np.float32]:
    """Without a network and without a look at the image: an ellipse in the middle, 0.7 of each side."""
    height, width = image.shape[:2]
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    return np.asarray(np.hypot(rows, columns) < 0.7, np.float32)


BASELINES: dict[str, Method] = {"Otsu, colour": border_colour, "Otsu, brightness": brightness, "ellipse": middle}


def compare(probability: NDArray[np.float32], mask: Bytes) -> Figures:
    """A probability map of any size against a mask; unknown pixels count in neither."""
    height, width = mask.shape
    full = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    known = (mask <= UNKNOWN[0]) | (mask >= UNKNOWN[1])
    true = mask > 127
    found = np.where(known, full > 0.5, true)
    reach = max(1, round(BOUNDARY * float(np.hypot(height, width))))
    bands = (_band(found, reach), _band(true, reach))
    return Figures(_overlap(found, true, known), float(np.abs(full - true)[known].mean()), _overlap(*bands, known))


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    either = int(((one | other) & known).sum())
    return int((one & other & known).sum()) / either if either else 1.0


def _band(subject: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """The subject's pixels at most `reach` from its edge; the image's border is no edge of the subject's."""
    square = np.ones((3, 3), np.uint8)
    inner = cv2.erode(subject.astype(np.uint8), square, iterations=reach, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(subject & (inner == 0))


def table(rows: Sequence[tuple[str, Sequence[Figures]]]) -> str:
    """Mean and median IoU, error and boundary IoU of each row, as text."""
    lines = [f"{'':<34}{'n':>5}{'mean IoU':>10}{'median':>8}{'MAE':>8}{'boundary':>10}"]
    for name, figures in rows:
        values = np.array(figures)
        means = values.mean(0)
        middle_iou = float(np.median(values[:, 0]))
        lines.append(f"{name:<34}{len(values):>5}{means[0]:>10.3f}{middle_iou:>8.3f}{means[1]:>8.3f}{means[2]:>10.3f}")
    return "\n".join(lines)


def grouped(name: str, seen: Sequence[Photograph], figures: Sequence[Figures]) -> list[tuple[str, list[Figures]]]:
    """The figures of all photographs, then of each group."""
    rows = [(name, list(figures))]
    for group in sorted({group for photograph in seen for group in photograph.groups}):
        members = [f for photograph, f in zip(seen, figures, strict=True) if group in photograph.groups]
        rows.append((f"  {group}", members))
    return rows


# Confidence


def reliability(confidences: Floats, good: NDArray[np.bool_]) -> str:
    """How often cutouts were good, for fifths of the range of confidence, as text."""
    lines = [f"{'confidence':<14}{'n':>5}{'mean':>8}{'good':>8}"]
    for low in np.arange(0, 1, 0.2):
        inside = (confidences >= low) & (confidences < low + 0.2 + (low > 0.7))
        if inside.any():
            mean, share = confidences[inside].mean(), good[inside].mean()
            lines.append(f"{low:.1f} to {low + 0.2:.1f}{inside.sum():>9}{mean:>8.2f}{share:>8.2f}")
    return "\n".join(lines)


def auc(scores: Floats, good: NDArray[np.bool_]) -> float:
    """The share of pairs of a good and a bad cutout that the scores order rightly; a tie counts half."""
    difference = scores[good][:, None] - scores[~good]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean()) if difference.size else float("nan")


def fit(figures: Floats, good: NDArray[np.bool_], *, ridge: float = 1.0) -> Floats:
    """Bias and weights of a logistic regression by Newton's method; `ridge` holds back the scaled weights."""
    mean, deviation = figures.mean(0), figures.std(0) + 1e-9
    inputs = np.column_stack([np.ones(len(figures)), (figures - mean) / deviation])
    penalty = np.diag([1e-9, *[ridge] * figures.shape[1]])
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        guess = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (guess - good) + penalty @ weights
        weights -= np.linalg.solve((inputs * (guess * (1 - guess))[:, None]).T @ inputs + penalty, slope)
    plain = weights[1:] / deviation
    return np.array([weights[0] - plain @ mean, *plain])


def cross_validated(figures: Floats, good: NDArray[np.bool_]) -> float:
    """AUC of fits that never saw the photographs they are asked about, the mean of ROUNDS divisions."""
    random, found = np.random.default_rng(0), []
    for _ in range(ROUNDS):
        order, scores = random.permutation(len(good)), np.zeros(len(good))
        for fold in range(FOLDS):
            asked = order[fold::FOLDS]
            bias, *weights = fit(np.delete(figures, asked, axis=0), np.delete(good, asked))
            scores[asked] = bias + figures[asked] @ weights
        found.append(auc(scores, good))
    return float(np.mean(found))


def about_confidence(maps: Sequence[NDArray[np.float32]], figures: Sequence[Figures]) -> str:
    """Reliability and AUC of `shared.confidence`, and the constants that these photographs would give it."""
    good = np.array([f.iou >= GOOD for f in figures])
    said = np.array([confidence(probability) for probability in maps])
    seen = np.array([evidence(probability) for probability in maps])
    if good.all() or not good.any():
        return "confidence: all cutouts are good, or none is; nothing to tell apart"
    bias, decided, whole = fit(seen, good)
    return "\n".join(
        [
            f"confidence that IoU >= {GOOD} ({good.mean():.0%} are); constants {BIAS}, {DECIDED}, {WHOLE}",
            reliability(said, good),
            f"AUC {auc(said, good):.3f}; of fits to other photographs of the folder {cross_validated(seen, good):.3f}",
            f"a fit to this folder: BIAS, DECIDED, WHOLE = {bias:.1f}, {decided:.1f}, {whole:.1f}",
        ]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure a model on photographs with masks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="embedded", help="as the setting MODEL")
    parser.add_argument(
        "--against", nargs="*", default=[], metavar="WEIGHTS", help="other weights to measure beside it"
    )
    parser.add_argument("--size", type=int, default=0, help="side of the network's input; 0 = the checkpoint's own")
    parser.add_argument("--keep-aspect", action="store_true", help="as many pixels, in the photograph's aspect ratio")
    parser.add_argument("--each", action="store_true", help="print the figures of each photograph too")
    options = parser.parse_args()
    seen = list(photographs(options.folder))
    shape = {"side": options.size, "keep_aspect": options.keep_aspect}
    model = network(options.model, **shape)
    maps = [model(photograph.image) for photograph in seen]
    figures = [compare(found, photograph.mask) for found, photograph in zip(maps, seen, strict=True)]
    rows = grouped(options.model, seen, figures)
    for name, method in ({w: network(w, **shape) for w in options.against} | BASELINES).items():
        rows += grouped(name, seen, [compare(method(p.image), p.mask) for p in seen])[
            : 1 if name in BASELINES else None
        ]
    print(table(rows))
    print(about_confidence(maps, figures))
    for photograph, found, figure in zip(seen, maps, figures, strict=True) if options.each else ():
        print(f"{photograph.name:<34}{figure.iou:>10.3f}{figure.error:>8.3f}{confidence(found):>8.3f}")


if __name__ == "__main__":
    main()
