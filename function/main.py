"""The CloudEvent entry point: deliveries in, answers out, one line of the log for each.

functions-framework loads this file inside the worker process; `server.py` starts it. Nothing here runs at import.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus

from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent, from_http
from flask import Flask, request
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable, TooManyRequests

from function import logs, wiring
from function.admission import Admission
from function.handler import HandledUpload, Handler
from function.settings import Settings
from shared.cutter import Cutter
from shared.errors import GpuUnavailable, RetryLater, UnreadableEvent
from shared.events import parse_event, parse_push_envelope
from shared.records import Upload

RETRY_AFTER_S = 10  # the shortest time after which Pub/Sub delivers again
DEMO = "embedded demo model, trained on rendered scenes: set MODEL for real work"

LOG = logging.getLogger("cutdrop")


@cache
def settings() -> Settings:
    return Settings.from_env(os.environ)


@cache
def admission() -> Admission:
    return Admission(settings().concurrency)


@cache
def cutter() -> Cutter:
    return wiring.build_cutter(settings())


@cache
def handler() -> Handler:
    return wiring.build_handler(settings(), cutter(), stopping=admission().stopping)


def start() -> None:
    """Build everything, and pass one image through it. Raises SettingsError, WeightsError, GpuUnavailable."""
    began = time.monotonic()
    logs.configure(settings().log_level)
    handler()
    wiring.warm_up(cutter(), settings().options)
    threading.Thread(target=_end_waiting, name="drain", daemon=True).start()
    model = cutter().model
    if model.id == "embedded":
        LOG.warning(DEMO)
    LOG.info(
        "ready with %s on %s, %s",
        model.id,
        model.device,
        model.dtype,
        extra={"fields": {"model": model.id, "sha256": model.sha256, "seconds": round(time.monotonic() - began, 1)}},
    )


def stop() -> None:
    """Take nothing new. Safe in a signal handler."""
    admission().close()


def _end_waiting() -> None:
    """When the time after SIGTERM is over: answer those that still wait for the network, before they are killed."""
    while not admission().stopping():
        time.sleep(0.2)
    LOG.info("stopping: uploads that have not reached the network are handed back")
    cutter().stop()


def mount(app: Flask) -> None:
    """The routes beside the framework's own: is it ready, pushes, dead letters."""
    app.add_url_rule("/startup", "startup", lambda: "ready\n", methods=["GET"])
    app.add_url_rule("/dead-letter", "dead_letter", on_dead_letter, methods=["POST"])
    app.before_request(on_push)


def on_upload(event: CloudEvent) -> None:
    """A CloudEvent: Eventarc's own, or a storage notification that Eventarc wrapped."""
    _take(lambda: parse_event(event.get_attributes(), event.data), lambda upload: handler().handle(upload))


def on_push() -> str | None:
    """A POST that is no CloudEvent: a push of the bucket's notification, or nothing that we know.

    The framework would answer 4xx to some of them, which Pub/Sub takes for "deliver it again".
    """
    if request.method != "POST" or request.path == "/dead-letter":
        return None
    try:
        from_http(dict(request.headers), request.get_data())
    except (GenericException, ValueError):
        return _take(_pushed, lambda upload: handler().handle(upload))
    return None


def on_dead_letter() -> str:
    """A push from the dead-letter topic: an event that was delivered as often as its subscription allows."""
    return _take(_pushed, lambda upload: handler().give_up(upload))


def _pushed() -> Upload:
    return parse_push_envelope(request.get_json(force=True, silent=True))


def _take(read: Callable[[], Upload], act: Callable[[Upload], HandledUpload]) -> str:
    """Bring one delivery to its answer, and say so in one line of the log.

    Every answer but 2xx is delivered again: only what may succeed later gets one.
    """
    with logs.traced(request.headers, os.environ.get("GOOGLE_CLOUD_PROJECT", "")):
        try:
            upload = read()
        except UnreadableEvent as error:
            LOG.error("acknowledged and dropped: %s", error, extra={"fields": {"code": "unreadable_event"}})
            return "OK"
        about = {"source": upload.uri, "generation": str(upload.generation), "event": upload.event_id}
        try:
            with admission().slot():
                outcome = act(upload)
        except RetryLater as error:
            fields = about | {"status": "retry", "code": error.code}
            LOG.warning("%s: %s: %s", error.code, upload.uri, error, extra={"fields": fields})
            raise _http(error) from error
        except GpuUnavailable as error:
            # This process can compute no more: gunicorn starts another one, which checks the GPU first.
            LOG.critical("%s", error, extra={"fields": about | {"status": "retry", "code": "gpu_unavailable"}})
            os.kill(os.getpid(), signal.SIGTERM)
            raise ServiceUnavailable("the GPU failed", retry_after=RETRY_AFTER_S) from error
        except Exception as error:
            LOG.exception("failed: %s", upload.uri, extra={"fields": about | {"status": "crash"}})
            raise InternalServerError from error
        _log(outcome, upload, about)
        return "OK"


def _http(error: RetryLater) -> HTTPException:
    kind = TooManyRequests if error.status == HTTPStatus.TOO_MANY_REQUESTS else ServiceUnavailable
    return kind(f"{error.code}: {error}", retry_after=RETRY_AFTER_S)


def _log(outcome: HandledUpload, upload: Upload, about: dict[str, str]) -> None:
    fields: dict[str, object] = {**about, "status": outcome.status, "code": outcome.code, "key": outcome.key}
    if outcome.message is not None:
        source, outputs = outcome.message.source, outcome.message.outputs
        fields |= {
            "bytes": source.bytes,
            "width": source.width,
            "height": source.height,
            "outputs": [{"uri": output.uri, "bytes": output.bytes} for output in outputs],
            "repeated": outcome.repeated,
            "timings_ms": dict(outcome.timings_ms),
            "model": outcome.message.model.id,
        }
    level = logging.WARNING if outcome.status == "failed" else logging.INFO
    said = f"{outcome.status}{f' ({outcome.code})' if outcome.code else ''}: {upload.uri}"
    LOG.log(level, "%s%s", said, f": {outcome.reason}" if outcome.reason else "", extra={"fields": fields})
