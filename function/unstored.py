"""Results whose write failed, kept for the next delivery so that the network does not run again."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from shared.records import EncodedImage
from shared.report import Report

MAX_BYTES = 128 * 1024 * 1024
KEEP_S = 900.0  # longer than the longest wait between two deliveries (600 s)


@dataclass(frozen=True, slots=True)
class UnstoredResult:
    """The files of a result, the primary one first, and the report that is stored with it."""

    images: tuple[EncodedImage, ...]
    report: Report = Report()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(image.data) for image in self.images)


class UnstoredResults:
    """By key, bounded in bytes and time, the oldest dropped first. Thread-safe; another instance knows nothing of it.

    max_bytes: of all files together; a larger file is not kept. keep_s: seconds until a file is dropped.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, keep_s: float = KEEP_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes, self._keep_s, self._clock = max_bytes, keep_s, clock
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[float, UnstoredResult]] = OrderedDict()

    def put(self, key: str, result: UnstoredResult) -> None:
        """Keep a result, or replace the one of the same key."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (self._clock(), result)
            self._drop()

    def take(self, key: str) -> UnstoredResult | None:
        """The result of a key, which is not kept any longer; None if there is none."""
        with self._lock:
            self._drop()
            _, result = self._kept.pop(key, (0.0, None))
            return result

    def _drop(self) -> None:
        size = sum(result.size for _, result in self._kept.values())
        while self._kept:
            since, result = next(iter(self._kept.values()))
            if size <= self._max_bytes and self._clock() - since <= self._keep_s:
                return
            size -= result.size
            self._kept.popitem(last=False)
