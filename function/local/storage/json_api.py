"""The part of the Cloud Storage JSON API that google-cloud-storage speaks, from request to response, without sockets.

What is not implemented is refused with 501, never ignored. https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from function.local.storage.body import Body, flipped
from function.local.storage.listing import LARGEST_PAGE, ListQuery, page
from function.local.storage.objects import WRITABLE, LiveObject, ObjectTable, StoreError, invalid
from function.local.storage.request import Request
from function.local.storage.resumable import ContentRange, Session, Sessions, accept
from function.local.storage.wire import (
    Response,
    bucket_resource,
    check_checksums,
    header_checksums,
    json_response,
    media_response,
    object_resource,
    resume_incomplete,
)


class JsonApi:
    """Answers requests from an ObjectTable."""

    def __init__(self, table: ObjectTable, spill_folder: Path | None) -> None:
        self._table = table
        self._folder = spill_folder
        self._sessions = Sessions()
        self._operations: Mapping[str, Callable[[Request], Response]] = {
            "list_buckets": self._list_buckets,
            "insert_bucket": self._insert_bucket,
            "get_bucket": self._get_bucket,
            "delete_bucket": self._delete_bucket,
            "list": self._list,
            "get": self._get,
            "download": self._download,
            "patch": self._patch,
            "replace_metadata": self._replace_metadata,
            "delete": self._delete,
            "rewrite": self._rewrite,
            "copy": self._copy,
            "insert": self._insert,
            "start": self._start,
            "chunk": self._chunk,
            "cancel": self._cancel,
        }

    def upload_name(self, request: Request) -> str:
        """The object that a chunk belongs to."""
        return self._sessions.name(request.query.get("upload_id", ""))

    def answer(self, request: Request) -> Response:
        """Do what the request asks. Raises StoreError for what Cloud Storage refuses."""
        return self._operations[request.operation](request)

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
        query = ListQuery(
            prefix=request.query.get("prefix", ""),
            delimiter=request.query.get("delimiter", ""),
            start=request.query.get("startoffset", ""),
            end=request.query.get("endoffset", ""),
            limit=LARGEST_PAGE if limit is None else max(1, min(limit, LARGEST_PAGE)),
            token=_open_token(request.query.get("pagetoken", "")),
        )
        found = page(self._table.objects(request.names["bucket"]), query)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if found.items:
            answer["items"] = [object_resource(item, request.base_url) for item in found.items]
        if found.prefixes:
            answer["prefixes"] = found.prefixes
        if found.token:
            answer["nextPageToken"] = base64.urlsafe_b64encode(found.token.encode()).decode()
        return json_response(answer)

    def _find(self, request: Request) -> LiveObject:
        return self._table.get(
            request.names["bucket"], request.names["object"], request.integer("generation"), request.conditions()
        )

    def _get(self, request: Request) -> Response:
        return json_response(object_resource(self._find(request), request.base_url))

    def _download(self, request: Request) -> Response:
        found = self._find(request)
        if found.body.discarded:
            raise StoreError(410, "gone", f"The bytes of {found.bucket}/{found.name} were discarded.")
        return media_response(found, request.headers)

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
