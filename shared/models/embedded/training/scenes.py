"""Rendered scenes with known alpha, foreground and background: what trains the embedded model and measures quality.

A seed and a size fix a scene. Rendering is tensor code for any torch device; a caller gets numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from shared.models.embedded.training import animals, backdrops, things, vehicles
from shared.models.embedded.training.canvas import Canvas, Light
from shared.models.embedded.training.people import dummy, person
from shared.models.embedded.training.shapes import Drawable, placed
from shared.models.embedded.training.textures import Random, chance, noise_fields, uniform

HELD_OUT = 1_000_000_000  # seeds from here on are never trained on
ASPECTS = (1.0, 0.75, 4 / 3, 2 / 3, 1.5, 9 / 16, 16 / 9)

Framing = Callable[[Random, int, int], list[Drawable]]


@dataclass(frozen=True, slots=True)
class Scene:
    """image = alpha * foreground + (1 - alpha) * background, rounded (or with a camera's faults, if asked for).

    image, foreground, background: uint8 [h, w, 3], sRGB; alpha: float32 [h, w] in [0, 1].
    The foreground's colours continue beyond its edge; the background includes the subject's shadow.
    """

    image: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray
    background: np.ndarray


@dataclass(frozen=True, slots=True)
class Layers:
    """The same as tensors in [0, 1]: foreground [..., 3, h, w], alpha [..., 1, h, w], background [..., 3, h, w]."""

    foreground: Tensor
    alpha: Tensor
    background: Tensor

    def image(self) -> Tensor:
        """The composite [..., 3, h, w]."""
        return self.foreground * self.alpha + self.background * (1 - self.alpha)


def render(seed: int, size: tuple[int, int], camera: bool = False, kind: str = "") -> Scene:
    """The scene of a seed at `size` (width, height) in pixels.

    `camera` adds sensor noise and JPEG artefacts to the image; `kind` (one of KINDS) asks for a subject.
    Raises ValueError for a size under 32 pixels or an unknown kind.
    """
    if min(size) < 32:
        raise ValueError(f"size is {size}; a scene has at least 32 pixels on a side")
    if kind and kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; known: {', '.join(KINDS)}")
    layers = render_layers(seed, size, torch.device("cpu"), kind)
    foreground, background, image = (
        _bytes(t) for t in (layers.foreground, layers.background, layers.image())
    )  # fmt: skip
    if camera:
        image = photographed(image, np.random.default_rng([seed, 2]))
    return Scene(image, layers.alpha[0].numpy(), foreground, background)


def render_batch(seeds: Sequence[int], side: int, device: torch.device) -> Layers:
    """Square layers [B, ..., side, side]: each scene keeps its aspect ratio until it is squeezed."""
    done: list[Layers] = []
    for seed in seeds:
        aspect = float(np.random.default_rng([seed, 3]).choice(ASPECTS))
        size = (round(side * aspect**0.5), round(side / aspect**0.5))
        done.append(render_layers(seed, size, device))
    return Layers(*(torch.stack([_squeezed(getattr(d, name), side) for d in done]) for name in Layers.__slots__))


def render_layers(seed: int, size: tuple[int, int], device: torch.device, kind: str = "") -> Layers:
    """One scene's layers on `device`; `size` is (width, height)."""
    random = np.random.default_rng([seed, 1])
    width, height = size
    light = _light(random)
    names, weights = list(KINDS), np.array([KINDS[k][1] for k in KINDS])
    kind = kind or names[int(random.choice(len(names), p=weights / weights.sum()))]
    noise = noise_fields(np.random.default_rng([seed, 4]), height, width, device)
    background = _background(random, noise, light, kind)
    canvas = Canvas(noise, light)
    canvas.draw(KINDS[kind][0](random, width, height))
    # A camera's softness, in pixels: it grows with the picture until that would look out of focus.
    soft = min(min(size) / 256, 1.5) * float(random.choice([0, 0, 0.4, 0.9]))
    alpha = blurred(canvas.alpha[None], soft).clamp(0, 1)
    canvas.colour, canvas.alpha = blurred(canvas.colour, soft), alpha[0]
    foreground = canvas.filled()
    background = _shaded(random, background, alpha)
    return _toned(random, foreground, alpha, background)


def photographed(image: np.ndarray, random: Random) -> np.ndarray:
    """The image (uint8 [h, w, 3]) with sensor noise and JPEG artefacts, same shape and type."""
    noisy = image.astype(np.float32)
    noisy += random.standard_normal(image.shape, np.float32) * (6 * random.random() ** 2)
    noisy += random.standard_normal((*image.shape[:2], 1), np.float32) * (4 * random.random() ** 2)
    quality = int(random.integers(45, 98))
    _, data = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def blurred(field: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [c, h, w] with standard deviation `sigma` in pixels, edges repeated."""
    if sigma < 0.2:
        return field
    height, width = field.shape[1:]
    if sigma > 4 and min(height, width) > 16:
        small = nnf.interpolate(field[None], (height // 2, width // 2), mode="area")[0]
        return nnf.interpolate(blurred(small, sigma / 2)[None], (height, width), mode="bilinear", align_corners=False)[
            0
        ]
    radius = int(np.ceil(2.5 * sigma))
    places = torch.arange(-radius, radius + 1, device=field.device, dtype=torch.float32)
    kernel = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    planes = nnf.pad(field[:, None], (radius, radius, radius, radius), mode="replicate")
    return nnf.conv2d(nnf.conv2d(planes, kernel[:, :, None, :]), kernel[:, :, :, None])[:, 0]


def _bytes(field: Tensor) -> np.ndarray:
    return (field.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _squeezed(field: Tensor, side: int) -> Tensor:
    resized = nnf.interpolate(field[None], (side, side), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].clamp(0, 1)


def _light(random: Random) -> Light:
    turn, height = random.normal(-np.pi / 2, 0.8), uniform(random, 0.2, 0.9)
    flat = float(np.sqrt(1 - height**2))
    red, green, blue = (float(v) for v in 1 + random.normal(0, 0.06, 3))
    ambient = uniform(random, 0.3, 0.75)
    return Light(flat * float(np.cos(turn)), flat * float(np.sin(turn)), height, ambient, (red, green, blue))


def _background(random: Random, noise: Tensor, light: Light, kind: str) -> Tensor:
    """A backdrop of a kind that suits the subject, with distractors, out of focus more often than not."""
    makers = [maker for maker, _ in backdrops.KINDS]
    weights = np.array([weight for _, weight in backdrops.KINDS])
    maker = makers[int(random.choice(len(makers), p=weights / weights.sum()))]
    if kind in TABLEWARE and chance(random, 0.6):
        maker = backdrops.table
    field = maker(random, noise, light)
    plain = maker is backdrops.studio
    if not plain and chance(random, 0.35):
        field = backdrops.overlaid(random, field, noise, light, backdrops.bystanders(random))
    if chance(random, 0.12):
        field = backdrops.overlaid(random, field, noise, light, backdrops.banner(random))
    amount = float(random.choice([0.0, 0.004, 0.012, 0.03, 0.06], p=[0.24, 0.2, 0.2, 0.22, 0.14]))
    sharp = amount * uniform(random, 0.7, 1.4) * min(noise.shape[1:])
    field = blurred(field.clamp(0, 1), sharp)
    if chance(random, 0.3):
        field = 0.5 + (field - 0.5) * uniform(random, 0.4, 0.9)
    return field.clamp(0, 1)


def _shaded(random: Random, background: Tensor, alpha: Tensor) -> Tensor:
    """The background under the subject's shadow: cast beside it, or as a dark patch where it stands."""
    height, width = alpha.shape[1:]
    side = min(height, width)
    if chance(random, 0.45):
        right, down = (int(side * v) for v in (random.normal(0, 0.06), uniform(random, -0.01, 0.1)))
        moved = torch.roll(alpha, (down, right), (1, 2))
        shadow = blurred(moved, side * uniform(random, 0.008, 0.07))
        background = background * (1 - uniform(random, 0.1, 0.6) * shadow)
    rows = torch.nonzero(alpha[0].amax(1) > 0.5)[:, 0]
    if len(rows) and int(rows[-1]) < height - 2 and chance(random, 0.6):
        foot = alpha[0, max(0, int(rows[-1]) - height // 12) : int(rows[-1]) + 1].amax(0)
        below = torch.arange(height, device=alpha.device, dtype=torch.float32)[:, None] - float(rows[-1])
        patch = foot[None, :] * torch.exp(-((below / (side * uniform(random, 0.015, 0.06))) ** 2))
        patch = blurred(patch[None], side * uniform(random, 0.01, 0.04))
        background = background * (1 - uniform(random, 0.3, 0.8) * patch)
    return background


def _toned(random: Random, foreground: Tensor, alpha: Tensor, background: Tensor) -> Layers:
    """One exposure, contrast, cast and veil for both layers; at times the subject takes the background's colours."""
    if chance(random, 0.15):
        shift = background.mean((1, 2)) - (foreground * alpha).sum((1, 2)) / (alpha.sum() + 1)
        foreground = foreground + uniform(random, 0.4, 0.9) * shift[:, None, None]
    elif chance(random, 0.15):
        foreground = foreground * uniform(random, 0.5, 0.9)
    device = foreground.device
    cast = torch.tensor(np.exp(random.normal(0, 0.07, 3)), dtype=torch.float32, device=device).view(3, 1, 1)
    gain, gamma = float(np.exp(random.normal(0, 0.15))), float(np.exp(random.normal(0, 0.2)))
    veil, grey = uniform(random, 0, 0.08) * chance(random, 0.3), chance(random, 0.06)

    def toned(field: Tensor) -> Tensor:
        lit = veil + (1 - veil) * (field.clamp(1e-3, 1) * cast * gain).clamp(0, 1) ** gamma
        return (lit.mean(0, keepdim=True).expand(3, -1, -1) if grey else lit).clamp(0, 1).contiguous()

    return Layers(toned(foreground), alpha, toned(background))


def _people(random: Random, width: int, height: int) -> list[Drawable]:
    """Portraits: one to three people cut by the lower edge."""
    count = int(random.choice([1, 2, 3], p=[0.7, 0.22, 0.08]))
    share = uniform(random, 0.14, 0.5) if count == 1 else uniform(random, 0.12, 0.26)
    parts: list[Drawable] = []
    middle = width * uniform(random, 0.3, 0.7)
    for index in range(count):
        scale = share * height / 0.58 * uniform(random, 0.9, 1.1)
        x = middle + (index - (count - 1) / 2) * scale * uniform(random, 0.8, 1.3)
        y = height * uniform(random, 0.02, 0.22) + 0.33 * scale
        figure = person(random) if chance(random, 0.95) else dummy(random)
        parts += placed(figure, x, y, scale, random.normal(0, 0.07), chance(random, 0.5))
    return parts


def _standing(random: Random, width: int, height: int) -> list[Drawable]:
    """Whole figures: one to four."""
    count = int(random.choice([1, 2, 3, 4], p=[0.7, 0.18, 0.07, 0.05]))
    parts: list[Drawable] = []
    tall = height * uniform(random, 0.45, 1.0)
    foot = min(height * uniform(random, 0.85, 1.05), height * 0.9 + 0.3 * tall)
    for index in range(count):
        scale = tall / 3.6 * uniform(random, 0.9, 1.1)
        x = width * uniform(random, 0.35, 0.65) + (index - (count - 1) / 2) * scale * uniform(random, 0.9, 1.6)
        figure = person(random) if chance(random, 0.9) else dummy(random)
        parts += placed(figure, x, foot - 3.15 * scale, scale, random.normal(0, 0.05), chance(random, 0.5))
    return parts


def _face(random: Random, width: int, height: int) -> list[Drawable]:
    """An animal's face, from small with its chest to larger than the frame."""
    half = min(width, height) / 2
    scale = half * uniform(random, 0.7, 1.9)
    x, y = width * uniform(random, 0.35, 0.65), height * uniform(random, 0.28, 0.55)
    return placed(animals.portrait(random), x, y, scale, random.normal(0, 0.15), chance(random, 0.5))


def _around(
    *makers: Callable[[Random], list[Drawable]], low: float = 0.35, high: float = 0.95, turn: float = 0.12
) -> Framing:
    """Places one of the makers' objects (or two or three of one maker) about the middle."""

    def frame(random: Random, width: int, height: int) -> list[Drawable]:
        maker = makers[int(random.integers(len(makers)))]
        count = int(random.choice([1, 2, 3], p=[0.8, 0.13, 0.07]))
        half = min(width, height) / 2
        parts: list[Drawable] = []
        for index in range(count):
            scale = half * uniform(random, low, high) * (1.0 if count == 1 else 0.65)
            jitter = random.normal(0, 0.1, 2) + (0.4 * random.choice([-1, 1], 2) if chance(random, 0.08) else 0)
            x = width * (0.5 + jitter[0] + 0.28 * (index - (count - 1) / 2))
            y = height * (0.53 + 0.7 * jitter[1])
            parts += placed(maker(random), x, y, scale, random.normal(0, turn), chance(random, 0.5))
        return parts

    return frame


TABLEWARE = ("tableware", "vessel")

KINDS: dict[str, tuple[Framing, float]] = {
    "people": (_people, 0.22),
    "standing": (_standing, 0.1),
    "beast": (_around(animals.beast, low=0.45, high=1.0), 0.11),
    "face": (_face, 0.12),
    "bird": (_around(animals.bird, animals.fish, low=0.4, high=1.0), 0.05),
    "vehicle": (_around(vehicles.car, vehicles.car, vehicles.plane, vehicles.bicycle, low=0.5, high=1.15), 0.09),
    "tableware": (_around(things.cup, things.cup, things.dish, low=0.5, high=1.15, turn=0.3), 0.08),
    "vessel": (_around(things.vessel, low=0.45, high=0.9), 0.05),
    "furniture": (_around(things.chair, things.bag, things.tool, low=0.45, high=0.95, turn=0.2), 0.07),
    "plant": (_around(things.plant, things.flowers, things.tree, low=0.5, high=0.95), 0.05),
    "shape": (_around(things.creature, things.blob, low=0.4, high=0.95, turn=3.0), 0.1),
}
