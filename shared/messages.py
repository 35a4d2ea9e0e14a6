"""The completion message, the service's public contract: record <-> JSON data and CloudEvents attributes.

Data, UTF-8 JSON (fields are only ever added; no nulls: what is unknown is empty or 0; generations are text):

    {"schema": 1, "status": "completed", "code": "", "reason": "", "key": "...",
     "source": {"bucket", "name", "generation", "content_type", "bytes", "width", "height", "metadata": {name: text}},
     "outputs": [{"role", "bucket", "name", "generation", "uri", "content_type", "bytes", "width", "height", "crc32c"}],
     "subject": {"coverage", "uncertain", "box": [left, top, right, bottom], "confidence"},
     "model": {"id", "revision", "sha256", "device", "dtype"}, "options": {name: text}, "notes": {name: text},
     "timings_ms": {"download", "decode", "segment", "matte", "upscale", "encode", "upload", "total"}}

Attributes: the CloudEvents binary binding for Pub/Sub; `status` and `review` so that subscriptions can filter; and
`traceparent` and `tracestate` if the upload or its event carried them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar

from pydantic import ConfigDict

from shared.context import Trace, trace_of, uploader_metadata
from shared.errors import RejectedUpload, UnreadableEvent
from shared.outputs import PRIMARY
from shared.records import EMPTY, ModelInfo, StoredObject, Subject, Upload
from shared.report import (
    KEY,
    SOURCE,
    SOURCE_GENERATION,
    STRICT,
    FurtherOutput,
    ImageInfo,
    Report,
    compact,
    from_json,
    output_ending,
    read_report,
    to_json,
)

SCHEMA = 1
IN_ATTRIBUTES = {"time", "review", "trace"}  # fields that the data does not have
TYPES = {"completed": "dev.cutdrop.image.completed.v1", "failed": "dev.cutdrop.image.failed.v1"}
REPLAYED_NOTE = "replayed"  # when an operator sent the upload through the service again
ATTRIBUTE_LIMIT = 1024  # bytes of UTF-8 in one Pub/Sub attribute value
NOT_IN_ATTRIBUTES = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # CloudEvents 1.0, section "Type System", String


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The upload. Width, height and the true content type are known once it was decoded."""

    bucket: str = ""
    name: str = ""
    generation: str = ""  # text: 64 bits do not fit JavaScript's numbers
    content_type: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    metadata: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # the uploader's own, 2 KiB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One stored result."""

    role: str = ""  # "cutout" is the primary one, which comes first
    bucket: str = ""
    name: str = ""
    generation: str = ""
    uri: str = ""
    content_type: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    crc32c: str = ""  # base64, big-endian, as Cloud Storage gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds per step; 0 = the step did not run."""

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
    """The one outcome of one upload. Field by field what the JSON says; IN_ATTRIBUTES travel as attributes."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    status: str = ""  # "completed" | "failed"; empty only in what `parse` refuses
    code: str = ""  # of a failure; shared.errors lists them
    reason: str = ""  # a sentence for a person
    key: str = ""
    source: Source = field(default_factory=Source)
    outputs: tuple[Output, ...] = ()
    subject: Subject = Subject()
    model: ModelInfo = ModelInfo()
    options: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    timings_ms: Timings = Timings()
    time: str = ""  # RFC 3339; empty = unknown
    review: bool = False  # a person should look at the result: its confidence is low
    trace: Trace = Trace()


def completed(stored: StoredObject) -> CompletionMessage:
    """The message about a result, made from the stored object alone: equal whenever and wherever it is made.

    `upload` and `total` end when the store finalized the object, by the store's clock; both are at least 0.
    """
    report = read_report(stored.metadata)
    bucket, _, name = stored.metadata.get(SOURCE, "").removeprefix("gs://").partition("/")
    generation = stored.metadata.get(SOURCE_GENERATION, "")
    return CompletionMessage(
        status="completed",
        key=stored.metadata.get(KEY, ""),
        source=Source(
            bucket=bucket, name=name, generation=generation, **asdict(report.source), metadata=report.metadata
        ),
        outputs=(_output(stored, report.output), *(_further(stored, output) for output in report.further)),
        subject=report.subject,
        model=report.model,
        options=report.options,
        notes=report.notes,
        timings_ms=_timings(report, stored.created),
        time=_rfc3339(stored.created),
        review=report.review,
        trace=report.trace,
    )


def failed(
    upload: Upload,
    key: str,
    error: RejectedUpload,
    *,
    decoded: ImageInfo | None = None,
    model: ModelInfo | None = None,
    options: Mapping[str, str] = EMPTY,
    notes: Mapping[str, str] = EMPTY,
) -> CompletionMessage:
    """The message about an upload that never becomes a cutout: equal for every delivery of the same event.

    decoded: what was found out about the upload before it was rejected, instead of what its uploader claimed.
    """
    info = decoded or ImageInfo(content_type=upload.content_type, bytes=upload.size)
    return CompletionMessage(
        status="failed",
        code=error.code,
        reason=str(error),
        key=key,
        source=Source(
            bucket=upload.bucket,
            name=upload.name,
            generation=str(upload.generation),
            metadata=uploader_metadata(upload),
            **asdict(info),
        ),
        model=model or ModelInfo(),
        options=options,
        notes=notes,
        time=upload.event_time,
        trace=trace_of(upload),
    )


def serialise(message: CompletionMessage) -> tuple[bytes, dict[str, str]]:
    """(data, attributes) for Pub/Sub; `parse` of both gives the message again.

    ce-subject is shortened, and then ends in an ellipsis, if an object's name does not fit into an attribute.
    """
    data = {"schema": SCHEMA} | {name: value for name, value in to_json(message).items() if name not in IN_ATTRIBUTES}
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": _event_id(message),
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{message.source.bucket}",
        "ce-type": TYPES[message.status],
        "ce-subject": _attribute(f"objects/{message.source.name}"),
        "content-type": "application/json",
        "status": message.status,
        "review": "true" if message.review else "false",
    }
    optional = {"ce-time": message.time, **asdict(message.trace)}
    attributes |= {name: text for name, text in optional.items() if text}
    return compact(data).encode(), attributes


def _event_id(message: CompletionMessage) -> str:
    """The key; a replay's outcome is an event of its own, which a subscriber that knows the key has not seen."""
    replayed = message.notes.get(REPLAYED_NOTE)
    return f"{message.key}-{replayed}" if replayed else message.key


