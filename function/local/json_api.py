"""The part of the Cloud Storage JSON API that google-cloud-storage speaks, from request to response, without sockets.

What is not implemented is refused with 501, never ignored. https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from function.local.body import Body, flipped
from function.local.objects import (
    LARGEST_PAGE,
    WRITABLE,
    Listing,
    LiveObject,
    ObjectTable,
    Preconditions,
    StoreError,
    invalid,
    not_found,
)
from function.local.resumable import ContentRange, Session, Sessions, accept
from function.local.wire import (
    Response,
    bucket_resource,
    check_checksums,
    header_checksums,
    json_response,
    media_response,
    object_resource,
    resume_incomplete,
    split_multipart,
)

_NAME = r"(?P<{}>[^/]+)"
_BUCKET = "/b/" + _NAME.format("bucket")
_OBJECT = _BUCKET + "/o/" + _NAME.format("object")
_TARGET = "/b/" + _NAME.format("to_bucket") + "/o/" + _NAME.format("to_object")
_ROUTES = [  # method, path, operation
    ("GET", "/storage/v1/b", "list_buckets"),
    ("POST", "/storage/v1/b", "insert_bucket"),
    ("GET", f"/storage/v1{_BUCKET}", "get_bucket"),
    ("DELETE", f"/storage/v1{_BUCKET}", "delete_bucket"),
    ("GET", f"/storage/v1{_BUCKET}/o", "list"),
    ("GET", f"/(?:download/)?storage/v1{_OBJECT}", "get"),
    ("PATCH", f"/storage/v1{_OBJECT}", "patch"),
    ("PUT", f"/storage/v1{_OBJECT}", "replace_metadata"),
    ("DELETE", f"/storage/v1{_OBJECT}", "delete"),
    ("POST", f"/storage/v1{_OBJECT}/rewriteTo{_TARGET}", "rewrite"),
    ("POST", f"/storage/v1{_OBJECT}/copyTo{_TARGET}", "copy"),
    ("POST", f"/upload/storage/v1{_BUCKET}/o", "insert"),
    ("PUT", f"/upload/storage/v1{_BUCKET}/o", "chunk"),
    ("DELETE", f"/upload/storage/v1{_BUCKET}/o", "cancel"),
]
_COMPILED = [(method, re.compile(path), operation) for method, path, operation in _ROUTES]
_REFUSED = frozenset({"matchGlob", "versions", "softDeleted", "filter", "kmsKeyName", "predefinedAcl"})


@dataclass(kw_only=True)
class Request:
    """One HTTP request, its path parsed; the server fills in the rest as it reads on."""

    base_url: str  # http://host:port, as the client addressed the store
    operation: str
    names: Mapping[str, str]  # bucket, object, to_bucket, to_object
    query: Mapping[str, str]  # parameter names in lower case: the official client spells one of them in two ways
    headers: Mapping[str, str]  # names in lower case
    body: Body = field(default_factory=Body)
    upload_name: str = ""  # the object that a resumable upload will make
    damaged: bool = False  # the object's bytes arrive with a wrong bit

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str]) -> "Request":
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        for wanted, pattern, operation in _COMPILED:
            match = pattern.fullmatch(url.path) if wanted == method else None
            if match is None:
                continue
            if refused := _REFUSED & {name for name, value in query.items() if value not in ("", "false")}:
                raise StoreError(501, "notImplemented", f"This store does not implement {', '.join(sorted(refused))}.")
            return cls(
                base_url=f"http://{headers.get('Host', '127.0.0.1')}",
                operation=_precise(operation, query),
                names={key: unquote(value) for key, value in match.groupdict().items()},
                query={key.lower(): value for key, value in query.items()},
                headers={key.lower(): value for key, value in headers.items()},
            )
        raise not_found(f"Not Found: {method} {url.path}")

    @property
    def object_name(self) -> str:
        """The object that this request is about; empty for buckets and listings."""
        named = self.names.get("object") or self.upload_name or self.query.get("name", "")
        if not named and self.query.get("uploadtype") == "multipart":
            return str(self.multipart[0].get("name", ""))
        return named or (str(self.json.get("name", "")) if self.operation == "start" else "")

    @cached_property
    def multipart(self) -> tuple[dict[str, Any], str, bytes]:
        """Metadata, content type and bytes of a multipart upload."""
        return split_multipart(self.headers.get("content-type", ""), self.body.data())

    @cached_property
    def json(self) -> dict[str, Any]:
        data = self.body.data()
        try:
            parsed = json.loads(data) if data else {}
        except ValueError as error:
            raise invalid("Parse Error") from error
        if not isinstance(parsed, dict):
            raise invalid("Parse Error")
        return parsed

    def integer(self, name: str) -> int | None:
        value = self.query.get(name.lower(), "")
        if not re.fullmatch(r"-?\d*", value):
            raise invalid(f"Invalid value for: {value} is not a valid integer ({name})")
        return int(value) if value else None

    def conditions(self, prefix: str = "if") -> Preconditions:
        return Preconditions(
            generation_match=self.integer(f"{prefix}GenerationMatch"),
            generation_not_match=self.integer(f"{prefix}GenerationNotMatch"),
            metageneration_match=self.integer(f"{prefix}MetagenerationMatch"),
            metageneration_not_match=self.integer(f"{prefix}MetagenerationNotMatch"),
        )


def _precise(operation: str, query: Mapping[str, str]) -> str:
    if operation == "get" and query.get("alt") == "media":
        return "download"
    if operation == "insert" and query.get("uploadType") == "resumable":
        return "start"
    return operation


class JsonApi:
    """Answers requests from an ObjectTable."""

    def __init__(self, table: ObjectTable, spill_folder: Path | None) -> None:
        self._table = table
        self._folder = spill_folder
        self._sessions = Sessions()

    def upload_name(self, request: Request) -> str:
        """The object that a chunk belongs to."""
        return self._sessions.name(request.query.get("upload_id", ""))

    def answer(self, request: Request) -> Response:
        """Do what the request asks. Raises StoreError for what Cloud Storage refuses."""
        method: Callable[[Request], Response] = getattr(self, f"_{request.operation}")
        return method(request)

    def _list_buckets(self, request: Request) -> Response:
        items = [bucket_resource(bucket, request.base_url) for bucket in self._table.buckets()]
        return json_response({"kind": "storage#buckets", "items": items})

    def _insert_bucket(self, request: Request) -> Response:
        bucket = self._table.create_bucket(str(request.json.get("name", "")))
        return json_response(bucket_resource(bucket, request.base_url))

    def _get_bucket(self, request: Request) -> Response:
        return json_response(bucket_resource(self._table.bucket(request.names["bucket"]), request.base_url))

    def _delete_bucket(self, request: Request) -> Response:
        self._table.delete_bucket(request.names["bucket"])
        return Response(status=204)

    def _list(self, request: Request) -> Response:
        limit = request.integer("maxResults")
        listing = Listing(
            prefix=request.query.get("prefix", ""),
            delimiter=request.query.get("delimiter", ""),
            start=request.query.get("startoffset", ""),
            end=request.query.get("endoffset", ""),
            limit=LARGEST_PAGE if limit is None else max(1, min(limit, LARGEST_PAGE)),
            token=_open_token(request.query.get("pagetoken", "")),
        )
        page = self._table.page(request.names["bucket"], listing)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            answer["items"] = [object_resource(item, request.base_url) for item in page.items]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.token:
            answer["nextPageToken"] = base64.urlsafe_b64encode(page.token.encode()).decode()
        return json_response(answer)

    def _find(self, request: Request) -> LiveObject:
        return self._table.get(
            request.names["bucket"], request.names["object"], request.integer("generation"), request.conditions()
        )

    def _get(self, request: Request) -> Response:
        return json_response(object_resource(self._find(request), request.base_url))

    def _download(self, request: Request) -> Response:
        return media_response(self._find(request), request.headers)

    def _patch(self, request: Request) -> Response:
        return self._change(request, _patched)

    def _replace_metadata(self, request: Request) -> Response:
        return self._change(request, _replaced)

    def _change(
        self, request: Request, change: Callable[[Mapping[str, Any], dict[str, Any]], dict[str, Any]]
    ) -> Response:
        given = {key: value for key, value in request.json.items() if key in WRITABLE}
        changed = self._table.update(
            request.names["bucket"],
            request.names["object"],
            lambda fields: {key: value for key, value in change(fields, given).items() if value is not None},
            request.integer("generation"),
            request.conditions(),
        )
        return json_response(object_resource(changed, request.base_url))

    def _delete(self, request: Request) -> Response:
        self._table.delete(
            request.names["bucket"], request.names["object"], request.integer("generation"), request.conditions()
        )
        return Response(status=204)

    def _rewrite(self, request: Request) -> Response:
        made = self._copied(request)
        size = str(made.body.size)
        answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": True}
        return json_response({**answer, "resource": object_resource(made, request.base_url)})

    def _copy(self, request: Request) -> Response:
        return json_response(object_resource(self._copied(request), request.base_url))

    def _copied(self, request: Request) -> LiveObject:
        source = self._table.get(
            request.names["bucket"],
            request.names["object"],
            request.integer("sourceGeneration"),
            request.conditions("ifSource"),
        )
        return self._table.insert(
            request.names["to_bucket"],
            request.names["to_object"],
            source.body,
            {**source.fields, **_writable(request.json)},
            request.conditions(),
        )

    def _insert(self, request: Request) -> Response:
        kind, content_type = request.query.get("uploadtype", ""), request.headers.get("content-type", "")
        given: dict[str, Any] = {}
        if kind == "media":
            body = request.body
        elif kind == "multipart":
            given, content_type, data = request.multipart
            body = Body(data, folder=self._folder)
        else:
            raise invalid(f"Unknown uploadType: {kind!r}")
        if request.damaged:
            body = self._damage(body)
        check_checksums(body, {**given, **header_checksums(request.headers)})
        fields = {"contentType": content_type or "application/octet-stream", **_writable(given)}
        made = self._table.insert(request.names["bucket"], request.object_name, body, fields, request.conditions())
        return json_response(object_resource(made, request.base_url))

    def _start(self, request: Request) -> Response:
        given = request.json
        bucket, name = request.names["bucket"], request.object_name
        conditions = request.conditions()
        conditions.check(self._table.live(bucket, name))
        content_type = request.headers.get("x-upload-content-type", "application/octet-stream")
        declared = request.headers.get("x-upload-content-length", "")
        session = Session(
            bucket=bucket,
            name=name,
            fields={"contentType": content_type, **_writable(given)},
            checksums={key: given[key] for key in ("crc32c", "md5Hash") if key in given},
            conditions=conditions,
            declared=int(declared) if declared.isdigit() else None,
            body=Body(folder=self._folder),
        )
        self._sessions.add(session)
        query = f"uploadType=resumable&upload_id={session.id}"
        location = f"{request.base_url}/upload/storage/v1/b/{quote(bucket, safe='')}/o?{query}"
        return Response(headers={"Location": location, "X-GUploader-UploadID": session.id})

    def _chunk(self, request: Request) -> Response:
        session = self._sessions.get(request.query.get("upload_id", ""))
        with session.lock:
            if session.result is None:
                chunk = self._damage(request.body) if request.damaged else request.body
                if not accept(session, chunk, ContentRange.parse(request.headers.get("content-range", ""), chunk.size)):
                    return resume_incomplete(session.body.size)
                self._finalize(session, request)
        return json_response(object_resource(session.result, request.base_url)) if session.result else Response()

    def keep_part(self, request: Request) -> None:
        """Keep what arrived of a chunk whose connection broke."""
        session = self._sessions.get(request.query.get("upload_id", ""))
        with session.lock:
            if session.result is None:
                content_range = ContentRange.parse(request.headers.get("content-range", ""), request.body.size)
                accept(session, request.body, content_range)

    def _damage(self, body: Body) -> Body:
        damaged = Body(folder=self._folder)
        for block in flipped(body.blocks()):
            damaged.append(block)
        return damaged

    def _finalize(self, session: Session, request: Request) -> None:
        check_checksums(session.body, {**session.checksums, **header_checksums(request.headers)})
        session.result = self._table.insert(
            session.bucket, session.name, session.body, session.fields, session.conditions
        )

    def _cancel(self, request: Request) -> Response:
        self._sessions.cancel(request.query.get("upload_id", ""))
        return Response(status=499)


def _writable(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key in WRITABLE and value is not None}


def _patched(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields after a PATCH: absent ones stay, null ones go; custom metadata likewise, key by key."""
    metadata = given.get("metadata", {})
    if isinstance(metadata, dict):
        merged = {**fields.get("metadata", {}), **metadata}
        metadata = {key: value for key, value in merged.items() if value is not None}
    return {**fields, **given, "metadata": metadata or None}


def _replaced(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {"storageClass": fields["storageClass"], **given}


def _open_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError as error:
        raise invalid("Invalid pageToken") from error
