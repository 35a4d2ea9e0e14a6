"""The JSON API's representations: resources, errors, media, multipart bodies, checksums."""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from function.local.storage.body import Body
from function.local.storage.objects import Bucket, LiveObject, Resource, StoreError, invalid, rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP response; `blocks` gives `length` bytes."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int = 0
    blocks: Iterable[bytes] = ()


def json_response(data: Mapping[str, Any], status: int = 200) -> Response:
    body = json.dumps(data).encode()
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Response(status=status, headers=headers, length=len(body), blocks=(body,))


def text_response(text: str, status: int) -> Response:
    body = text.encode()
    headers = {"Content-Type": "text/html; charset=UTF-8"}
    return Response(status=status, headers=headers, length=len(body), blocks=(body,))


def error_response(error: StoreError, operation: str = "") -> Response:
    """The JSON API's error document; plain text for a media request; no body with 304."""
    if error.status == 304:
        return Response(status=304)
    if operation == "download":
        return text_response(error.message, error.status)
    detail = {"message": error.message, "domain": "global", "reason": error.reason}
    return json_response(
        {"error": {"code": error.status, "message": error.message, "errors": [detail]}}, status=error.status
    )


def bucket_resource(bucket: Bucket, base_url: str) -> Resource:
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{base_url}/storage/v1/b/{quote(bucket.name, safe='')}",
        "timeCreated": rfc3339(bucket.created),
        "updated": rfc3339(bucket.created),
        "metageneration": "1",
        "location": "LOCAL",
        "storageClass": "STANDARD",
    }


def object_resource(item: LiveObject, base_url: str) -> Resource:
    """An object as metadata requests and finalize events show it: 64-bit numbers are text."""
    path = f"b/{quote(item.bucket, safe='')}/o/{quote(item.name, safe='')}"
    return {
        "kind": "storage#object",
        "id": f"{item.bucket}/{item.name}/{item.generation}",
        "selfLink": f"{base_url}/storage/v1/{path}",
        "mediaLink": f"{base_url}/download/storage/v1/{path}?generation={item.generation}&alt=media",
        "name": item.name,
        "bucket": item.bucket,
        "generation": str(item.generation),
        "metageneration": str(item.metageneration),
        "size": str(item.body.size),
        "md5Hash": item.body.md5,
        "crc32c": item.body.crc32c,
        "etag": item.etag,
        "timeCreated": rfc3339(item.created),
        "updated": rfc3339(item.updated),
        "timeStorageClassUpdated": rfc3339(item.created),
        "timeFinalized": rfc3339(item.created),
        **item.fields,
    }


def media_response(item: LiveObject, headers: Mapping[str, str]) -> Response:
    """The object's bytes: all or a range; decompressed if it is stored as gzip and the client does not accept gzip."""
    encoding = item.fields.get("contentEncoding", "")
    common = {
        "Content-Type": item.fields.get("contentType", "application/octet-stream"),
        "ETag": item.etag,
        "Last-Modified": format_datetime(item.updated, usegmt=True),
        "X-Goog-Generation": str(item.generation),
        "X-Goog-Metageneration": str(item.metageneration),
        "X-Goog-Hash": f"crc32c={item.body.crc32c},md5={item.body.md5}",
        "X-Goog-Storage-Class": str(item.fields["storageClass"]),
        "X-Goog-Stored-Content-Encoding": encoding or "identity",
        "X-Goog-Stored-Content-Length": str(item.body.size),
    }
    for key in ("cacheControl", "contentDisposition", "contentLanguage"):
        if key in item.fields:
            common[re.sub(r"([A-Z])", r"-\1", key).title()] = str(item.fields[key])
    if encoding == "gzip" and "gzip" not in headers.get("accept-encoding", ""):
        plain = gzip.decompress(item.body.data())
        return Response(headers={**common, "Warning": "214 UploadServer gunzipped"}, length=len(plain), blocks=(plain,))
    if encoding:
        common["Content-Encoding"] = encoding
    return _ranged(item.body, {**common, "Accept-Ranges": "bytes"}, headers.get("range", ""))


def _ranged(body: Body, headers: dict[str, str], wanted: str) -> Response:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if match is None or match[0] == "bytes=-":
        return Response(headers=headers, length=body.size, blocks=body.blocks())
    if match[1]:
        start, end = int(match[1]), min(int(match[2] or body.size), body.size - 1) + 1
    else:
        start, end = max(0, body.size - int(match[2])), body.size
    if start >= body.size or end <= start:
        refusal = text_response("The requested range cannot be satisfied.", 416)
        content_range = {"Content-Range": f"bytes */{body.size}"}
        return Response(
            status=416, headers={**refusal.headers, **content_range}, length=refusal.length, blocks=refusal.blocks
        )
    headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{body.size}"}
    return Response(status=206, headers=headers, length=end - start, blocks=body.blocks(start, end))


def resume_incomplete(kept: int) -> Response:
    """The answer to a chunk or a question of an upload in progress; no Range while nothing is kept."""
    return Response(status=308, headers={"Range": f"bytes=0-{kept - 1}"} if kept else {})


def split_multipart(content_type: str, body: bytes) -> tuple[dict[str, Any], str, bytes]:
    """Metadata, content type and bytes of a multipart/related upload."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if match is None:
        raise invalid("Missing multipart boundary.")
    boundary = match[1].encode()
    try:
        metadata_part, media_part = _parts(body, boundary)
        metadata = json.loads(metadata_part[1] or b"{}")
    except ValueError as error:
        raise invalid("Failed to parse Content-Type header or multipart body.") from error
    if not isinstance(metadata, dict):
        raise invalid("Parse Error")
    return metadata, _header(media_part[0], b"content-type"), media_part[1]


def _parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """(headers, content) of each part. The media may hold anything, so it ends at the last boundary."""
    opening, closing = b"--" + boundary, b"\r\n--" + boundary
    first = body.index(opening) + len(opening)
    second = body.index(closing, first)
    last = body.rindex(closing + b"--")
    parts = []
    for start, end in ((first, second), (second + len(closing), last)):
        headers_end = body.index(b"\r\n\r\n", start)
        parts.append((body[start:headers_end], body[headers_end + 4 : end]))
    return parts


def _header(headers: bytes, name: bytes) -> str:
    for line in headers.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return ""


def header_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """What an X-Goog-Hash request header announces, under the names of the object resource."""
    found = {}
    for item in headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind in ("crc32c", "md5"):
            found["md5Hash" if kind == "md5" else kind] = value
    return found


def check_checksums(body: Body, announced: Mapping[str, Any]) -> None:
    """Refuse bytes whose checksum differs from an announced one."""
    for key, label in (("crc32c", "CRC32C"), ("md5Hash", "MD5")):
        expected = announced.get(key)
        if expected is None:
            continue
        actual = body.crc32c if key == "crc32c" else body.md5
        if expected != actual:
            raise invalid(f'Provided {label} "{expected}" doesn\'t match calculated {label} "{actual}".')
