"""What a subscriber of the first version parses with. Frozen: it is never changed, later messages have to pass it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

SCHEMA = 1
TYPES = {"completed": "dev.cutdrop.image.completed.v1", "failed": "dev.cutdrop.image.failed.v1"}


class UnreadableEvent(Exception):
    """Not a message of schema 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    coverage: float = 0.0
    uncertain: float = 0.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    id: str = ""
    revision: str = ""
    sha256: str = ""
    device: str = ""
    dtype: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The upload. Width, height and the true content type are known once it was decoded."""

    bucket: str
    name: str
    generation: str  # text: 64 bits do not fit JavaScript's numbers
    content_type: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One stored result."""

    role: str  # "cutout"
    bucket: str
    name: str
    generation: str
    uri: str
    content_type: str
    bytes: int
    width: int
    height: int
    crc32c: str  # base64, big-endian, as Cloud Storage gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds per room; 0 = the room was not entered."""

    download: float = 0.0
    decode: float = 0.0
    segment: float = 0.0
    matte: float = 0.0
    upscale: float = 0.0
    encode: float = 0.0
    upload: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionMessage:
    """The one outcome of one upload. Field by field what the JSON says; `time` travels as the attribute ce-time."""

    status: str  # "completed" | "failed"
    code: str = ""  # of a failure; shared.errors lists them
    reason: str = ""  # a sentence for a person
    key: str
    source: Source
    outputs: tuple[Output, ...] = ()
    subject: Subject = Subject()
    model: ModelInfo = ModelInfo()
    options: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    timings_ms: Timings = Timings()
    time: str = ""  # RFC 3339; empty = unknown


def parse(data: bytes, attributes: Mapping[str, str]) -> CompletionMessage:
    """The message that `serialise` took. UnreadableEvent where it is none of schema 1."""
    try:
        given = json.loads(data)
        message: CompletionMessage = read(CompletionMessage, given)
    except (ValueError, RecursionError) as error:
        raise UnreadableEvent(f"not a completion message: {error}") from error
    if given.get("schema") != SCHEMA or message.status not in TYPES:
        raise UnreadableEvent(f"not a completion message of schema {SCHEMA}")
    return replace(message, time=attributes.get("ce-time", ""))


def read(kind: Any, value: Any, where: str = "") -> Any:
    """The inverse of `plain`. What is absent is empty or 0, what is unknown is skipped; ValueError on wrong types."""
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value, where)
    if get_origin(kind) is Mapping:
        _, item = get_args(kind)
        return {name: read(item, text, f"{where}.{name}") for name, text in _object(value, where)}
    if isinstance(kind, type) and is_dataclass(kind):
        given = dict(_object(value, where))
        known = _types(kind).items()
        parts = {n: read(t, given[n], f"{where}.{n}") if n in given else _nothing(t) for n, t in known}
        return kind(**parts)
    if kind is float and type(value) in (int, float):
        return _finite(value, where)
    if type(value) is not kind:
        raise ValueError(f"{where.lstrip('.') or 'JSON'} is not of type {kind.__name__}")
    if isinstance(value, str):
        value.encode()  # a lone surrogate could not be sent on
    return value


def _finite(value: float, where: str) -> float:
    """JSON of a careless writer may hold NaN, Infinity or 1e999."""
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{where.lstrip('.')} is not a finite number")
    return float(value)


def _read_tuple(items: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list) or (items[-1] is not Ellipsis and len(value) != len(items)):
        raise ValueError(f"{where.lstrip('.')} is not an array of the right length")
    return tuple(read(items[0], item, f"{where}.{place}") for place, item in enumerate(value))


def _object(value: object, where: str) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        raise ValueError(f"{where.lstrip('.') or 'JSON'} is not an object")
    return list(value.items())


def _nothing(kind: Any) -> Any:
    """What stands for 'unknown': messages hold no nulls."""
    if get_origin(kind) is tuple:
        return tuple(_nothing(item) for item in get_args(kind)) if get_args(kind)[-1] is not Ellipsis else ()
    if get_origin(kind) is Mapping:
        return {}
    return read(kind, {}) if is_dataclass(kind) else kind()


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
