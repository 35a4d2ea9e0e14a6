"""POST /cut: the bytes of an image in, the bytes of its cutout out, by the same steps as an upload of the bucket.

Options are query parameters with the names of an upload's metadata; `Accept` chooses the format unless the query does.
What the message says of an upload is in the headers of the answer. Nothing is stored and nothing is published.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus

from flask import request
from werkzeug.datastructures import MIMEAccept, MultiDict
from werkzeug.wrappers import Response

from function import logs, problems
from function.admission import Admission
from function.making import ResultMaker
from function.plan import Plan, PlannedOutput
from function.problems import BadCall
from function.progress import UploadProgress
from function.settings import Settings
from function.unstored import UnstoredResult
from shared import encoding
from shared.errors import GpuUnavailable, InvalidOptions, RejectedUpload, RetryLater, UploadTooLarge
from shared.options import CutOptions, OutputFormat, canonical_name
from shared.records import Upload
from shared.report import ImageInfo, Report
from shared.subscriber.message_types import PRIMARY

BODY_WITHIN_S = 60.0  # of a request, from its headers to its last byte
BLOCK = 1 << 18  # bytes
GPU_UNAVAILABLE, INTERNAL_ERROR = "gpu_unavailable", "internal_error"
STEPS = ("download", "decode", "segment", "matte", "upscale", "encode", "total")

LOG = logging.getLogger("cutdrop")


class HttpCut:
    """Answers requests, from any number of threads.

    project: the Google Cloud project of the request's trace; '' = unknown. end_process: called when the GPU failed.
    """

    def __init__(
        self,
        maker: ResultMaker,
        admission: Admission,
        settings: Settings,
        *,
        project: str,
        end_process: Callable[[], None],
    ) -> None:
        self._maker = maker
        self._admission = admission
        self._settings = settings
        self._project = project
        self._end_process = end_process

    def answer(self) -> Response:
        """The answer to the Flask request at hand: an image or a problem."""
        upload = Upload(bucket="", name=request.path, generation=0, content_type=request.mimetype)
        progress = UploadProgress(upload=upload, now=time.time, stopping=self._admission.stopping)
        with logs.traced(request.headers, self._project):
            try:
                response, code = self._cut(progress), ""
            except (BadCall, RejectedUpload, RetryLater) as error:
                response, code = problems.of(error), error.code
                progress.detail = getattr(error, "detail", "")
            except Exception as error:
                response, code = self._fault(error)
            _log(progress, response, code)
        return response

    def _cut(self, progress: UploadProgress) -> Response:
        options = chosen_options(request.args, request.accept_mimetypes, self._settings.options)
        self._maker.cutter.weights_sha256(options)  # InvalidOptions if a network is not loaded
        with progress.timed("download"):
            data = _body(self._settings.max_upload_bytes)
        with self._admission.slot():
            output = PlannedOutput(role=PRIMARY, options=options, name="")
            progress.plan = Plan(upload=progress.upload, key="", outputs=(output,))
            made = self._maker.make(data, progress.plan, progress)
        progress.timings_ms["total"] = progress.spent_ms()
        return _image(made, progress)

    def _fault(self, error: Exception) -> tuple[Response, str]:
        """What is no fault of the caller's."""
        if isinstance(error, GpuUnavailable):
            # This process can compute no more: gunicorn starts another one, which checks the GPU first.
            LOG.critical("%s", error)
            self._end_process()
            detail = "The GPU failed; another instance takes over."
            return problems.problem(HTTPStatus.SERVICE_UNAVAILABLE, GPU_UNAVAILABLE, detail), GPU_UNAVAILABLE
        LOG.exception("failed: POST %s", request.path)
        detail = "An error of the service; its log has the reason."
        return problems.problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR, detail), INTERNAL_ERROR


