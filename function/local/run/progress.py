"""Progress of a run: a bar in a terminal, a line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 10.0


class RunProgress:
    """`with RunProgress(total, console) as progress: progress.show(done, name of the current file)`."""

    def __init__(self, total: int, console: Console, *, line_every_s: float = LINE_EVERY_S) -> None:
        self._total, self._console, self._line_every_s = total, console, line_every_s
        self._started = self._last_line = time.monotonic()
        columns = (
            TextColumn("cutting out"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[current]}", style="dim"),
        )
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=total, rate="", current="") if self._bar else None

    def __enter__(self) -> "RunProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, current: str) -> None:
        """done: files with an outcome. current: the file that waits longest for its outcome."""
        now = time.monotonic()
        rate = f"{done / max(now - self._started, 0.001):.1f} files/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, rate=rate, current=current)
        elif now - self._last_line >= self._line_every_s:
            self._last_line = now
            print(f"{done} of {self._total} files, {rate}; in work: {current or 'none'}", file=sys.stderr, flush=True)
