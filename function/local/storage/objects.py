"""What the local object store holds: buckets, live objects, generations, and the rules of a conditional request.

Behaviour follows the Cloud Storage JSON API without versioning: https://cloud.google.com/storage/docs/json_api
"""

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from function.local.storage.body import Body

METADATA_LIMIT = 8192  # bytes of custom metadata, keys and values together
WRITABLE = frozenset(
    {
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "customTime",
        "metadata",
        "storageClass",
    }
)

Resource = dict[str, Any]  # an object or bucket as the JSON API shows it


class StoreError(Exception):
    """A request that Cloud Storage refuses: HTTP status, the JSON API's reason, and its sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def not_found(message: str) -> StoreError:
    return StoreError(404, "notFound", message)


def invalid(message: str) -> StoreError:
    return StoreError(400, "invalid", message)


def condition_failed() -> StoreError:
    return StoreError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LiveObject:
    """One generation of one object. `fields` holds what clients may set, under the JSON API's names."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    body: Body
    fields: Mapping[str, Any]
    created: datetime
    updated: datetime

    @property
    def etag(self) -> str:
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The ifGenerationMatch family of one request; generation 0 stands for "no live object"."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, live: LiveObject | None, *, reading: bool = False) -> None:
        """Raise 412, or 304 for a read whose "not match" condition fails."""
        generation = live.generation if live else 0
        metageneration = live.metageneration if live else None
        if self.generation_match is not None and generation != self.generation_match:
            raise condition_failed()
        if self.metageneration_match is not None and metageneration != self.metageneration_match:
            raise condition_failed()
        unchanged = (self.generation_not_match is not None and generation == self.generation_not_match) or (
            self.metageneration_not_match is not None and metageneration == self.metageneration_not_match
        )
        if unchanged:
            raise StoreError(304, "notModified", "Not Modified") if reading else condition_failed()


ANYTHING = Preconditions()


@dataclass(slots=True, kw_only=True)
class Bucket:
    name: str
    created: datetime
    objects: dict[str, LiveObject] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalized:
    """A new live generation; `overwrote` is the generation that it replaced, 0 if there was none."""

    object: LiveObject
    overwrote: int


Listener = Callable[[Finalized], None]


class ObjectTable:
    """All buckets and live objects. Every change checks its preconditions and happens under one lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._last_generation = 0
        self.listeners: list[Listener] = []

    def create_bucket(self, name: str) -> Bucket:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", name):
            raise invalid(f"Invalid bucket name: '{name}'")
        with self._lock:
            if name in self._buckets:
                raise StoreError(
                    409,
                    "conflict",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
            self._buckets[name] = Bucket(name=name, created=datetime.now(UTC))
            return self._buckets[name]

    def delete_bucket(self, name: str) -> None:
        with self._lock:
            if self.bucket(name).objects:
                raise StoreError(409, "conflict", "The bucket you tried to delete is not empty.")
            del self._buckets[name]

    def bucket(self, name: str) -> Bucket:
        with self._lock:
            if name not in self._buckets:
                raise not_found("The specified bucket does not exist.")
            return self._buckets[name]

    def buckets(self) -> list[Bucket]:
        with self._lock:
            return sorted(self._buckets.values(), key=lambda bucket: bucket.name)

    def live(self, bucket: str, name: str) -> LiveObject | None:
        with self._lock:
            return self.bucket(bucket).objects.get(name)

    def get(
        self, bucket: str, name: str, generation: int | None = None, conditions: Preconditions = ANYTHING
    ) -> LiveObject:
        """The live object; 404 if there is none or it has another generation (nothing is versioned here)."""
        live = self.live(bucket, name)
        if live is None or generation not in (None, live.generation):
            raise not_found(f"No such object: {bucket}/{name}")
        conditions.check(live, reading=True)
        return live

    def insert(
        self,
        bucket: str,
        name: str,
        body: Body,
        fields: Mapping[str, Any],
        conditions: Preconditions = ANYTHING,
    ) -> LiveObject:
        """Make a new generation live and tell the listeners, after the change and outside the lock."""
        check_name(name)
        check_fields(fields)
        body.crc32c, body.md5  # noqa: B018 - computed here so that the lock is held for no longer than a look-up
        with self._lock:
            objects = self.bucket(bucket).objects
            replaced = objects.get(name)
            conditions.check(replaced)
            now = datetime.now(UTC)
            created = LiveObject(
                bucket=bucket,
                name=name,
                generation=self._next_generation(),
                metageneration=1,
                body=body,
                fields={"contentType": "application/octet-stream", "storageClass": "STANDARD", **fields},
                created=now,
                updated=now,
            )
            objects[name] = created
        event = Finalized(object=created, overwrote=replaced.generation if replaced else 0)
        for listener in tuple(self.listeners):
            listener(event)
        return created

    def update(
        self,
        bucket: str,
        name: str,
        change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        generation: int | None = None,
        conditions: Preconditions = ANYTHING,
    ) -> LiveObject:
        """Replace the writable fields by `change(fields)`: the same generation, the next metageneration."""
        with self._lock:
            live = self.get(bucket, name, generation)
            conditions.check(live)
            fields = change(live.fields)
            check_fields(fields)
            changed = replace(live, fields=fields, metageneration=live.metageneration + 1, updated=datetime.now(UTC))
            self.bucket(bucket).objects[name] = changed
        return changed

    def delete(
        self, bucket: str, name: str, generation: int | None = None, conditions: Preconditions = ANYTHING
    ) -> None:
        with self._lock:
            live = self.get(bucket, name, generation)
            conditions.check(live)
            del self.bucket(bucket).objects[name]

    def objects(self, bucket: str) -> dict[str, LiveObject]:
        """All live objects of a bucket at this moment, by name."""
        with self._lock:
            return dict(self.bucket(bucket).objects)

    def _next_generation(self) -> int:
        # Microseconds, like the real service; two writes within one still get different generations.
        self._last_generation = max(self._last_generation + 1, time.time_ns() // 1000)
        return self._last_generation


def check_name(name: str) -> None:
    if not name or len(name.encode()) > 1024 or "\n" in name or "\r" in name or name in (".", ".."):
        raise invalid(f"Invalid object name: {name!r}")


def check_fields(fields: Mapping[str, Any]) -> None:
    metadata = fields.get("metadata", {})
    if not isinstance(metadata, Mapping) or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("Custom metadata must map text to text.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > METADATA_LIMIT:
        raise StoreError(
            400, "metadataTooLarge", f"Your metadata headers exceed the maximum of {METADATA_LIMIT} bytes."
        )
