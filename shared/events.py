"""CloudEvent -> Upload, in every form in which Google delivers a finalized object.

There are three: the storage event itself (Eventarc); a storage notification on a Pub/Sub topic, which arrives
as `messagePublished`; and either of them in the body of a push request (dead letters). Numbers are text in one and
numbers in another, fields come and go: only bucket, name and generation are needed.

https://cloud.google.com/storage/docs/pubsub-notifications
https://github.com/googleapis/google-cloudevents (proto/google/events/cloud/storage/v1)
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from shared.errors import UnreadableEvent
from shared.records import Upload

FINALIZED = "google.cloud.storage.object.v1.finalized"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
NOTIFIED = "OBJECT_FINALIZE"
REPLAYED = "replayed"  # attribute of a notification that `function.replay` sent, a moment in RFC 3339
LARGEST = 2**63 - 1  # generations and sizes are int64
RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")


def parse_event(attributes: Mapping[str, Any], data: object) -> Upload:
    """The upload that a CloudEvent announces. UnreadableEvent if it is of another kind or cannot be read.

    attributes: the event's context (`type`, `id`, `time` ...). data: parsed JSON; text or bytes are parsed here.
    """
    kind = attributes.get("type")
    if kind == FINALIZED:
        return _from_object(_object(data, "data"), attributes)
    if kind == PUBLISHED:
        return parse_push_envelope(data)
    raise UnreadableEvent(f"an event of type {str(kind)[:100]!r} announces no upload")


def parse_push_envelope(body: object) -> Upload:
    """The upload that the Pub/Sub message in a push request's body announces: {"message": {"attributes", "data"}}.

    With payload format NONE only bucket, name and generation are known: see `needs_look_up`.
    """
    message = _object(_object(body, "body").get("message"), "message")
    attributes = _texts(message.get("attributes"), "attributes")
    data = _from_base64(_text(message, "data"))
    if "eventType" in attributes:
        return _from_notification(attributes, data, _text(message, "messageId"))
    if attributes.get("content-type", "").startswith("application/cloudevents+json"):
        event = _object(data, "data")
        return parse_event(event, event.get("data"))
    return parse_event({name.removeprefix("ce-"): text for name, text in attributes.items()}, data)


def needs_look_up(upload: Upload) -> bool:
    """Whether the event said nothing of the object but its name: size and metadata have to be asked for."""
    return not (upload.size or upload.content_type or upload.metadata)


def _from_notification(attributes: Mapping[str, str], data: bytes, message_id: str) -> Upload:
    if attributes["eventType"] != NOTIFIED:
        raise UnreadableEvent(f"a notification of type {attributes['eventType'][:100]!r} announces no upload")
    context = {"id": message_id, "time": attributes.get("eventTime"), REPLAYED: attributes.get(REPLAYED)}
    if data:
        return _from_object(_object(data, "data"), context)
    named = {"bucketId": "bucket", "objectId": "name", "objectGeneration": "generation"}
    return _from_object({field: attributes.get(name) for name, field in named.items()}, context)


def _from_object(resource: Mapping[str, Any], context: Mapping[str, Any]) -> Upload:
    """Upload from an Object resource of the JSON API."""
    return Upload(
        bucket=_bucket(resource),
        name=_needed(resource, "name"),
        generation=_whole(resource, "generation", least=1),
        size=_whole(resource, "size", least=0),
        content_type=_text(resource, "contentType"),
        metadata=_texts(resource.get("metadata"), "metadata"),
        event_id=_text(context, "id"),
        event_time=_moment(resource.get("timeCreated")) or _moment(context.get("time")),
        replayed=_moment(context.get(REPLAYED)),
        traceparent=_extension(context, "traceparent"),
        tracestate=_extension(context, "tracestate"),
    )


def _object(value: object, what: str) -> Mapping[str, Any]:
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UnreadableEvent(f"the event's {what} is not JSON") from error
    if not isinstance(value, Mapping):
        raise UnreadableEvent(f"the event's {what} is not a JSON object")
    return value


def _texts(value: object, what: str) -> dict[str, str]:
    """{name: text}; empty if absent."""
    given = _object({} if value is None else value, what)
    if not all(isinstance(name, str) for name in given):
        raise UnreadableEvent(f"the event's {what} has names that are not text")
    return {_text({"name": name}, "name"): _text(given, name) for name in given}


def _text(record: Mapping[str, Any], name: str) -> str:
    """Text that can be sent on as UTF-8; empty if absent."""
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnreadableEvent(f"the event's {name} is not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can escape half of a surrogate pair
        raise UnreadableEvent(f"the event's {name} is not Unicode text") from error
    return value


def _needed(record: Mapping[str, Any], name: str) -> str:
    text = _text(record, name)
    if not text:
        raise UnreadableEvent(f"the event's {name} is missing")
    return text


def _bucket(record: Mapping[str, Any]) -> str:
    bucket = _needed(record, "bucket")
    if "/" in bucket:
        raise UnreadableEvent("the event's bucket is not a bucket's name")
    return bucket


def _whole(record: Mapping[str, Any], name: str, *, least: int) -> int:
    """An int64 from 'text' or a number, never through a float (that would lose the last digits); absent = 0."""
    value = record.get(name)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    if value is None and least > 0:
        raise UnreadableEvent(f"the event's {name} is missing")
    if value is None:
        return 0
    if type(value) is not int or not least <= value <= LARGEST:
        raise UnreadableEvent(f"the event's {name} is not a whole number from {least} to 2^63 - 1")
    return value


def _extension(context: Mapping[str, Any], name: str) -> str:
    """An optional attribute of the event; empty if it is absent or not text."""
    value = context.get(name)
    return value if isinstance(value, str) and value.isascii() else ""


def _moment(value: object) -> str:
    """An RFC 3339 time as it was given; empty if it is something else."""
    return value if isinstance(value, str) and RFC3339.fullmatch(value) else ""


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise UnreadableEvent("the message's data is not base64") from error
