"""Resumable uploads: a session collects chunks until it has the last byte.

Protocol: https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from function.local.storage.body import Body
from function.local.storage.objects import LiveObject, Preconditions, StoreError, invalid, not_found

CHUNK_MULTIPLE = 256 * 1024  # bytes; what is kept of an upload that is not complete is a multiple of this
_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


@dataclass(slots=True, kw_only=True)
class Session:
    """One upload under way. `result` is set when it is complete; asking again then gives the same object."""

    bucket: str
    name: str
    fields: Mapping[str, Any]
    checksums: Mapping[str, str]  # "crc32c" and "md5Hash" that the client announced
    conditions: Preconditions
    declared: int | None  # bytes, if the client declared it at the start
    body: Body
    result: LiveObject | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes a chunk holds: first is None for a mere question, total is None while it is unknown."""

    first: int | None
    total: int | None

    @classmethod
    def parse(cls, header: str, size: int) -> "ContentRange":
        if not header:
            return cls(0, size)
        match = _RANGE.fullmatch(header)
        if match is None:
            raise invalid(f"Invalid Content-Range: {header}")
        total = None if match["total"] == "*" else int(match["total"])
        if match["first"] is None:
            return cls(None, total)
        if int(match["last"]) < int(match["first"]) or (total is not None and int(match["last"]) >= total):
            raise invalid(f"Invalid Content-Range: {header}")
        return cls(int(match["first"]), total)


class Sessions:
    """The uploads under way, by their id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions[session.id] = session

    def name(self, upload_id: str) -> str:
        """The object that an upload will make; empty if there is no such upload."""
        with self._lock:
            session = self._sessions.get(upload_id)
        return session.name if session else ""

    def get(self, upload_id: str) -> Session:
        with self._lock:
            if upload_id not in self._sessions:
                raise not_found("Upload session not found.")
            return self._sessions[upload_id]

    def cancel(self, upload_id: str) -> None:
        self.get(upload_id)
        with self._lock:
            self._sessions.pop(upload_id, None)


def accept(session: Session, chunk: Body, content_range: ContentRange) -> bool:
    """Keep what is new of a chunk; True when the upload has its last byte.

    Bytes that were kept before are skipped, so a client may send a chunk again after a lost answer.
    """
    if content_range.first is not None:
        _keep(session, chunk, content_range)
    if content_range.total is None:
        return False
    if session.declared not in (None, content_range.total):
        raise invalid(f"Upload of {content_range.total} bytes was announced as {session.declared} bytes.")
    if session.body.size > content_range.total:
        raise invalid(f"Received {session.body.size} bytes of an upload of {content_range.total} bytes.")
    return session.body.size == content_range.total


def _keep(session: Session, chunk: Body, content_range: ContentRange) -> None:
    first, total = content_range.first or 0, content_range.total
    if first > session.body.size:
        raise StoreError(503, "backendError", f"Bytes {session.body.size}-{first - 1} of this upload are missing.")
    end = first + chunk.size
    if end != total:
        end -= end % CHUNK_MULTIPLE
    for block in chunk.blocks(session.body.size - first, end - first):
        session.body.append(block)
