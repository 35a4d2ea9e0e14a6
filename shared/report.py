"""What a result object says about itself: the `cutdrop-*` metadata from which its message can be rebuilt at any time.

A message that is published a second time has to equal the first one, and the second delivery may run on another
instance after a crash: so all that a message says is stored with the result itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, cast

from shared.records import EMPTY, Upload
from shared.subscriber.message_types import PRIMARY, STRICT, ModelInfo, Subject, Trace
from shared.subscriber.records_as_json import Record, compact, from_json, to_json

VERSION = "0.1.0"  # of the product, as in pyproject.toml

SOURCE = "cutdrop-source"  # gs://bucket/name of the upload
SOURCE_GENERATION = "cutdrop-source-generation"
KEY = "cutdrop-key"
PRODUCT_VERSION = "cutdrop-version"
REPORT = "cutdrop-report"
ROLE = "cutdrop-role"  # of an output that is not the primary one
RESERVED = frozenset({SOURCE, SOURCE_GENERATION, KEY, PRODUCT_VERSION, REPORT, ROLE})

METADATA_LIMIT = 8192  # bytes of UTF-8, names and values of one object together; Cloud Storage's own limit
LONGEST_TEXT = 100  # characters that a text keeps in a report that had to be shortened


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """What is known of one image file."""

    content_type: str = ""
    bytes: int = 0
    width: int = 0  # pixels
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherOutput:
    """An output beside the primary one, as it was stored; its name follows from the primary's."""

    role: str = ""
    suffix: str = ""  # of its name, with the dot
    generation: str = ""
    content_type: str = ""
    bytes: int = 0
    width: int = 0  # pixels
    height: int = 0
    crc32c: str = ""  # base64


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a completion message says and that the stored object's own fields do not."""

    __pydantic_config__: ClassVar = STRICT

    source: ImageInfo = ImageInfo()
    output: ImageInfo = ImageInfo()
    subject: Subject = Subject()
    review: bool = False  # a person should look at the result
    model: ModelInfo = ModelInfo()
    options: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # effective, every one of them
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # what was asked for and not done
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # download to encode
    started_ms: int = 0  # wall clock, Unix milliseconds: when work on the upload began
    encoded_ms: int = 0  # and when the result file was ready to be stored
    metadata: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # the uploader's own
    trace: Trace = Trace()
    further: tuple[FurtherOutput, ...] = ()


def result_metadata(upload: Upload, key: str, report: Report) -> dict[str, str]:
    """Custom metadata of a result object, at most METADATA_LIMIT bytes: a report that is too long is shortened.

    Only the report is shortened: long notes first, then the uploader's metadata, then options and other long texts.
    The source's name never is.
    """
    metadata = _common_metadata(upload, key)
    budget = METADATA_LIMIT - metadata_size(metadata) - len(REPORT)
    candidates = (compact(to_json(shorter)) for shorter in _ever_shorter(report))
    fitting = (text for text in candidates if len(text.encode()) <= budget)
    return metadata | {REPORT: next(fitting, "{}")}


def metadata_size(metadata: Mapping[str, str]) -> int:
    """Bytes that custom metadata counts against METADATA_LIMIT."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())


def output_metadata(upload: Upload, key: str, role: str) -> dict[str, str]:
    """Custom metadata of an output beside the primary one."""
    return _common_metadata(upload, key) | {ROLE: role}


def _common_metadata(upload: Upload, key: str) -> dict[str, str]:
    return {SOURCE: upload.uri, SOURCE_GENERATION: str(upload.generation), KEY: key, PRODUCT_VERSION: VERSION}


def output_ending(role: str, suffix: str) -> str:
    """What an output's name ends in: `.png` for the primary one, `.preview.webp` for others."""
    return suffix if role == PRIMARY else f".{role}{suffix}"


def read_report(metadata: Mapping[str, str]) -> Report:
    """The report of a result object; an empty one if it is absent or damaged (a person may have edited it)."""
    try:
        return from_json(Report, metadata.get(REPORT, "{}"))
    except ValueError:
        return Report()


def _ever_shorter(report: Report) -> list[Report]:
    said = {"report": "shortened to fit the metadata of the result"}
    notes = {name: text[:LONGEST_TEXT] for name, text in report.notes.items()}
    unnoted = replace(report, notes=said)
    source, output, model = _cut_texts(report.source), _cut_texts(report.output), _cut_texts(report.model)
    return [
        report,
        replace(report, notes=notes | said),
        unnoted,
        replace(unnoted, metadata=EMPTY),
        replace(unnoted, metadata=EMPTY, options=EMPTY, source=source, output=output, model=model),
    ]


def _cut_texts(record: Record) -> Record:
    texts = {f.name: getattr(record, f.name) for f in fields(cast("Any", record))}
    short = {name: text[:LONGEST_TEXT] for name, text in texts.items() if isinstance(text, str)}
    return cast("Record", replace(cast("Any", record), **short))
