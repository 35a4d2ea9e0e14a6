"""Injected failures of the local object store, for tests and demonstrations: the client stays unpatched."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class Effect(StrEnum):
    """What goes wrong with a request."""

    STATUS = "status"  # nothing is done; the answer is `status`
    RESET = "reset"  # nothing is done; the connection is reset. An upload's chunk keeps its first `after` bytes
    BREAK = "break"  # the answer ends after `after` bytes of its body
    CORRUPT = "corrupt"  # one bit of the transferred bytes is wrong, in whichever direction they go
    LOSE_RESPONSE = "lose_response"  # done and stored, but the connection is reset before the answer
    DELAY = "delay"  # `delay_s` seconds pass first
    HOLD = "hold"  # the request waits until its gate is opened


class Gate:
    """Holds one request: a test waits until it has arrived, acts, and opens the gate."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._open = threading.Event()

    def arrive(self) -> None:
        self._arrived.set()
        self._open.wait(timeout=60)

    def wait_for_arrival(self, timeout: float = 10) -> None:
        if not self._arrived.wait(timeout):
            raise TimeoutError("no request came to this gate")

    def open(self) -> None:
        self._open.set()


@dataclass(slots=True, kw_only=True)
class Fault:
    """One injected failure: which requests, how often, and what happens to them.

    operation: insert (media and multipart), start and chunk (resumable), get, download, list, patch, delete, rewrite,
    or a pattern; object: a name or pattern, as in fnmatch.
    """

    effect: Effect = Effect.STATUS
    operation: str = "*"
    object: str = "*"
    times: int = 1
    status: int = 503
    reason: str = ""  # of the error document; empty = what the status usually has
    message: str = "injected failure"
    after: int = 0  # bytes
    delay_s: float = 0.0
    gate: Gate | None = field(default=None, compare=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Fault":
        """From the control route's JSON: the same names. ValueError if it is malformed."""
        known = {item.name for item in fields(cls)} - {"gate"}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        fault = cls(**{**data, "effect": Effect(data.get("effect", Effect.STATUS))})
        if fault.effect is Effect.HOLD:
            raise ValueError("hold needs a gate, which only Python can give")
        return fault

    def as_json(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "gate"}

    def matches(self, operation: str, name: str) -> bool:
        return self.times > 0 and fnmatchcase(operation, self.operation) and fnmatchcase(name, self.object)


class FaultPlan:
    """The faults that are still due, used in the order in which they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, operation: str, name: str) -> Fault | None:
        """The fault for this request, counted down by one; None if there is none."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(operation, name):
                    fault.times -= 1
                    return fault
        return None

    def pending(self) -> list[Fault]:
        with self._lock:
            return [fault for fault in self._faults if fault.times > 0]

    def clear(self) -> None:
        """Remove all faults and release held requests."""
        with self._lock:
            for fault in self._faults:
                if fault.gate is not None:
                    fault.gate.open()
            self._faults.clear()
