"""Files that appear or change below some paths, without end."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from function.local.run.files import LocalFile, NothingToUpload, collect

LOOK_EVERY_S = 0.5


def watch(
    paths: Sequence[Path], *, leave_out: Path | None = None, images_only: bool = False, every_s: float = LOOK_EVERY_S
) -> Iterator[LocalFile | None]:
    """Each file once, and again after each change; None whenever there is nothing new.

    A file counts when two looks in a row find the same size and time: before that somebody may still be writing it.
    """
    given: dict[Path, tuple[int, int]] = {}
    last_look: dict[Path, tuple[int, int]] = {}
    next_look = 0.0
    while True:
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + every_s
            look = _look(paths, leave_out, images_only)
            for file, state in look.items():
                if last_look.get(file.path) == state != given.get(file.path):
                    given[file.path] = state
                    yield file
            last_look = {file.path: state for file, state in look.items()}
        yield None


def _look(paths: Sequence[Path], leave_out: Path | None, images_only: bool) -> dict[LocalFile, tuple[int, int]]:
    found = {}
    existing = [path for path in paths if path.exists()]
    try:
        for file in collect(existing, leave_out=leave_out, images_only=images_only):
            stat = file.path.stat()
            found[file] = (stat.st_mtime_ns, stat.st_size)
    except (NothingToUpload, FileNotFoundError):
        pass  # an empty folder, or a file that went away between two steps: the next look knows more
    return found
