"""The pictures of the page and their cuts, in memory; every change is announced."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Any

Event = tuple[str, Mapping[str, Any]]  # name and data


class Removed(Exception):
    """The picture or the cut is not in the gallery, or no longer."""


class State(StrEnum):
    """How far a cut is."""

    QUEUED = "queued"
    STARTING = "starting"  # the server of its model starts
    WORKING = "working"  # it is uploaded; its event is on its way or being handled
    COMPLETED = "completed"
    FAILED = "failed"


ENDED = frozenset({State.COMPLETED, State.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One file that was given to the page. ref: what the browser that sent it calls it; empty = another one did."""

    id: str
    name: str
    file: Path
    bytes: int
    ref: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "bytes": self.bytes, "ref": self.ref}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A delivery that was not acknowledged and is repeated. status 0: no answer came."""

    attempt: int
    status: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a cut is asked for.

    options: {name: text} of those that differ from the service's defaults. group: of a comparison, empty = none.
    """

    model: str
    options: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One picture on its way through the service. message: the completion message's data, empty before it came.

    results: one file for each of the message's outputs. code, reason: of a failure; the code is empty if no message
    could come.
    """

    id: str
    picture: str
    variant: Variant
    state: State = State.QUEUED
    retries: tuple[Retry, ...] = ()
    message: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    results: tuple[Path, ...] = ()
    code: str = ""
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "picture": self.picture,
            **asdict(self.variant),
            "state": self.state,
            "retries": [asdict(retry) for retry in self.retries],
            "message": self.message,
            "attributes": self.attributes,
            "code": self.code,
            "reason": self.reason,
        }


class Gallery:
    """Thread-safe. Those that follow it get the whole state first, then one event for each change, in order."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}
        self._cuts: dict[str, Cut] = {}
        self._followers: list[SimpleQueue[Event | None]] = []
        self._numbers = itertools.count(1)
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    def add(self, name: str, file: Path, ref: str = "") -> Picture:
        with self._changed:
            picture = Picture(id=f"p{next(self._numbers)}", name=name, file=file, bytes=file.stat().st_size, ref=ref)
            self._pictures[picture.id] = picture
            self._tell("picture", picture.as_json())
        return picture

    def order(self, picture: str, variants: Sequence[Variant]) -> list[Cut]:
        """Queue a cut of a picture for each variant. Raises Removed."""
        with self._changed:
            self.picture(picture)
            cuts = [Cut(id=f"c{next(self._numbers)}", picture=picture, variant=variant) for variant in variants]
            for cut in cuts:
                self._cuts[cut.id] = cut
                self._tell("cut", cut.as_json())
            self._changed.notify_all()
        return cuts

    def take(self) -> tuple[Picture, Cut] | None:
        """The longest queued cut, which is no longer queued then; waits for one. None once the gallery is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next() is not None)
            cut = self._next()
            if self._closed or cut is None:
                return None
            self.change(cut.id, state=State.STARTING)
            return self._pictures[cut.picture], cut

    def change(self, cut: str, **fields: Any) -> bool:
        """Set fields of a cut; False if it is gone."""
        with self._changed:
            if cut not in self._cuts:
                return False
            self._cuts[cut] = replace(self._cuts[cut], **fields)
            self._tell("cut", self._cuts[cut].as_json())
            return True

    def has(self, cut: str) -> bool:
        with self._changed:
            return cut in self._cuts

    def picture(self, picture: str) -> Picture:
        """Raises Removed."""
        with self._changed:
            if picture not in self._pictures:
                raise Removed
            return self._pictures[picture]

    def cut(self, cut: str) -> Cut:
        """Raises Removed."""
        with self._changed:
            if cut not in self._cuts:
                raise Removed
            return self._cuts[cut]

    def remove(self, picture: str) -> tuple[Picture, list[Cut]]:
        """Forget a picture and its cuts, also those in work, and return them. Raises Removed."""
        with self._changed:
            gone = self.picture(picture)
            del self._pictures[picture]
            cuts = [cut for cut in self._cuts.values() if cut.picture == picture]
            for cut in cuts:
                del self._cuts[cut.id]
            self._tell("removed", {"picture": picture})
        return gone, cuts

    @contextmanager
    def following(self) -> Iterator["SimpleQueue[Event | None]"]:
        """A queue of events; None ends it."""
        events: SimpleQueue[Event | None] = SimpleQueue()
        with self._changed:
            pictures = [picture.as_json() for picture in self._pictures.values()]
            events.put(("all", {"pictures": pictures, "cuts": [cut.as_json() for cut in self._cuts.values()]}))
            if self._closed:
                events.put(None)
            self._followers.append(events)
        try:
            yield events
        finally:
            with self._changed:
                self._followers.remove(events)

    def close(self) -> None:
        """Hand out no more cuts and end every follower's queue."""
        with self._changed:
            self._closed = True
            for events in self._followers:
                events.put(None)
            self._changed.notify_all()

    def _next(self) -> Cut | None:
        return next((cut for cut in self._cuts.values() if cut.state is State.QUEUED), None)

    def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        for events in self._followers:
            events.put((name, data))
