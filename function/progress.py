"""What one delivery of an event has found out, and how long each step took."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from function.plan import Plan, unplanned_key
from shared.errors import ShuttingDown
from shared.records import EMPTY, Upload
from shared.report import ImageInfo


@dataclass(slots=True, kw_only=True)
class UploadProgress:
    """Filled in step by step by one thread; holds no pixels."""

    upload: Upload
    now: Callable[[], float]  # Unix seconds
    stopping: Callable[[], bool]  # whether work in progress has to end before its next step
    started: float = field(init=False)
    plan: Plan | None = None  # None until the options are known to be valid
    decoded: ImageInfo | None = None
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # for the message
    repeated: bool = False  # the result was there already
    detail: str = ""  # of a failure: what a library said
    timings_ms: dict[str, float] = field(default_factory=dict)  # per step

    def __post_init__(self) -> None:
        self.started = self.now()

    @property
    def key(self) -> str:
        return self.plan.key if self.plan else unplanned_key(self.upload)

    @property
    def options(self) -> Mapping[str, str]:
        """Effective options, {name: text}; empty until they are known."""
        return self.plan.options.as_texts() if self.plan else EMPTY

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time one step, a `with` block, also if it fails. ShuttingDown if the instance is stopping."""
        self.check_not_stopping()
        entered = self.now()
        try:
            yield
        finally:
            self.timings_ms[name] = self.spent_ms(entered)

    def check_not_stopping(self) -> None:
        """ShuttingDown if the instance is stopping."""
        if self.stopping():
            raise ShuttingDown("this instance is stopping; the event goes to another one")

    def spent_ms(self, since: float | None = None) -> float:
        """Milliseconds since a moment, or since the start; never negative, although a wall clock may be set back."""
        return max(0.0, round((self.now() - (self.started if since is None else since)) * 1000, 1))
