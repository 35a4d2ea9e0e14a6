"""One HTTP request to the JSON API, its path and parameters parsed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from function.local.storage.body import Body
from function.local.storage.objects import Preconditions, StoreError, invalid, not_found
from function.local.storage.wire import split_multipart

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
_REFUSED = frozenset({"matchGlob", "softDeleted", "filter", "kmsKeyName", "predefinedAcl"})


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
