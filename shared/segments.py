"""Memory that processes share, kept warm: its pages are made once, and not again for every picture.

Making a page costs more than decoding a JPEG into it, so that a segment goes back to a free list when the last array
on it is gone. Descriptors (memfd) name segments to other processes; nothing is left behind when the processes end.
"""

import itertools
import mmap
import os
import threading
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

GRAIN = 1 << 20  # bytes: sizes are rounded up to it, so that pictures of nearly one size use the same segments
WASTE = 2  # times the size that is asked for: a larger segment is left for larger pictures


class Segment:
    """Shared memory of this process, with its descriptor."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, capacity)
        self.memory = mmap.mmap(self.descriptor, capacity)

    def close(self) -> None:
        """Give the memory back, as soon as no array uses it any more."""
        os.close(self.descriptor)


class Segments:
    """Thread-safe. keep: bytes of unused segments that stay in memory."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._free: deque[Segment] = deque()  # appended to by finalizers, which must not wait for the lock
        self._lock = threading.Lock()

    @property
    def unused(self) -> int:
        """Bytes in segments that no array uses."""
        return sum(segment.capacity for segment in tuple(self._free))

    def take(self, size: int) -> Segment:
        """A segment of at least so many bytes; what is in it is left from before."""
        with self._lock:
            found = self._fitting(size)
            self._trim()
        return found or Segment(max(1, -(-size // GRAIN)) * GRAIN)

    def give_back(self, segment: Segment) -> None:
        """The segment may be used again. Takes no lock: garbage collection may call it anywhere."""
        self._free.append(segment)

    def array(self, segment: Segment, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The beginning of a segment as an array of uint8; the segment is given back with its last view."""
        root = np.frombuffer(segment.memory, np.uint8, int(np.prod(shape)))
        weakref.finalize(root, self.give_back, segment).atexit = False
        return root.reshape(shape)

    def _fitting(self, size: int) -> Segment | None:
        fitting = [segment for segment in tuple(self._free) if size <= segment.capacity <= max(WASTE * size, GRAIN)]
        if not fitting:
            return None
        best = min(fitting, key=lambda segment: segment.capacity)
        self._free.remove(best)
        return best

    def _trim(self) -> None:
        """Close the segments that were unused for longest."""
        sizes = itertools.accumulate(segment.capacity for segment in reversed(tuple(self._free)))
        kept = sum(1 for size in sizes if size <= self._keep)
        for _ in range(len(self._free) - kept):
            self._free.popleft().close()
