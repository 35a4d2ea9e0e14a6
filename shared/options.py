"""The options of one cutout: every one that changes pixels, with its parser and its default.

One table serves the environment (MASK_THRESHOLD), object metadata (`cutdrop-mask-threshold`) and the key.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self, cast

from PIL import ImageColor

from shared.errors import InvalidOptions
from shared.parsers import Parser, boolean, choice, integer, number


class OutputFormat(StrEnum):
    PNG = "png"
    WEBP = "webp"  # lossless
    JPG = "jpg"  # needs bg_color
    ZIP = "zip"  # color.jpg + alpha.png, for very large images


class MaskPreset(StrEnum):
    AUTO = "auto"  # soft for matting checkpoints, else standard
    STANDARD = "standard"  # contrast, floor and clean-up as the four mask numbers say
    SOFT = "soft"  # clean-up only: no contrast, no floor
    OFF = "off"  # the network's own mask


class AlphaMatting(StrEnum):
    OFF = "off"
    GUIDED = "guided"  # alpha pulled along the line between local colour estimates of the full-resolution image
    VITMATTE = "vitmatte"  # a second network, on crops of the unknown band


class ExistingAlpha(StrEnum):
    MULTIPLY = "multiply"  # the cutout's alpha times the upload's own
    KEEP = "keep"  # the upload's own alpha is the result: nothing is cut


class EsrganStage(StrEnum):
    OFF = "off"
    AFTER = "after"  # enlarge the cutout
    BEFORE = "before"  # enlarge the network's input; for measuring only


class Denoise(StrEnum):
    OFF = "off"
    NLM = "nlm"  # non-local means on the network's input


class Channels(StrEnum):
    RGBA = "rgba"
    ALPHA = "alpha"  # the matte alone, as grey


@dataclass(frozen=True, slots=True)
class Margin:
    """Free space around a crop, each side in pixels or in percent of the subject's own side."""

    top: float
    right: float
    bottom: float
    left: float
    percent: bool

    def __str__(self) -> str:
        unit = "%" if self.percent else "px"
        sides = (self.top, self.right, self.bottom, self.left)
        return " ".join(f"{_digits(Decimal(repr(float(side))))}{unit}" for side in sides)


def _digits(number: Decimal) -> str:
    """Without an exponent, which the parsers do not read."""
    return f"{number:f}".removesuffix(".0")


def _read_two_or_four(text: str) -> int:
    if text not in ("2", "4"):
        raise ValueError("is not 2 or 4")
    return int(text)


_two_or_four = Parser(_read_two_or_four, kind="choice", choices=("2", "4"))


def _colour(text: str) -> str:
    """'' or '#rrggbb' from a hex triple (with or without '#') or a CSS colour name."""
    if text.lower() in ("", "none", "transparent"):
        return ""
    candidate = f"#{text}" if re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", text) else text
    try:
        red, green, blue, *alpha = ImageColor.getrgb(candidate)
    except ValueError:
        raise ValueError("is not a colour (rgb, rrggbb or a CSS name)") from None
    if max(red, green, blue) > 255:
        raise ValueError("is not between 0 and 255 in each colour")
    if alpha and alpha[0] != 255:
        raise ValueError("is not opaque")
    return f"#{red:02x}{green:02x}{blue:02x}"


def _canvas(text: str) -> tuple[int, int]:
    """(width, height) in pixels from '1200x1600'; (0, 0) = the image's own size."""
    if text.lower() in ("", "original", "0x0"):
        return (0, 0)
    match = re.fullmatch(r"(\d{1,5})\s*[xX]\s*(\d{1,5})", text)
    if not match:
        raise ValueError("is not WIDTHxHEIGHT in pixels")
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= 20_000 and 1 <= height <= 20_000 and width * height <= 100_000_000):
        raise ValueError("is not between 1x1 and 20000 pixels a side and 100 million in all")
    return (width, height)


