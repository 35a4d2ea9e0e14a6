"""How much memory an upload takes, estimated from its header, and a budget that all uploads in work share."""

import re
import resource
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.decoding import Inspected
from shared.errors import Busy, ImageTooLarge

FIXED = 32_000_000  # bytes of every upload: bands under conversion, the network's input, buffers of libraries
CUT_PER_PIXEL = 12.0  # bytes: alpha, local colours and RGBA of the cutout (measured: tests.benchmarks.memory)
ENLARGED_PER_PIXEL = 10.0  # bytes of each pixel of an enlarged result: RGBA, its alpha, its file
SPARE = 0.1  # of the limit, that no upload gets
DECODER_PROCESS = 40_000_000  # bytes that one of them holds for itself while it waits
UNLIMITED = 1 << 60  # cgroup version 1 writes a number near 2^63 for "no limit"
MB = 1_000_000


def decoding_bytes(inspected: Inspected, file_bytes: int) -> int:
    """Bytes that decoding holds at most: the file twice, the result, what its decoder works with."""
    container = inspected.container
    result = result_bytes_per_pixel(inspected)
    turned = result if container.orientation != 1 or container.crop else 0
    return int(inspected.pixels * (result + turned + container.working_bytes)) + 2 * file_bytes + FIXED


def upload_bytes(inspected: Inspected, file_bytes: int, *, scale: int = 1) -> int:
    """Bytes that one upload holds at most from its decoding to its result. scale: by which the cutout is enlarged."""
    per_pixel = result_bytes_per_pixel(inspected) + CUT_PER_PIXEL
    enlarged = ENLARGED_PER_PIXEL * scale**2 if scale > 1 else 0.0
    cutting = int(inspected.pixels * (per_pixel + enlarged)) + file_bytes + FIXED
    return max(decoding_bytes(inspected, file_bytes), cutting)


def result_bytes_per_pixel(inspected: Inspected) -> int:
    """RGB, and alpha if the format may hold it."""
    return 4 if inspected.container.channels in (2, 4) else 3


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that this process and its children may hold: the container's limit (cgroup 2 or 1), a limit of the
    process, or the machine's memory, whichever is least.
    """
    limits = [_machine_memory(root), *_cgroup_limits(root)]
    limits += [limit for limit in (resource.getrlimit(resource.RLIMIT_AS)[0],) if limit != resource.RLIM_INFINITY]
    return min(limits)


def held_memory(root: Path = Path("/")) -> int:
    """Bytes that this process holds now; under a limit of address space, the addresses that it has taken."""
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return _kilobytes(root / "proc/self/status", "VmSize" if limited else "VmRSS") * 1024


class MemoryBudget:
    """Bytes that uploads in work share; whoever asks first is served first."""

    def __init__(self, capacity: int, *, wait_s: float = 10.0) -> None:
        """capacity: bytes. wait_s: seconds that an upload waits for others to finish."""
        self.capacity = capacity
        self._wait_s = wait_s
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def used(self) -> int:
        """Bytes that are reserved now."""
        return self._used

    @property
    def waiting(self) -> int:
        """Uploads that wait for memory now."""
        return len(self._waiting)

    @contextmanager
    def reserved(self, size: int, *, about: str = "The upload") -> Iterator[None]:
        """Hold so many bytes for the length of a `with` block.

        Raises Busy if they do not come free in time, ImageTooLarge if they are more than there is in all.
        """
        if size > self.capacity:
            raise ImageTooLarge(
                f"{about} needs about {size / MB:,.0f} MB of memory; "
                f"this service has {self.capacity / MB:,.0f} MB for it."
            )
        self._take(size)
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def _take(self, size: int) -> None:
        ticket, end = object(), time.monotonic() + self._wait_s
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or self._used + size > self.capacity:
                    if not self._changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                        raise Busy("the uploads in work need the memory that this one needs")
                self._used += size
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


def budget_for_uploads(*, held: int, limit: int) -> int:
    """Bytes left for uploads. held: what model, runtime and libraries hold before the first one."""
    return max(0, int(limit * (1 - SPARE)) - held)


def _machine_memory(root: Path) -> int:
    return _kilobytes(root / "proc/meminfo", "MemTotal") * 1024


def _cgroup_limits(root: Path) -> list[int]:
    """Of every group that this process belongs to, its own and those around it."""
    limits = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits_up(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_up(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return limits


def _limits_up(mount: Path, path: str, name: str) -> list[int]:
    """A container often sees its own group as the root of the mount, and a path that is not there."""
    folder = mount / path.strip("/")
    texts = [_text(place / name).strip() for place in (folder, *folder.parents) if place.is_relative_to(mount)]
    return [int(text) for text in texts if text.isdecimal() and int(text) < UNLIMITED]


def _kilobytes(file: Path, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", _text(file), re.MULTILINE)
    if match is None:
        raise OSError(f"{file} does not say {name}")
    return int(match[1])


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
