"""Objects that were in a bucket before the service: the same handler, over a listing or a manifest.

    python -m function.backfill --bucket BUCKET [--prefix P]         one task, or the task that Cloud Run says this is
    python -m function.backfill --manifest FILE.csv                  lines of bucket,name,generation
    python -m function.backfill --bucket BUCKET --dry-run            counts; estimates time and cost

Each task takes the objects whose name hashes to its index. It stores in the output bucket up to where every object has
its outcome. A task that was stopped (by its time limit, by SIGTERM, by a crash) continues from there when Cloud Run
starts it again. Objects that were being processed then are processed again, and found done: the handler is idempotent.

Exit status: 0 = every object of the shard has its outcome; 75 = stopped before its end, start again; 1 = cannot start.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from function import logs
from function.backfill.archive import GcsArchive
from function.backfill.worklist import BucketListing, Item, Manifest, Prices, Shard, WorkList, estimate
from function.handler import HandledUpload, Handler
from function.settings import Settings
from shared.errors import CutdropError, RetryLater, SettingsError, ShuttingDown
from shared.records import Upload

UNFINISHED = 75  # EX_TEMPFAIL: Cloud Run starts the task again, as often as the job's max_retries allows
REMEMBER_EVERY_S = 10.0
TRIES = 4  # of one object within a task
FIRST_WAIT_S = 1.0  # before the second try of an object; doubled for each further one

LOG = logging.getLogger("cutdrop.backfill")


class Memory(Protocol):
    """Stores how far a task came."""

    def recall(self) -> Mapping[str, object]: ...

    def remember(self, state: Mapping[str, object]) -> None: ...


@dataclass(slots=True)
class _Watermark:
    """Up to where every object has its outcome, although objects finish out of order."""

    cursor: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    waiting: deque[tuple[str, list[bool]]] = field(default_factory=deque)

    def begin(self, cursor: str) -> list[bool]:
        settled = [False]
        self.waiting.append((cursor, settled))
        return settled

    def advance(self) -> None:
        while self.waiting and self.waiting[0][1][0]:
            self.cursor = self.waiting.popleft()[0]


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

    def stop(self) -> None:
        """Begin no further object. Safe in a signal handler."""
        self._stop.set()

    def stopping(self) -> bool:
        return self._stop.is_set() or time.monotonic() > self._ends

    def run(self) -> int:
        """The exit status. Objects of the shard that have no outcome yet get one, `threads` at a time."""
        recalled = self._memory.recall()
        if recalled.get("finished"):
            LOG.info("shard %s has been finished before", self._shard)
            return 0
        watermark = self._watermark
        watermark.cursor = str(recalled.get("cursor", ""))
        began = time.monotonic()
        slots = threading.BoundedSemaphore(self._threads)
        with ThreadPoolExecutor(self._threads) as pool:
            complete = self._feed(pool, slots, watermark.cursor)
        finished = complete and not watermark.waiting
        self._remember(finished=finished)
        self._summarise(time.monotonic() - began, finished=finished)
        return 0 if finished else UNFINISHED

    def _feed(self, pool: ThreadPoolExecutor, slots: threading.BoundedSemaphore, after: str) -> bool:
        """Begin every object after a cursor. Whether the work list came to its end."""
        for item in self._work.items(after):
            if not self._shard.holds(item.upload):
                continue
            slots.acquire()
            if self.stopping():
                slots.release()
                return False
            with self._lock:
                settled = self._watermark.begin(item.cursor)
            pool.submit(self._process, item, settled, slots)
        return True

    def _process(self, item: Item, settled: list[bool], slots: threading.BoundedSemaphore) -> None:
        try:
            result = self._outcome(item.upload)
            with self._lock:
                self._watermark.counts[result] += 1
                settled[0] = result != "unfinished"
                self._watermark.advance()
                if time.monotonic() - self._remembered > REMEMBER_EVERY_S:
                    self._remember(finished=False)
        except Exception:
            LOG.exception("cannot remember how far this task came")
        finally:
            slots.release()

    def _outcome(self, upload: Upload) -> str:
        """'completed', 'repeated', a failure's code, 'ignored'; 'unfinished' if a later run has to try again."""
        for attempt in range(1, TRIES + 1):
            try:
                return _kind(self._handler.handle(upload))
            except ShuttingDown:
                return "unfinished"
            except RetryLater as error:
                LOG.warning("%s: %s: %s (%d of %d)", error.code, upload.uri, error, attempt, TRIES)
                last_is_ours = False
            except Exception:
                LOG.exception("failed: %s (%d of %d)", upload.uri, attempt, TRIES)
                last_is_ours = True
            if self._stop.wait(self._first_wait_s * 2 ** (attempt - 1)):
                return "unfinished"
        return self._given_up(upload) if last_is_ours else "unfinished"

    def _given_up(self, upload: Upload) -> str:
        """An object that breaks this code every time would keep the shard from ever ending."""
        try:
            return _kind(self._handler.give_up(upload))
        except RetryLater:
            return "unfinished"

    def _remember(self, *, finished: bool) -> None:
        self._remembered = time.monotonic()
        watermark = self._watermark
        self._memory.remember({"cursor": watermark.cursor, "counts": dict(watermark.counts), "finished": finished})
        LOG.info(
            "shard %s: %s", self._shard, _in_words(watermark.counts), extra={"fields": {"counts": watermark.counts}}
        )

    def _summarise(self, seconds: float, *, finished: bool) -> None:
        counts = self._watermark.counts
        rate = sum(counts.values()) / max(seconds, 1e-9)
        state = "finished" if finished else "stopped before its end"
        fields = {"counts": counts, "seconds": round(seconds, 1), "finished": finished, "shard": str(self._shard)}
        LOG.info("shard %s %s: %s; %.1f/s", self._shard, state, _in_words(counts), rate, extra={"fields": fields})


