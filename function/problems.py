"""Errors as problem details: what a caller of POST /cut gets instead of an image.

https://www.rfc-editor.org/rfc/rfc9457
"""

import json
from http import HTTPStatus

from werkzeug.wrappers import Response

from shared.errors import (
    CutdropError,
    ImageTooLarge,
    InvalidOptions,
    RejectedUpload,
    RetryLater,
    UnsupportedMedia,
    UploadTooLarge,
)

CONTENT_TYPE = "application/problem+json"
TYPE = "tag:cutdrop.dev,2026:{code}"  # RFC 4151: a name, not an address
RETRY_AFTER_S = 10

STATUSES: dict[type[RejectedUpload], HTTPStatus] = {  # every other rejection is 422
    InvalidOptions: HTTPStatus.BAD_REQUEST,
    UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UploadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


class BadCall(Exception):
    """An error of the request itself, which no event can have."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


def problem(status: HTTPStatus, code: str, detail: str, *, title: str = "") -> Response:
    """The answer to a request that failed. detail: a sentence about this request. title: one about the code."""
    about = {
        "type": TYPE.format(code=code),
        "title": title or status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
    }
    response = Response(json.dumps(about, ensure_ascii=False), status.value, content_type=CONTENT_TYPE)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def of(error: RejectedUpload | RetryLater | BadCall) -> Response:
    """The answer with an error's own code."""
    if isinstance(error, BadCall):
        return problem(error.status, error.code, str(error))
    return problem(status_of(type(error)), error.code, str(error), title=title_of(type(error)))


def status_of(kind: type[CutdropError]) -> HTTPStatus:
    """The HTTP status of an error."""
    if issubclass(kind, RetryLater):
        return HTTPStatus(kind.status)
    return next((status for known, status in STATUSES.items() if issubclass(kind, known)), HTTPStatus(422))


def title_of(kind: type[CutdropError]) -> str:
    """The first sentence about an error's code."""
    return (kind.__doc__ or "").partition("\n")[0]