def _scale(text: str) -> float:
    """Fraction of the canvas that the subject fills, from '80%'; 0 = the subject keeps its scale."""
    if text.lower() in ("", "original"):
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    fraction = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if fraction != 0 and not 0.1 <= fraction <= 1:
        raise ValueError("is not 'original' or a percentage between 10% and 100%")
    return fraction


def _position(text: str) -> tuple[float, float] | None:
    """Centre of the subject on the canvas, (x, y) in 0..1, from 'center' or '30% 60%'; None = unmoved."""
    if text.lower() in ("", "original"):
        return None
    if text.lower() == "center":
        return (0.5, 0.5)
    percents = re.findall(r"(\d+(?:\.\d+)?)%", text)
    if not re.fullmatch(r"\s*\d+(\.\d+)?%(\s+\d+(\.\d+)?%)?\s*", text) or any(float(p) > 100 for p in percents):
        raise ValueError("is not 'original', 'center' or one or two percentages such as '50% 80%'")
    x, y = float(Decimal(percents[0]) / 100), float(Decimal(percents[-1]) / 100)  # in decimals: `_text` undoes it
    return (x, y)


def _margin(text: str) -> Margin:
    """CSS order: one value for all sides, two for vertical and horizontal, four clockwise from the top."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(px|%)?", text)
    units = {unit or "px" for length, unit in parts if float(length) or unit} or {"px"}
    if not re.fullmatch(r"\s*\d+(\.\d+)?(px|%)?(\s+\d+(\.\d+)?(px|%)?){0,3}\s*", text) or len(parts) == 3:
        raise ValueError("is not one, two or four lengths such as '10px' or '5%'")
    if len(units) > 1:
        raise ValueError("mixes px and %")
    sides = [float(value) for value, _ in parts]
    percent = units == {"%"} and any(sides)
    if max(sides) > (50 if percent else 10_000):
        raise ValueError("is larger than 50% or 10000px")
    top, right, bottom, left = {1: sides * 4, 2: sides * 2, 4: sides}[len(sides)]
    return Margin(top, right, bottom, left, percent)


def _option(default: object, parse: Callable[[str], object], doc: str) -> Any:
    parser = parse if isinstance(parse, Parser) else Parser(parse)
    return field(default=default, metadata={"parse": parser, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOptions:
    """All that changes the pixels of one cutout."""

    mask_preset: MaskPreset = _option(
        MaskPreset.AUTO,
        choice(MaskPreset),
        "standard | soft | off | auto (soft for matting checkpoints, else standard)",
    )
    mask_threshold: float = _option(
        0.60, number(0.01, 0.99), "probability at which the contrast curve is centred (standard preset)"
    )
    mask_contrast: float = _option(4.0, number(0.1, 50.0), "slope of the contrast curve (standard preset)")
    mask_kernel: int = _option(
        5,
        integer(1, 31, odd=True),
        "pixels at network scale: specks and pinholes smaller than this square are removed; 1 = keep all",
    )
    mask_hard_floor: float = _option(
        0.25, number(0.0, 0.95), "opacity below this becomes 0, the rest is stretched down to it (standard preset)"
    )
    alpha_matting: AlphaMatting = _option(
        AlphaMatting.GUIDED,
        choice(AlphaMatting, {"true": "guided", "on": "guided", "false": "off"}),
        "off | guided (alpha near edges, pulled along the line between local colour estimates) | vitmatte",
    )
    existing_alpha: ExistingAlpha = _option(
        ExistingAlpha.MULTIPLY,
        choice(ExistingAlpha),
        "multiply | keep: of an upload that is transparent in places, its own alpha times the cutout's, or alone",
    )
    refine_foreground: bool = _option(True, boolean, "take the background's colour out of edge pixels")
    denoise: Denoise = _option(
        Denoise.OFF, choice(Denoise), "off | nlm: non-local means on the network's input; for measuring"
    )
    esrgan_stage: EsrganStage = _option(
        EsrganStage.OFF,
        choice(EsrganStage, {"false": "off", "true": "after"}),
        "off | after (enlarge the cutout) | before (enlarge the network's input; for measuring only)",
    )
    esrgan_scale: int = _option(2, _two_or_four, "2 or 4: how many times wider and higher")
    output_format: OutputFormat = _option(
        OutputFormat.PNG, choice(OutputFormat, {"jpeg": "jpg"}), "png | webp (lossless) | jpg (with bg_color) | zip"
    )
    channels: Channels = _option(Channels.RGBA, choice(Channels), "rgba | alpha (the matte alone, grey)")
    bg_color: str = _option(
        "", Parser(_colour, kind="colour"), "opaque colour behind the subject: rgb, rrggbb or a CSS name; empty = none"
    )
    crop: bool = _option(False, boolean, "crop to the subject")
    crop_margin: Margin = _option(
        Margin(0, 0, 0, 0, False), _margin, "space around the crop: 1, 2 or 4 lengths in px or % of the subject"
    )
    size: tuple[int, int] = _option((0, 0), _canvas, "canvas WIDTHxHEIGHT in pixels; empty = the image's own")
    scale: float = _option(0.0, _scale, "fraction of the canvas that the subject fills, 10% to 100%; empty = unscaled")
    position: tuple[float, float] | None = _option(
        None, _position, "centre of the subject on the canvas: center, 'X% Y%'; empty = unmoved"
    )

    def __post_init__(self) -> None:
        problems = [problem for broken, problem in self._contradictions() if broken]
        if problems:
            raise InvalidOptions("; ".join(problems))

    def _contradictions(self) -> list[tuple[bool, str]]:
        return [
            (
                self.output_format is OutputFormat.JPG and not self.bg_color and self.channels is Channels.RGBA,
                "output_format=jpg has no transparency: it needs bg_color",
            ),
            (
                self.output_format is OutputFormat.ZIP and bool(self.bg_color or self.channels is Channels.ALPHA),
                "output_format=zip holds colour and alpha: it takes neither bg_color nor channels=alpha",
            ),
            (
                self.channels is Channels.ALPHA and bool(self.bg_color),
                "channels=alpha has no colour: it takes no bg_color",
            ),
            (self.crop_margin != Margin(0, 0, 0, 0, False) and not self.crop, "crop_margin needs crop=true"),
        ]

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], base: "CutOptions | None" = None) -> Self:
        """Options from {name: text} over `base`; `mask-threshold` and `mask_threshold` are the same name.

        Raises InvalidOptions naming every option that is unknown or malformed.
        """
        values: dict[str, object] = {}
        problems: list[str] = []
        for given, text in sorted(texts.items()):
            name = canonical_name(given)
            if name not in PARSERS:
                near = difflib.get_close_matches(name, PARSERS, n=1)
                problems.append(f"{given} is not an option" + (f", {near[0]} is" if near else ""))
            elif name in values:
                problems.append(f"{name} is given twice")
            else:
                try:
                    values[name] = PARSERS[name](text.strip())
                except ValueError as error:
                    problems.append(f"{name}={text[:60]!r} {error}")
        if problems:
            raise InvalidOptions("; ".join(problems))
        return cast("Self", replace(base or cls(), **cast("dict[str, Any]", values)))

    def as_texts(self) -> dict[str, str]:
        """{name: canonical text}; `from_texts` of it gives the same options."""
        return {option.name: _text(getattr(self, option.name)) for option in fields(self)}


def _text(value: object) -> str:
    if value is None:
        return "original"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)  # unlike :g, it never gives two numbers the same text
    if isinstance(value, tuple) and isinstance(value[0], int):
        return f"{value[0]}x{value[1]}"
    if isinstance(value, tuple):
        return " ".join(f"{_digits(Decimal(repr(fraction)) * 100)}%" for fraction in value)
    return str(value)


def canonical_name(name: str) -> str:
    """'Mask-Threshold' -> 'mask_threshold'; 'format' is the short form of 'output_format'."""
    plain = name.lower().replace("-", "_")
    return "output_format" if plain == "format" else plain


PARSERS: dict[str, Parser[Any]] = {f.name: f.metadata["parse"] for f in fields(CutOptions)}
DOCS: dict[str, str] = {f.name: f.metadata["doc"] for f in fields(CutOptions)}
