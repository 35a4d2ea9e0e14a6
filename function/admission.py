"""Which uploads may start and which may continue: a limited number, and none once the instance was told to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from shared.errors import Busy, ShuttingDown

FINISH_WITHIN_S = 6.5  # of the 8 s that the server waits and the 10 s after which Cloud Run kills


class Admission:
    """Limits how many uploads are processed at a time.

    slots: uploads that are processed at the same time; one more is `Busy`.
    finish_within_s: seconds after `close` in which uploads that have started may still finish.
    """

    def __init__(
        self, slots: int, *, finish_within_s: float = FINISH_WITHIN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = BoundedSemaphore(slots)
        self._finish_within_s = finish_within_s
        self._clock = clock
        self._closed_at: float | None = None

    def close(self) -> None:
        """Start nothing more. Takes no lock, so that a signal handler may call it; only the first call counts."""
        if self._closed_at is None:
            self._closed_at = self._clock()

    @property
    def closed(self) -> bool:
        return self._closed_at is not None

    def stopping(self) -> bool:
        """Whether uploads that have started have to end now, before the process is killed without an answer."""
        return self._closed_at is not None and self._clock() - self._closed_at >= self._finish_within_s

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot for a `with` block. Never waits: ShuttingDown once closed, Busy if no slot is free."""
        if self.closed:
            raise ShuttingDown("this instance is stopping; the event goes to another one")
        if not self._slots.acquire(blocking=False):
            raise Busy("this instance processes as many uploads as it takes at a time")
        try:
            yield
        finally:
            self._slots.release()