def chosen_options(args: "MultiDict[str, str]", accept: MIMEAccept, base: CutOptions) -> CutOptions:
    """The options of a request. InvalidOptions; BadCall if there is no format that the caller accepts."""
    if twice := [name for name, values in args.lists() if len(values) > 1]:
        raise InvalidOptions(f"{', '.join(twice)}: given twice")
    asked = args.to_dict()
    if any(canonical_name(name) == "output_format" for name in asked):
        options = CutOptions.from_texts(asked, base=base)
        if accept and not accept.quality(encoding.content_type(options)):
            raise _not_acceptable(f"The query asks for {encoding.content_type(options)}, which Accept leaves out.")
        return options
    first_problem: InvalidOptions | None = None
    for output_format in _accepted_formats(accept, base.output_format):
        try:
            return CutOptions.from_texts({**asked, "output_format": output_format}, base=base)
        except InvalidOptions as error:  # a format that cannot hold what is asked for: perhaps another one can
            first_problem = first_problem or error
    raise first_problem or _not_acceptable(f"Results are {', '.join(kind for _, kind, _ in encoding.FILES.values())}.")


def _accepted_formats(accept: MIMEAccept, default: OutputFormat) -> list[OutputFormat]:
    """Formats that a caller takes, its favourite first; among equals the service's own format first."""
    formats = sorted(OutputFormat, key=lambda item: item is not default)
    if not accept:
        return formats[:1]
    quality = {item: accept.quality(encoding.FILES[item][1]) for item in formats}
    return sorted((item for item in formats if quality[item]), key=lambda item: -quality[item])


def _not_acceptable(detail: str) -> BadCall:
    return BadCall(HTTPStatus.NOT_ACCEPTABLE, "not_acceptable", detail)


def _body(limit: int) -> bytes:
    """The request's body. UploadTooLarge above limit bytes; BadCall if it does not come whole, or too slowly.

    A body that is too large is read to its end all the same, and forgotten: many clients send all before they listen.
    """
    connection = request.environ.get("gunicorn.socket")
    end, data, size = time.monotonic() + BODY_WITHIN_S, bytearray(), 0
    try:
        if connection is not None:
            connection.settimeout(BODY_WITHIN_S)
        while block := request.stream.read(BLOCK):
            size += len(block)
            data += block if size <= limit else b""
            if time.monotonic() > end:
                raise TimeoutError
    except TimeoutError as error:
        detail = f"The body did not come within {BODY_WITHIN_S:g} s."
        raise BadCall(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail) from error
    except Exception as error:  # of the HTTP server's own kinds: the caller went away, or its framing is wrong
        raise BadCall(HTTPStatus.BAD_REQUEST, "bad_request", "The body did not come whole.") from error
    finally:
        if connection is not None:
            connection.settimeout(None)
    if size < (request.content_length or 0):
        raise BadCall(HTTPStatus.BAD_REQUEST, "bad_request", "The body did not come whole.")
    if size > limit:
        raise UploadTooLarge(f"{size} bytes; at most {limit} are taken")
    return bytes(data)


def _image(made: UnstoredResult, progress: UploadProgress) -> Response:
    image, report = made.images[0], made.report
    response = Response(image.data, content_type=image.content_type)
    response.headers.extend(_headers(report))
    response.headers["Server-Timing"] = ", ".join(
        f"{step};dur={progress.timings_ms[step]:g}" for step in STEPS if step in progress.timings_ms
    )
    return response


def _headers(report: Report) -> dict[str, str]:
    """Of the answer: what the message of an upload says, in ASCII."""
    subject = asdict(report.subject)
    return {
        "Cutdrop-Subject": json.dumps(subject),
        "Cutdrop-Confidence": f"{report.subject.confidence:g}",
        "Cutdrop-Review": "true" if report.review else "false",
        "Cutdrop-Model": json.dumps(asdict(report.model)),
        "Cutdrop-Notes": json.dumps(dict(report.notes)),
    }


def _log(progress: UploadProgress, response: Response, code: str) -> None:
    later = response.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    status = "crash" if code == INTERNAL_ERROR else "retry" if later else "failed" if code else "completed"
    decoded = progress.decoded or ImageInfo()
    fields: dict[str, object] = {
        "source": f"POST {progress.upload.name}",
        "status": status,
        "code": code,
        "http_status": response.status_code,
        "bytes": decoded.bytes,
        "width": decoded.width,
        "height": decoded.height,
        "repeated": False,
        "timings_ms": dict(progress.timings_ms),
    }
    if progress.detail:
        fields["detail"] = progress.detail
    text = f"{status}{f' ({code})' if code else ''}: POST {progress.upload.name}"
    LOG.log(logging.WARNING if code else logging.INFO, "%s", text, extra={"fields": fields})
