"""What runs inside a decoder process: one file after the other, each within its own time and memory.

Imports codecs only (no network, no cloud), because the fork server imports this module once for all decoder processes.
"""

import ctypes
import mmap
import os
import resource
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.decoding import decode
from shared.errors import RejectedUpload
from shared.records import SourceImage

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
ADDRESSES_BESIDE_DATA = 1 << 30  # bytes: libraries' code, thread stacks and heaps that are reserved and not used


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One file to decode. size: bytes in the descriptor that follows. memory: bytes that it may take; 0 = no limit."""

    size: int
    max_pixels: int
    name: str
    timeout_s: float
    memory: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """A request for shared memory of so many bytes; its descriptor is the answer."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A picture, or the reason why there is none.

    shapes: of rgb, and of alpha if there is one. places: for each of them, the number of the allocation that holds it.
    """

    shapes: tuple[tuple[int, ...], ...] = ()
    places: tuple[int, ...] = ()
    icc_profile: bytes = b""
    content_type: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    rejection: type[RejectedUpload] | None = None
    reason: str = ""
    detail: str = ""


def serve(connection: Connection) -> None:
    """Decode until the other end closes the connection. A file that exceeds its time ends this process (SIGALRM)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when this process ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash of a decoder is expected, and tells nothing new
    cv2.setNumThreads(1)  # other processes decode beside this one
    Image.MAX_IMAGE_PIXELS = None  # the task's own limit counts
    connection.send(os.getpid())
    while True:
        try:
            task: Task = connection.recv()
            file = recv_handle(connection)
        except (EOFError, OSError):
            return
        _answer(connection, task, file)


def _answer(connection: Connection, task: Task, file: int) -> None:
    data = _contents(file, task.size)
    arrays = SharedArrays(connection)
    signal.setitimer(signal.ITIMER_REAL, task.timeout_s)
    _limit_memory(task.memory)
    try:
        image = decode(data, max_pixels=task.max_pixels, name=task.name, allocate=arrays.allocate)
        reply = _reply(image, arrays)
    except RejectedUpload as error:
        reply = Reply(rejection=type(error), reason=str(error), detail=error.detail)
    finally:
        _limit_memory(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    connection.send(reply)


def _contents(file: int, size: int) -> bytes:
    try:
        data = os.pread(file, size, 0)
        while len(data) < size:
            data += os.pread(file, size - len(data), len(data))
        return data
    finally:
        os.close(file)


def _reply(image: SourceImage, arrays: "SharedArrays") -> Reply:
    results = [image.rgb] if image.alpha is None else [image.rgb, image.alpha]
    return Reply(
        shapes=tuple(array.shape for array in results),
        places=tuple(arrays.place(array) for array in results),
        icc_profile=image.icc_profile,
        content_type=image.content_type,
        notes=dict(image.notes),
    )


def _limit_memory(allowance: int) -> None:
    """Let this process take so many bytes more than it holds; 0 = no limit."""
    pages = [int(number) for number in Path("/proc/self/statm").read_text().split()]
    page = resource.getpagesize()
    for kind, held, spare in (
        (resource.RLIMIT_DATA, pages[5] * page, 0),
        (resource.RLIMIT_AS, pages[0] * page, ADDRESSES_BESIDE_DATA),
    ):
        _, hard = resource.getrlimit(kind)
        wanted = held + allowance + spare
        soft = hard if not allowance else wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (soft, hard))


class SharedArrays:
    """Arrays in memory that the other end of the connection hands out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._addresses: list[tuple[int, int]] = []  # address and size, by the number of the allocation

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of uint8, not cleared."""
        size = int(np.prod(shape))
        self._connection.send(Allocation(size))
        descriptor = recv_handle(self._connection)
        try:
            memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
        array = np.frombuffer(memory, np.uint8).reshape(shape)
        self._addresses.append((array.ctypes.data, size))
        return array

    def place(self, array: NDArray[np.uint8]) -> int:
        """The number of the allocation that holds exactly this array, which is copied if it lies elsewhere."""
        where = (array.ctypes.data, array.size)
        if not array.flags.c_contiguous or where not in self._addresses:
            self.allocate(array.shape)[...] = array
            return len(self._addresses) - 1
        return self._addresses.index(where)
