"""One JSON object per line on standard output, as Cloud Logging reads it.

https://cloud.google.com/logging/docs/structured-logging
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TextIO

OURS = ("cutdrop", "function", "shared")  # loggers that follow LOG_LEVEL; libraries log from WARNING upwards

_trace: ContextVar[Mapping[str, object]] = ContextVar("trace", default={})  # noqa: B039 - never mutated


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, default: str, /) -> str: ...


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: severity, message, trace, and what was passed as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **_trace.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["stack_trace"] = self.formatException(record.exc_info)  # the name that Error Reporting looks for
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, stream: TextIO = sys.stdout) -> None:
    """Send every logger of this process to `stream` as JSON; those of this product from `level` upwards."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())


@contextmanager
def traced(headers: Headers, project: str) -> Iterator[None]:
    """Join every line of a `with` block to the request's trace."""
    token = _trace.set(trace_fields(headers, project))
    try:
        yield
    finally:
        _trace.reset(token)


def trace_fields(headers: Headers, project: str) -> dict[str, object]:
    """Cloud Logging's trace fields from `traceparent` (W3C) or `X-Cloud-Trace-Context`; empty without either.

    headers: looked up by these names as written; pass a mapping that ignores case.
    project: the trace's project; '' = unknown, and a trace without its project cannot be found.
    """
    if not project:
        return {}
    if w3c := re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", headers.get("traceparent", "")):
        trace, span, sampled = w3c[1], w3c[2], int(w3c[3], 16) & 1 == 1
    elif cloud := re.fullmatch(r"([0-9a-f]{32})(?:/(\d{1,20}))?(?:;o=(\d))?", headers.get("X-Cloud-Trace-Context", "")):
        trace, span, sampled = cloud[1], f"{int(cloud[2] or 0):016x}", cloud[3] == "1"
    else:
        return {}
    return {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace}",
        "logging.googleapis.com/spanId": span,
        "logging.googleapis.com/trace_sampled": sampled,
    }