def _kind(outcome: HandledUpload) -> str:
    return "repeated" if outcome.repeated else outcome.code or outcome.status


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "nothing"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bucket", help="every live object of this bucket")
    source.add_argument("--manifest", help="a CSV file of bucket,name,generation: a path or gs://bucket/name")
    parser.add_argument("--prefix", default="", help="with --bucket: only names that begin with this")
    parser.add_argument("--job", default=os.environ.get("CLOUD_RUN_EXECUTION", "backfill"), help="remember under this")
    parser.add_argument(
        "--minutes", type=float, default=50.0, help="begin no further object after this; GPU tasks end at 60"
    )
    parser.add_argument("--dry-run", action="store_true", help="count and estimate; process nothing")
    parser.add_argument("--seconds-per-image", type=float, default=0.5, help="for the estimate")
    parser.add_argument("--tasks", type=int, default=1, help="for the estimate")
    parser.add_argument("--task-hour", type=float, default=1.55, help="for the estimate: price of a task for an hour")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_level)
        archive = GcsArchive.connect(settings.output_bucket, concurrency=1)
        work = _work_list(given, archive)
        if given.dry_run:
            prices = Prices(seconds_per_image=given.seconds_per_image, tasks=given.tasks, task_hour=given.task_hour)
            print(estimate(work.items(""), prices))
            return 0
        return _run(given, settings, archive, work)
    except CutdropError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNFINISHED if isinstance(error, RetryLater) else 1


def _run(given: argparse.Namespace, settings: Settings, archive: GcsArchive, work: WorkList) -> int:
    shard = Shard(int(os.environ.get("CLOUD_RUN_TASK_INDEX", "0")), int(os.environ.get("CLOUD_RUN_TASK_COUNT", "1")))
    from function import wiring  # seconds of imports that a dry run does not need

    cutter = wiring.build_cutter(settings)
    drained = threading.Event()
    handler = wiring.build_handler(settings, cutter, stopping=drained.is_set)
    memory = _ObjectMemory(archive, f"{settings.output_prefix}.backfill/{given.job}/{shard}.json")
    task = Task(handler, work, shard, memory, threads=settings.concurrency, seconds=given.minutes * 60)

    def on_sigterm(_number: int, _frame: object) -> None:
        task.stop()
        threading.Timer(6.0, drained.set).start()  # Cloud Run kills 10 s after SIGTERM

    signal.signal(signal.SIGTERM, on_sigterm)
    return task.run()


def _work_list(given: argparse.Namespace, archive: GcsArchive) -> WorkList:
    if given.bucket:
        return BucketListing(archive, given.bucket, given.prefix)
    if given.manifest.startswith("gs://"):
        bucket, _, name = given.manifest.removeprefix("gs://").partition("/")
        text = archive.read_text(name, bucket=bucket)
        if text is None:
            raise SettingsError(f"{given.manifest} does not exist")
        return Manifest(text=text)
    try:
        return Manifest(text=Path(given.manifest).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{given.manifest}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _ObjectMemory:
    """A task's state as an object in the output bucket."""

    archive: GcsArchive
    name: str

    def recall(self) -> Mapping[str, object]:
        text = self.archive.read_text(self.name)
        if text is None:
            return {}
        state = json.loads(text)
        return state if isinstance(state, dict) else {}

    def remember(self, state: Mapping[str, object]) -> None:
        self.archive.write_text(self.name, json.dumps(state))
