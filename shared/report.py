"""What a result object says about itself: the `cutdrop-*` metadata from which its message can be rebuilt at any time.

A message that is published a second time has to equal the first one, and the second delivery may run on another
instance after a crash: so nothing of a message is remembered anywhere but beside the result itself.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from shared.records import EMPTY, ModelInfo, Subject, Upload

VERSION = "0.1.0"  # of the product, as in pyproject.toml

SOURCE = "cutdrop-source"  # gs://bucket/name of the upload
SOURCE_GENERATION = "cutdrop-source-generation"
KEY = "cutdrop-key"
PRODUCT_VERSION = "cutdrop-version"
REPORT = "cutdrop-report"
RESERVED = frozenset({SOURCE, SOURCE_GENERATION, KEY, PRODUCT_VERSION, REPORT})

METADATA_LIMIT = 8192  # bytes of UTF-8, names and values of one object together; Cloud Storage's own limit
LONGEST_TEXT = 100  # characters that a text keeps in a report that had to be shortened

NO_SUBJECT_KNOWN = Subject(coverage=0.0, uncertain=0.0, box=(0, 0, 0, 0))
NO_MODEL_KNOWN = ModelInfo(id="", revision="", sha256="", device="", dtype="")

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """What is known of one image file."""

    content_type: str = ""
    bytes: int = 0
    width: int = 0  # pixels
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a completion message says and that the stored object's own fields do not."""

    source: ImageInfo = ImageInfo()
    output: ImageInfo = ImageInfo()
    subject: Subject = NO_SUBJECT_KNOWN
    model: ModelInfo = NO_MODEL_KNOWN
    options: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # effective, every one of them
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # what was asked for and not done
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # download to encode
    started_ms: int = 0  # wall clock, Unix milliseconds: when work on the upload began
    encoded_ms: int = 0  # and when the result file was ready to be stored


def result_metadata(upload: Upload, key: str, report: Report) -> dict[str, str]:
    """Custom metadata of a result object, at most METADATA_LIMIT bytes: a report that is too long is shortened.

    Only the report gives way (long notes first, then options and other long texts); the source's name never does.
    """
    metadata = {
        SOURCE: upload.uri,
        SOURCE_GENERATION: str(upload.generation),
        KEY: key,
        PRODUCT_VERSION: VERSION,
    }
    budget = METADATA_LIMIT - metadata_size(metadata) - len(REPORT)
    candidates = (compact(to_json(shorter)) for shorter in _ever_shorter(report))
    fitting = (text for text in candidates if len(text.encode()) <= budget)
    return metadata | {REPORT: next(fitting, "{}")}


def metadata_size(metadata: Mapping[str, str]) -> int:
    """Bytes that custom metadata counts against METADATA_LIMIT."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())


def read_report(metadata: Mapping[str, str]) -> Report:
    """The report of a result object; an empty one where it is absent or damaged (a person may have edited it)."""
    try:
        report: Report = from_json(Report, json.loads(metadata.get(REPORT, "{}")))
    except (ValueError, RecursionError):
        return Report()
    return report


def _ever_shorter(report: Report) -> "list[Report]":
    said = {"report": "shortened to fit the metadata of the result"}
    notes = {name: text[:LONGEST_TEXT] for name, text in report.notes.items()}
    unnoted = replace(report, notes=said)
    source, output, model = _cut_texts(report.source), _cut_texts(report.output), _cut_texts(report.model)
    return [
        report,
        replace(report, notes=notes | said),
        unnoted,
        replace(unnoted, options=EMPTY, source=source, output=output, model=model),
    ]


def _cut_texts(record: Record) -> Record:
    texts = {f.name: getattr(record, f.name) for f in fields(cast("Any", record))}
    short = {name: text[:LONGEST_TEXT] for name, text in texts.items() if isinstance(text, str)}
    return cast("Record", replace(cast("Any", record), **short))


def compact(value: object) -> str:
    """JSON without spaces, in UTF-8 rather than escapes, in the order of the record's fields."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def to_json(value: Any) -> Any:
    """A record as JSON has it: objects, arrays, text and numbers only."""
    if is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {name: to_json(value[name]) for name in value}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(kind: Any, value: Any, where: str = "") -> Any:
    """The inverse of `to_json`. What is absent is empty or 0, what is unknown is skipped; ValueError on wrong types."""
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value, where)
    if get_origin(kind) is Mapping:
        _, item = get_args(kind)
        return {name: from_json(item, text, f"{where}.{name}") for name, text in _object(value, where)}
    if isinstance(kind, type) and is_dataclass(kind):
        given = dict(_object(value, where))
        known = _types(kind).items()
        parts = {n: from_json(t, given[n], f"{where}.{n}") if n in given else _nothing(t) for n, t in known}
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
    return tuple(from_json(items[0], item, f"{where}.{place}") for place, item in enumerate(value))


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
    return from_json(kind, {}) if is_dataclass(kind) else kind()


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
