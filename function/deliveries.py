"""One delivery of an event over HTTP, up to its answer and its line of the log.

Whatever is not answered 2xx is delivered again by Pub/Sub: only what may succeed later gets another answer.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from cloudevents.http import CloudEvent
from flask import request
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable, TooManyRequests

from function import logs
from function.admission import Admission
from function.handler import HandledUpload, Handler
from shared.context import trace_of
from shared.errors import GpuUnavailable, RetryLater, UnreadableEvent
from shared.events import parse_event, parse_push_envelope
from shared.records import Upload

RETRY_AFTER_S = 10  # the shortest time after which Pub/Sub delivers again

LOG = logging.getLogger("cutdrop")


class Deliveries:
    """Takes deliveries inside a Flask request; returns if the event is acknowledged, else raises HTTPException.

    project: the Google Cloud project of the request's trace; '' = unknown. end_process: called when the GPU failed.
    """

    def __init__(
        self, handler: Handler, admission: Admission, *, project: str, end_process: Callable[[], None]
    ) -> None:
        self._handler = handler
        self._admission = admission
        self._project = project
        self._end_process = end_process

    def event(self, event: CloudEvent) -> None:
        """A CloudEvent: Eventarc's own, or a storage notification that Eventarc wrapped."""
        with self._delivery():
            self._handle(parse_event(event.get_attributes(), event.data))

    def push(self, body: object) -> None:
        """The body of a Pub/Sub push: a storage notification."""
        with self._delivery():
            self._handle(parse_push_envelope(body))

    def dead_letter(self, body: object) -> None:
        """The body of a push from the dead-letter topic: an event delivered as often as its subscription allows."""
        with self._delivery():
            upload = parse_push_envelope(body)
            with self._answered(upload):
                _log(upload, self._handler.give_up(upload))

    def unreadable(self, problem: str) -> None:
        """A request that is no event at all. problem: what is wrong with it, for the log."""
        with self._delivery():
            raise UnreadableEvent(problem)

    def _handle(self, upload: Upload) -> None:
        with self._answered(upload):
            _log(upload, self._handler.handle(upload))

    @contextmanager
    def _delivery(self) -> Iterator[None]:
        """Join the log lines to the request's trace; acknowledge an event that cannot be read."""
        with logs.traced(request.headers, self._project):
            try:
                yield
            except UnreadableEvent as error:
                LOG.error("acknowledged and dropped: %s", error, extra={"fields": {"code": "unreadable_event"}})

    @contextmanager
    def _answered(self, upload: Upload) -> Iterator[None]:
        """Hold a slot; turn what handling raises into the answer after which the event is delivered again."""
        about = _about(upload)
        try:
            with self._admission.slot():
                yield
        except RetryLater as error:
            fields = about | {"status": "retry", "code": error.code}
            LOG.warning("%s: %s: %s", error.code, upload.uri, error, extra={"fields": fields})
            raise _http(error) from error
        except GpuUnavailable as error:
            # This process can compute no more: gunicorn starts another one, which checks the GPU first.
            LOG.critical("%s", error, extra={"fields": about | {"status": "retry", "code": "gpu_unavailable"}})
            self._end_process()
            raise ServiceUnavailable("the GPU failed", retry_after=RETRY_AFTER_S) from error
        except Exception as error:
            LOG.exception("failed: %s", upload.uri, extra={"fields": about | {"status": "crash"}})
            raise InternalServerError from error


def _http(error: RetryLater) -> HTTPException:
    kind = TooManyRequests if error.status == HTTPStatus.TOO_MANY_REQUESTS else ServiceUnavailable
    return kind(f"{error.code}: {error}", retry_after=RETRY_AFTER_S)


def _about(upload: Upload) -> dict[str, object]:
    about: dict[str, object] = {"source": upload.uri, "generation": str(upload.generation), "event": upload.event_id}
    trace = trace_of(upload)
    return about | ({"traceparent": trace.traceparent} if trace.traceparent else {})


def _log(upload: Upload, handled: HandledUpload) -> None:
    fields = _about(upload) | {"status": handled.status, "code": handled.code, "key": handled.key}
    if handled.message is not None:
        source, outputs = handled.message.source, handled.message.outputs
        fields |= {
            "bytes": source.bytes,
            "width": source.width,
            "height": source.height,
            "outputs": [{"uri": output.uri, "bytes": output.bytes} for output in outputs],
            "repeated": handled.repeated,
            "timings_ms": dict(handled.timings_ms),
            "model": handled.message.model.id,
        }
    if handled.detail:
        fields["detail"] = handled.detail
    level = logging.WARNING if handled.status == "failed" else logging.INFO
    text = f"{handled.status}{f' ({handled.code})' if handled.code else ''}: {upload.uri}"
    LOG.log(level, "%s%s", text, f": {handled.reason}" if handled.reason else "", extra={"fields": fields})