def parse(data: bytes, attributes: Mapping[str, str]) -> CompletionMessage:
    """The message that `serialise` took. UnreadableEvent if it is none of schema 1."""
    try:
        message = from_json(CompletionMessage, data)
    except ValueError as error:
        raise UnreadableEvent(f"not a completion message: {error}") from error
    if json.loads(data).get("schema") != SCHEMA or message.status not in TYPES:
        raise UnreadableEvent(f"not a completion message of schema {SCHEMA}")
    trace = Trace(traceparent=attributes.get("traceparent", ""), tracestate=attributes.get("tracestate", ""))
    review = attributes.get("review") == "true"
    return replace(message, time=attributes.get("ce-time", ""), review=review, trace=trace)


def _output(stored: StoredObject, info: ImageInfo) -> Output:
    return Output(
        role=PRIMARY,
        bucket=stored.bucket,
        name=stored.name,
        generation=str(stored.generation),
        uri=stored.uri,
        content_type=stored.content_type,
        bytes=stored.size,
        width=info.width,
        height=info.height,
        crc32c=stored.crc32c,
    )


def _further(primary: StoredObject, output: FurtherOutput) -> Output:
    stem = primary.name.rpartition(".")[0]
    name = stem + output_ending(output.role, output.suffix)
    return Output(
        role=output.role,
        bucket=primary.bucket,
        name=name,
        generation=output.generation,
        uri=f"gs://{primary.bucket}/{name}",
        content_type=output.content_type,
        bytes=output.bytes,
        width=output.width,
        height=output.height,
        crc32c=output.crc32c,
    )


def _timings(report: Report, created: datetime) -> Timings:
    stored_ms = created.timestamp() * 1000
    steps = {name: report.timings_ms.get(name, 0.0) for name in ("download", "decode", "segment", "matte", "upscale")}
    return Timings(
        **steps,
        encode=report.timings_ms.get("encode", 0.0),
        upload=_between(report.encoded_ms, stored_ms),
        total=_between(report.started_ms, stored_ms),
    )


def _between(start_ms: int, end_ms: float) -> float:
    """The clocks of two machines: the later moment may show the earlier time. A start of 0 is unknown."""
    return max(0.0, round(end_ms - start_ms, 1)) if start_ms else 0.0


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attribute(text: str) -> str:
    clean = NOT_IN_ATTRIBUTES.sub("\N{REPLACEMENT CHARACTER}", text)
    if len(clean.encode()) <= ATTRIBUTE_LIMIT:
        return clean
    ellipsis = "…"
    kept = clean.encode()[: ATTRIBUTE_LIMIT - len(ellipsis.encode())].decode(errors="ignore")
    return kept + ellipsis
