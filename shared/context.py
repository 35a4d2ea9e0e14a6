"""What an uploader or an event sent along with an upload, bounded and checked, for its message."""

import re

from shared.records import Upload
from shared.subscriber.message_types import Trace

OURS = "cutdrop-"  # keys of custom metadata that begin with this are options or this service's own
TRACE_KEYS = ("traceparent", "tracestate")
METADATA_BYTES = 2048  # of an uploader's keys and values that are sent on, UTF-8
LONGEST_KEY = 256  # bytes
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


def uploader_metadata(upload: Upload) -> dict[str, str]:
    """The custom metadata that the uploader chose freely, METADATA_BYTES at most: entries that do not fit are left out.

    In order of their keys, so that the same upload gives the same entries every time.
    """
    kept: dict[str, str] = {}
    left = METADATA_BYTES
    for key, value in sorted(upload.metadata.items()):
        size = len(key.encode()) + len(value.encode())
        if key.lower().startswith(OURS) or size > left or len(key.encode()) > LONGEST_KEY:
            continue
        kept[key] = value
        left -= size
    return kept


def trace_of(upload: Upload) -> Trace:
    """The trace that the upload's own metadata names, else that of its event; empty if neither is well-formed."""
    given = {key.lower(): value for key, value in upload.metadata.items() if key.lower() in TRACE_KEYS}
    for parent, state in (
        (given.get("traceparent", ""), given.get("tracestate", "")),
        (upload.traceparent, upload.tracestate),
    ):
        if TRACEPARENT.fullmatch(parent):
            return Trace(traceparent=parent, tracestate=state if TRACESTATE.fullmatch(state) else "")
    return Trace()
