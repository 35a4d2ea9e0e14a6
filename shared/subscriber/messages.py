"""The completion message as its subscribers read it: record <- JSON data and CloudEvents attributes.

Data, UTF-8 JSON (fields are only ever added; no nulls: what is unknown is empty or 0; generations are text):

    {"schema": 1, "status": "completed", "code": "", "reason": "", "key": "...",
     "source": {"bucket", "name", "generation", "content_type", "bytes", "width", "height", "metadata": {name: text}},
     "outputs": [{"role", "bucket", "name", "generation", "uri", "content_type", "bytes", "width", "height", "crc32c"}],
     "subject": {"coverage", "uncertain", "box": [left, top, right, bottom], "confidence"},
     "model": {"id", "revision", "sha256", "device", "dtype"}, "options": {name: text}, "notes": {name: text},
     "timings_ms": {"download", "decode", "segment", "matte", "upscale", "encode", "upload", "total"}}

`completion.avsc` (Avro, the topic's schema) and `completion.schema.json` (JSON Schema) beside this file say the same.
Attributes: the CloudEvents binary binding for Pub/Sub; `status` and `review` so that subscriptions can filter; and
`traceparent` and `tracestate` if the upload or its event carried them.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .message_types import (  # relative: the package has two names
    PRIMARY,
    SCHEMA,
    TYPES,
    Code,
    CompletionMessage,
    ModelInfo,
    Output,
    Source,
    Subject,
    Timings,
    Trace,
)
from .records_as_json import from_json

__all__ = [
    "PRIMARY",
    "SCHEMA",
    "TYPES",
    "Code",
    "CompletionMessage",
    "ModelInfo",
    "Output",
    "Source",
    "Subject",
    "Timings",
    "Trace",
    "UnreadableMessage",
    "parse",
    "parse_push",
]


class UnreadableMessage(ValueError):
    """Not a completion message of this schema."""


def parse(data: bytes, attributes: Mapping[str, str]) -> CompletionMessage:
    """The message in a Pub/Sub message's data and attributes. UnreadableMessage if it is none of schema 1."""
    try:
        message = from_json(CompletionMessage, data)
    except ValueError as error:
        raise UnreadableMessage(f"not a completion message: {error}") from error
    if json.loads(data).get("schema") != SCHEMA or message.status not in TYPES:
        raise UnreadableMessage(f"not a completion message of schema {SCHEMA}")
    trace = Trace(traceparent=attributes.get("traceparent", ""), tracestate=attributes.get("tracestate", ""))
    review = attributes.get("review") == "true"
    return replace(message, time=attributes.get("ce-time", ""), review=review, trace=trace)


def parse_push(body: bytes) -> CompletionMessage:
    """The message in the body of a push request: {"message": {"data": base64, "attributes": {...}}, ...}.

    UnreadableMessage if there is none. https://cloud.google.com/pubsub/docs/push
    """
    try:
        pushed: Any = json.loads(body)["message"]
        data = base64.b64decode(pushed.get("data", ""), validate=True)
        attributes = {str(name): str(text) for name, text in pushed.get("attributes", {}).items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UnreadableMessage("not the body of a Pub/Sub push request") from error
    return parse(data, attributes)
