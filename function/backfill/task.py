"""One run over one shard of a work list: every object gets its outcome, and how far the run came is remembered."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from function.backfill.worklist import Item, Shard, WorkList
from function.handler import HandledUpload, Handler
from shared.errors import RetryLater, ShuttingDown
from shared.records import Upload

UNFINISHED = 75  # EX_TEMPFAIL: Cloud Run starts the task again, as often as the job's max_retries allows
REMEMBER_EVERY_S = 10.0
TRIES = 4  # of one object, now and again at the shard's end
FIRST_WAIT_S = 1.0  # before the second try of an object; doubled for each further one
MOST_DEFERRED = 100  # objects; when more fail, the fault is not theirs, and the run ends

LOG = logging.getLogger("cutdrop.backfill")


class Memory(Protocol):
    """Stores how far a task came."""

    def recall(self) -> Mapping[str, object]: ...

    def remember(self, state: Mapping[str, object]) -> None: ...


@dataclass(slots=True, eq=False)
class _Begun:
    """One object of the shard that was begun."""

    item: Item
    settled: bool = False  # it has its outcome


@dataclass(slots=True)
class _Watermark:
    """Up to where every object has its outcome, although objects finish out of order."""

    cursor: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    waiting: deque[_Begun] = field(default_factory=deque)

    def begin(self, item: Item) -> _Begun:
        begun = _Begun(item)
        self.waiting.append(begun)
        return begun

    def settle(self, begun: _Begun, kind: str) -> None:
        self.counts[kind] += 1
        begun.settled = True
        while self.waiting and self.waiting[0].settled:
            self.cursor = self.waiting.popleft().item.cursor


class Task:
    """One run over one shard."""

    def __init__(
        self,
        handler: Handler,
        work: WorkList,
        shard: Shard,
        memory: Memory,
        *,
        threads: int,
        seconds: float,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """threads: objects processed at a time. seconds: after which no further object is begun.

        first_wait_s: before the second try of an object; doubled for each further one.
        """
        self._handler, self._work, self._shard, self._memory = handler, work, shard, memory
        self._threads = threads
        self._first_wait_s = first_wait_s
        self._ends = time.monotonic() + seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._remembered = 0.0
        self._watermark = _Watermark()
        self._deferred: list[_Begun] = []

    def stop(self) -> None:
        """Begin no further object. Safe in a signal handler."""
        self._stop.set()

    def stopping(self) -> bool:
        return self._stop.is_set() or time.monotonic() > self._ends

    def run(self) -> int:
        """The exit status. Objects of the shard that have no outcome yet get one, `threads` at a time.

        An object that fails again and again is tried once more at the end and then given up: it has its outcome too,
        and the shard can finish. If giving up fails as well, the cloud is at fault, and a later run tries again.
        """
        recalled = self._memory.recall()
        if recalled.get("finished"):
            LOG.info("shard %s has been finished before", self._shard)
            return 0
        watermark = self._watermark
        watermark.cursor = str(recalled.get("cursor", ""))
        began = time.monotonic()
        complete = self._process(self._begin_all(watermark.cursor), last_chance=False)
        deferred, self._deferred = self._deferred, []
        complete = complete and self._process(iter(deferred), last_chance=True)
        finished = complete and not watermark.waiting
        self._remember(finished=finished)
        self._summarise(time.monotonic() - began, finished=finished)
        return 0 if finished else UNFINISHED

    def _begin_all(self, after: str) -> Iterator[_Begun]:
        for item in self._work.items(after):
            if self._shard.holds(item.upload):
                with self._lock:
                    begun = self._watermark.begin(item)
                yield begun

    def _process(self, objects: Iterator[_Begun], *, last_chance: bool) -> bool:
        """Process objects, `threads` at a time. Whether all of them were begun."""
        slots = threading.BoundedSemaphore(self._threads)
        with ThreadPoolExecutor(self._threads) as pool:
            for begun in objects:
                slots.acquire()
                if self.stopping() or len(self._deferred) > MOST_DEFERRED:
                    return False
                pool.submit(self._process_one, begun, slots, last_chance=last_chance)
        return True

    def _process_one(self, begun: _Begun, slots: threading.BoundedSemaphore, *, last_chance: bool) -> None:
        try:
            kind = self._outcome(begun.item.upload, last_chance=last_chance)
            with self._lock:
                if kind:
                    self._watermark.settle(begun, kind)
                else:
                    self._deferred.append(begun)
                if time.monotonic() - self._remembered > REMEMBER_EVERY_S:
                    self._remember(finished=False)
        except Exception:
            LOG.exception("cannot remember how far this task came")
        finally:
            slots.release()

    def _outcome(self, upload: Upload, *, last_chance: bool) -> str:
        """'completed', 'repeated', a failure's code, 'ignored'; empty if it has to be tried again later."""
        for attempt in range(1, TRIES + 1):
            try:
                return _kind(self._handler.handle(upload))
            except ShuttingDown:
                return ""
            except RetryLater as error:
                LOG.warning("%s: %s: %s (%d of %d)", error.code, upload.uri, error, attempt, TRIES)
            except Exception:
                LOG.exception("failed: %s (%d of %d)", upload.uri, attempt, TRIES)
            if self._stop.wait(self._first_wait_s * 2 ** (attempt - 1)):
                return ""
        return self._given_up(upload) if last_chance else ""

    def _given_up(self, upload: Upload) -> str:
        try:
            return _kind(self._handler.give_up(upload))
        except RetryLater as error:
            LOG.warning("%s: %s cannot be given up: %s", error.code, upload.uri, error)
            return ""

    def _remember(self, *, finished: bool) -> None:
        self._remembered = time.monotonic()
        counts = dict(self._watermark.counts)
        self._memory.remember({"cursor": self._watermark.cursor, "counts": counts, "finished": finished})
        LOG.info("shard %s: %s", self._shard, _in_words(counts), extra={"fields": {"counts": counts}})

    def _summarise(self, seconds: float, *, finished: bool) -> None:
        counts = self._watermark.counts
        left = len(self._watermark.waiting)
        rate = sum(counts.values()) / max(seconds, 1e-9)
        state = "finished" if finished else f"stopped before its end, {left} objects begun without an outcome"
        fields = {"counts": counts, "seconds": round(seconds, 1), "finished": finished, "shard": str(self._shard)}
        LOG.info("shard %s %s: %s; %.1f/s", self._shard, state, _in_words(counts), rate, extra={"fields": fields})


def _kind(handled: HandledUpload) -> str:
    return "repeated" if handled.repeated else handled.code or handled.status


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "nothing"
