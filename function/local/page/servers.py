"""One running service for each model that the page is asked for."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from function.local.server_process import ServerFailed
from function.local.service import LocalService, running_service


@dataclass(slots=True)
class _Running:
    service: LocalService
    stack: ExitStack
    users: int = 0


@dataclass(slots=True)
class Servers:
    """Services by model. They start when they are first used; the first model's stays, of the others at most one.

    environment: settings of each server, without MODEL. log: takes the output of the first model's server.
    """

    first: str
    environment: Mapping[str, str]
    log: Path | None = None
    _running: dict[str, _Running] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Servers":
        with self._lock:
            self._start(self.first)
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            for model in list(self._running):
                self._stop(model)

    def running(self, model: str) -> LocalService | None:
        """The service of a model, if it runs."""
        found = self._running.get(model)
        return found.service if found else None

    @contextmanager
    def using(self, model: str) -> Iterator[LocalService]:
        """The service of a model, which does not stop meanwhile. ServerFailed if it does not start."""
        with self._lock:
            running = self._ready(model)
            running.users += 1
        try:
            yield running.service
        finally:
            with self._lock:
                running.users -= 1

    def _ready(self, model: str) -> _Running:
        running = self._running.get(model)
        if running is not None:
            try:
                running.service.server.check()
            except ServerFailed:
                if running.users:
                    raise
                self._stop(model)
            else:
                return running
        for other, idle in list(self._running.items()):
            if other not in (self.first, model) and not idle.users:
                self._stop(other)
        return self._start(model)

    def _start(self, model: str) -> _Running:
        stack = ExitStack()
        log = self.log if model == self.first else None
        service = stack.enter_context(running_service({**self.environment, "MODEL": model}, log=log))
        self._running[model] = _Running(service, stack)
        return self._running[model]

    def _stop(self, model: str) -> None:
        self._running.pop(model).stack.close()
