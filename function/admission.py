"""Which uploads may start and which may go on: so many at a time, none once the instance is told to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from shared.errors import Busy, ShuttingDown

FINISH_WITHIN_S = 6.5  # of the 8 s that the server waits and the 10 s after which Cloud Run kills


class Admission:
    """The door in front of the handler.

    places: uploads in work at the same time; one more is `Busy`.
    finish_within_s: seconds after `close` in which work under way may still finish.
    """

    def __init__(
        self, places: int, *, finish_within_s: float = FINISH_WITHIN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = BoundedSemaphore(places)
        self._finish_within_s = finish_within_s
        self._clock = clock
        self._closed_at: float | None = None

    def close(self) -> None:
        """Let nothing more in. Takes no lock, so that a signal handler may call it; only the first call counts."""
        if self._closed_at is None:
            self._closed_at = self._clock()

    @property
    def closed(self) -> bool:
        return self._closed_at is not None

    def stopping(self) -> bool:
        """Whether work under way has to end now, before it is killed without an answer."""
        return self._closed_at is not None and self._clock() - self._closed_at >= self._finish_within_s

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place for the length of a `with` block; ShuttingDown once closed, Busy when all are taken."""
        if self.closed:
            raise ShuttingDown("this instance is stopping; the event goes to another one")
        if not self._places.acquire(blocking=False):
            raise Busy("as many uploads are in work as this instance takes")
        try:
            yield
        finally:
            self._places.release()
