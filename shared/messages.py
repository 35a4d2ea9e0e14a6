"""The completion message as the service makes it: record -> JSON data and CloudEvents attributes.

What it says is the service's public contract: `shared.subscriber.messages` has the records and reads them.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from shared.context import trace_of, uploader_metadata
from shared.errors import RejectedUpload
from shared.records import EMPTY, StoredObject, Upload
from shared.report import (
    KEY,
    SOURCE,
    SOURCE_GENERATION,
    FurtherOutput,
    ImageInfo,
    Report,
    output_ending,
    read_report,
)
from shared.subscriber.message_types import (
    PRIMARY,
    SCHEMA,
    TYPES,
    CompletionMessage,
    ModelInfo,
    Output,
    Source,
    Timings,
)
from shared.subscriber.records_as_json import compact, to_json

IN_ATTRIBUTES = {"time", "review", "trace"}  # fields that the data does not have
ATTRIBUTE_LIMIT = 1024  # bytes of UTF-8 in one Pub/Sub attribute value
NOT_IN_ATTRIBUTES = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # CloudEvents 1.0, section "Type System", String


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
    """(data, attributes) for Pub/Sub; `subscriber.messages.parse` of both gives the message again.

    ce-subject is shortened, and then ends in an ellipsis, if an object's name does not fit into an attribute.
    """
    data = {"schema": SCHEMA} | {name: value for name, value in to_json(message).items() if name not in IN_ATTRIBUTES}
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": message.event_id,
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
