"""One running service for each model that the page is asked for."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from function.local.server_process import ServerFailed
from function.local.service import LocalService, running_service


@dataclass(slots=True)
class _Place:
    """The service of one model, if it runs. lock: held while it starts and stops."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stack: ExitStack = field(default_factory=ExitStack)
    service: LocalService | None = None
    users: int = 0

    def stop(self) -> None:
        self.service = None
        self.stack.close()


@dataclass(slots=True)
class Servers:
    """Services by model. They start when they are first used; those of other models than the first stop when idle.

    environment: settings of each server, without MODEL. log: takes the output of the first model's server.
    """

    first: str
    environment: Mapping[str, str]
    log: Path | None = None
    _places: dict[str, _Place] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Servers":
        with self.using(self.first):
            return self

    def __exit__(self, *exc: object) -> None:
        for place in self._places.values():
            place.stop()

    def running(self, model: str) -> LocalService | None:
        """The service of a model, if it runs."""
        place = self._places.get(model)
        return place.service if place else None

    @contextmanager
    def using(self, model: str) -> Iterator[LocalService]:
        """The service of a model, which does not stop meanwhile. ServerFailed if it does not start."""
        with self._lock:
            place = self._places.setdefault(model, _Place())
        with place.lock:
            service = self._ready(model, place)
            place.users += 1
        try:
            yield service
        finally:
            with place.lock:
                place.users -= 1

    def _ready(self, model: str, place: _Place) -> LocalService:
        if place.service is not None:
            try:
                place.service.server.check()
                return place.service
            except ServerFailed:
                if place.users:
                    raise
                place.stop()
        self._stop_idle(model)
        log = self.log if model == self.first else None
        place.service = place.stack.enter_context(running_service({**self.environment, "MODEL": model}, log=log))
        return place.service

    def _stop_idle(self, wanted: str) -> None:
        """Free the memory of models that nobody uses."""
        with self._lock:
            others = [place for model, place in self._places.items() if model not in (self.first, wanted)]
        for place in others:
            if place.lock.acquire(blocking=False):  # else it starts just now
                if not place.users:
                    place.stop()
                place.lock.release()
