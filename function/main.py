"""The CloudEvent entry point and the only place where the service is put together.

functions-framework loads this file inside the worker process; `server.py` starts it. Nothing here runs at import.
"""

import logging
import os
import signal
import threading
import time
from functools import cache
from http import HTTPStatus

from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent
from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, MethodNotAllowed, ServiceUnavailable, UnsupportedMediaType

from function import logs, openapi, problems, wiring
from function.admission import Admission
from function.deliveries import Deliveries
from function.http_cut import HttpCut
from function.making import ResultMaker
from function.problems import BadCall
from function.settings import Settings
from shared.cutter import Cutter
from shared.decoder_pool import DecoderPool

DEMO = "embedded demo model, trained on rendered scenes: set MODEL for real work"
# What the framework raises for a request that claims to be a CloudEvent and is none; `Deliveries` raises none of them.
UNREADABLE = (BadRequest, UnsupportedMediaType, GenericException, ValueError, RecursionError)

OWN_ENDPOINTS = ("dead_letter", "cut")

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
def decoder() -> DecoderPool:
    return wiring.build_decoder(settings())


@cache
def maker() -> ResultMaker:
    return wiring.build_maker(settings(), cutter(), decoder())


@cache
def deliveries() -> Deliveries:
    """ServiceUnavailable if this server has no buckets: whoever sends it events has to mend that."""
    if not settings().has_buckets:
        raise ServiceUnavailable("this server has no OUTPUT_BUCKET; it only answers POST /cut")
    handler = wiring.build_handler(settings(), maker(), stopping=admission().stopping)
    return Deliveries(handler, admission(), project=project(), end_process=_end_process)


@cache
def http_cut() -> HttpCut:
    return HttpCut(maker(), admission(), settings(), project=project(), end_process=_end_process)


def project() -> str:
    return os.environ.get("GOOGLE_CLOUD_PROJECT", "")


def start() -> None:
    """Build everything, and pass one image through it. Raises SettingsError, WeightsError, GpuUnavailable."""
    began = time.monotonic()
    logs.configure(settings().log_level)
    decoder().start()
    wiring.warm_up(cutter(), settings().options)
    if settings().has_buckets:
        deliveries()
    else:
        http_cut()
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
    decoder().stop()


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def mount(app: Flask) -> None:
    """The routes beside the framework's own: readiness, pushes, dead letters, and on request single images.

    And the answer to what is no event.
    """
    app.add_url_rule("/startup", "startup", lambda: "ready\n", methods=["GET"])
    app.add_url_rule("/dead-letter", "dead_letter", on_dead_letter, methods=["POST"])
    if settings().http_cut:
        mount_http_cut(app)
    app.before_request(on_push)
    for problem in UNREADABLE:
        app.register_error_handler(problem, on_unreadable)


def mount_http_cut(app: Flask) -> None:
    """POST /cut and its description."""
    described = openapi.document(settings().options, settings().max_upload_bytes)
    app.add_url_rule(openapi.ROUTE, "cut", lambda: http_cut().answer(), methods=["POST"])
    app.add_url_rule("/openapi.json", "openapi", lambda: described, methods=["GET"])
    app.register_error_handler(MethodNotAllowed, on_other_method)


def on_upload(event: CloudEvent) -> None:
    """A CloudEvent, as the framework parsed it."""
    deliveries().event(event)


def on_push() -> str | None:
    """A POST that is no CloudEvent: a push of the bucket's own notification, or nothing that is known here.

    The framework would answer 4xx to some of them, after which Pub/Sub delivers them again.
    """
    if request.method != "POST" or request.endpoint in OWN_ENDPOINTS or _claims_to_be_a_cloudevent():
        return None
    deliveries().push(request.get_json(force=True, silent=True))
    return "OK"


def _claims_to_be_a_cloudevent() -> bool:
    """By its headers alone, or by a structured event's first attribute if the content type does not say it."""
    if "ce-specversion" in request.headers or request.mimetype.startswith("application/cloudevents"):
        return True
    body = request.get_json(force=True, silent=True)
    return isinstance(body, dict) and "specversion" in body


def on_dead_letter() -> str:
    """A push from the dead-letter topic."""
    deliveries().dead_letter(request.get_json(force=True, silent=True))
    return "OK"


def on_other_method(refusal: MethodNotAllowed) -> ResponseReturnValue:
    """A problem for callers of POST /cut, who expect one; everybody else gets the framework's own answer."""
    if request.path != openapi.ROUTE:
        return refusal
    answer = problems.of(BadCall(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "Only POST is answered here."))
    answer.headers["Allow"] = "POST"
    return answer


def on_unreadable(problem: Exception) -> str:
    """A request that says it is a CloudEvent and is none: acknowledged, because it will never be one."""
    deliveries().unreadable(f"the request is not a CloudEvent ({type(problem).__name__})")
    return "OK"
