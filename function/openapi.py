"""The description of POST /cut for GET /openapi.json, made from the table of options and the tree of errors.

https://spec.openapis.org/oas/v3.1.0
"""

from typing import Any

from function import problems
from shared import encoding, errors
from shared.options import DOCS, PARSERS, CutOptions
from shared.parsers import WORDS, Parser
from shared.report import VERSION

ROUTE = "/cut"
CALLERS_ERRORS = (  # those of an upload that a request can have as well
    errors.UnsupportedMedia,
    errors.CorruptImage,
    errors.ImageTooLarge,
    errors.ImageTooComplex,
    errors.UploadTooLarge,
    errors.InvalidOptions,
    errors.NoSubject,
    errors.NetworkFailed,
    errors.OutOfGpuMemory,
    errors.Busy,
    errors.ShuttingDown,
)
OWN_ERRORS = {  # of HTTP, status -> code
    400: "bad_request",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    500: "internal_error",
    503: "gpu_unavailable",
}
BINARY = {"type": "string", "format": "binary"}
NUMBER, TEXT = {"type": "number"}, {"type": "string"}


def document(defaults: CutOptions, max_upload_bytes: int) -> dict[str, Any]:
    """The OpenAPI document as JSON has it. defaults: of the service's options."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cutdrop",
            "version": VERSION,
            "description": "Removes the background of one image. Nothing is stored.",
        },
        "paths": {ROUTE: {"post": _operation(defaults, max_upload_bytes)}},
        "components": {"schemas": {"Problem": _problem()}, "headers": _headers()},
    }


def _operation(defaults: CutOptions, max_upload_bytes: int) -> dict[str, Any]:
    return {
        "operationId": "cut",
        "summary": "The cutout of an image",
        "description": "Options that are left out have the service's defaults. `Accept` chooses the format of the "
        "result unless `output_format` does.",
        "parameters": [_parameter(name, text) for name, text in defaults.as_texts().items()],
        "requestBody": {
            "required": True,
            "description": f"The bytes of the image, at most {max_upload_bytes}; their content type is not looked at.",
            "content": {"application/octet-stream": {"schema": BINARY}},
        },
        "responses": {"200": _success(), **_failures()},
    }


def _parameter(name: str, default: str) -> dict[str, Any]:
    described = f"{DOCS[name]}. Default: {default or 'empty'}."
    return {"name": name, "in": "query", "description": described, "schema": _schema(PARSERS[name])}


def _schema(parser: Parser[Any]) -> dict[str, Any]:
    if parser.kind == "boolean":
        return {"enum": list(WORDS)}
    if parser.kind == "choice":
        return {"enum": [str(word) for word in (*parser.choices, *parser.aliases)]}
    if parser.kind == "integer" and parser.step > 1:
        return {"enum": list(range(int(parser.low), int(parser.high) + 1, int(parser.step)))}
    if parser.kind in ("integer", "number"):
        return {"type": parser.kind, "minimum": parser.low, "maximum": parser.high}
    return TEXT


def _success() -> dict[str, Any]:
    return {
        "description": "The cutout",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _headers()},
        "content": {kind: {"schema": BINARY} for _, kind, _ in encoding.FILES.values()},
    }


def _failures() -> dict[str, Any]:
    """Responses by status, each with its codes."""
    codes: dict[int, list[str]] = {status: [code] for status, code in OWN_ERRORS.items()}
    for kind in CALLERS_ERRORS:
        codes.setdefault(problems.status_of(kind).value, []).append(kind.code)
    content = {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": f"`code` is {' or '.join(sorted(names))}", "content": content}
        for status, names in sorted(codes.items())
    }


def _problem() -> dict[str, Any]:
    codes = sorted({*OWN_ERRORS.values(), *(kind.code for kind in CALLERS_ERRORS)})
    return {
        "type": "object",
        "description": "RFC 9457. `detail` is a sentence for a person, `code` a word for a program.",
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "code": {"enum": codes},
        },
        "required": ["type", "title", "status", "detail", "code"],
    }


def _headers() -> dict[str, Any]:
    said = {
        "Cutdrop-Subject": ("JSON: coverage, uncertain, box and confidence, as in the message of an upload", TEXT),
        "Cutdrop-Confidence": ("the probability that the cutout is good, 0 to 1; 0 = unknown", NUMBER),
        "Cutdrop-Review": ("whether a person should look at the result", {"enum": ["true", "false"]}),
        "Cutdrop-Model": ("JSON: the weights that ran", TEXT),
        "Cutdrop-Notes": ("JSON: what was ignored or not done", TEXT),
        "Server-Timing": ("milliseconds of each step", TEXT),
    }
    return {name: {"description": text, "required": True, "schema": schema} for name, (text, schema) in said.items()}
