"""Parsers of settings and options: text to value, with the range that a form or a table shows.

The ValueError of each ends a sentence that begins with name and text: "mask_kernel='4' is not odd".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Value = TypeVar("Value")
WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Parser(Generic[Value]):
    """Reads a value from text; the other fields describe what it accepts.

    kind: text | number | integer | boolean | choice | colour. low, high, step: of numbers; step 0 = any.
    """

    read: Callable[[str], Value]
    kind: str = "text"
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()  # other spellings of the choices

    def __call__(self, text: str) -> Value:
        return self.read(text)


def number(low: float, high: float) -> Parser[float]:
    """Numbers from low to high."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("is not a number") from None
        if not low <= value <= high:
            raise ValueError(f"is not between {low:g} and {high:g}")
        return value + 0.0  # turns -0.0 into 0.0, so that both have the same key

    return Parser(read, kind="number", low=low, high=high)


def integer(low: int, high: int, *, odd: bool = False) -> Parser[int]:
    """Integers from low to high, on request only odd ones."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"is not between {low} and {high}")
        if odd and value % 2 == 0:
            raise ValueError("is not odd")
        return value

    return Parser(read, kind="integer", low=low, high=high, step=2 if odd else 1)


def choice(kind: type[StrEnum], aliases: Mapping[str, str] | None = None) -> Parser[StrEnum]:
    """The words of an enumeration, and other spellings of them."""

    def read(text: str) -> StrEnum:
        word = text.lower()
        try:
            return kind((aliases or {}).get(word, word))
        except ValueError:
            raise ValueError(f"is not one of {', '.join(kind)}") from None

    return Parser(read, kind="choice", choices=tuple(kind), aliases=tuple(aliases or ()))


def _read_boolean(text: str) -> bool:
    try:
        return WORDS[text.lower()]
    except KeyError:
        raise ValueError("is not true or false") from None


boolean = Parser(_read_boolean, kind="boolean")
