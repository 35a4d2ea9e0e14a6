"""Many request threads share one network: their images run in small batches, and each thread gets its own result."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from shared.errors import Busy, ShuttingDown

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    found_idle: bool
    arrived: float = field(default_factory=time.monotonic)
    future: "Future[Result]" = field(default_factory=Future)


class MicroBatcher(Generic[Item, Result]):
    """Calls `run` with up to `max_batch` items at a time, always from the one worker thread.

    An item starts at once, alone, if no batch is running. If one is, the item waits for its end, and then until the
    next batch is full or the item has waited `max_wait_ms` in all. At most `max_queue` items wait.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int = 1,
        max_wait_ms: float = 5.0,
        max_queue: int = 64,
    ) -> None:
        if max_batch < 1 or max_queue < 1 or max_wait_ms < 0:
            raise ValueError("max_batch and max_queue must be at least 1, max_wait_ms at least 0")
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait_ms / 1000  # seconds
        self._max_queue = max_queue
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._running = False
        self._stopped = False
        self._worker = threading.Thread(target=self._work, name="batching", daemon=True)
        self._worker.start()

    def __call__(self, item: Item) -> Result:
        """The result of one item; blocks until it is computed.

        Raises Busy when the queue is full, ShuttingDown when stopped before the item started, and whatever `run`
        raises for this item.
        """
        with self._changed:
            if self._stopped:
                raise ShuttingDown("this instance is draining")
            if len(self._queue) >= self._max_queue:
                raise Busy(f"{len(self._queue)} images are waiting for the network already")
            waiting = _Waiting[Item, Result](item, found_idle=not self._running and not self._queue)
            self._queue.append(waiting)
            self._changed.notify_all()
        return waiting.future.result()

    def stop(self) -> None:
        """Refuse items that have not started (ShuttingDown); return when the running batch has ended."""
        with self._changed:
            self._stopped = True
            refused = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for waiting in refused:
            waiting.future.set_exception(ShuttingDown("this instance is draining"))
        self._worker.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            answers = self._answers(batch)
            with self._changed:
                self._running = False  # before the results, so that a caller's next item finds no batch running
            for give in answers:
                give()

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """The next items to run, oldest first; empty when stopped."""
        with self._changed:
            while not self._stopped:
                patience = self._patience()
                if patience == 0:
                    break
                self._changed.wait(patience)
            batch = [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
            self._running = bool(batch)
            return batch

    def _patience(self) -> float | None:
        """Seconds to wait before the next batch starts; None = until an item is added."""
        if not self._queue:
            return None
        if len(self._queue) >= self._max_batch or self._queue[0].found_idle:
            return 0
        return max(0.0, self._queue[0].arrived + self._max_wait - time.monotonic())

    def _answers(self, batch: list[_Waiting[Item, Result]]) -> list[Callable[[], None]]:
        """Runs the batch; gives one function per item, which delivers its result or its error to the caller."""
        try:
            results = self._run([waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items gave {len(results)} results")
        except BaseException as error:  # of any kind: every caller is blocked until it gets a result or an error
            if len(batch) == 1:
                return [partial(batch[0].future.set_exception, error)]
            # each item alone, so that a bad one does not fail the others
            return [give for waiting in batch for give in self._answers([waiting])]
        return [partial(waiting.future.set_result, result) for waiting, result in zip(batch, results, strict=True)]
