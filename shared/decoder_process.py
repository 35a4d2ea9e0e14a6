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
from multiprocessing.reduction import recv_handle, send_handle
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A picture, whose pixels follow as one descriptor per shape, or the reason why there is none."""

    shapes: tuple[tuple[int, ...], ...] = ()  # of rgb, and of alpha if there is one
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
    memory, descriptors = SharedArrays(), list[int]()
    signal.setitimer(signal.ITIMER_REAL, task.timeout_s)
    _limit_memory(task.memory)
    try:
        image = decode(data, max_pixels=task.max_pixels, name=task.name, allocate=memory.allocate)
    except RejectedUpload as error:
        reply = Reply(rejection=type(error), reason=str(error), detail=error.detail)
    else:
        reply, descriptors = _reply(image, memory)
    finally:
        _limit_memory(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    connection.send(reply)
    for descriptor in descriptors:
        send_handle(connection, descriptor, os.getppid())
    memory.close()


def _contents(file: int, size: int) -> bytes:
    try:
        data = os.pread(file, size, 0)
        while len(data) < size:
            data += os.pread(file, size - len(data), len(data))
        return data
    finally:
        os.close(file)


def _reply(image: SourceImage, memory: "SharedArrays") -> tuple[Reply, list[int]]:
    arrays = [image.rgb] if image.alpha is None else [image.rgb, image.alpha]
    reply = Reply(
        shapes=tuple(array.shape for array in arrays),
        icc_profile=image.icc_profile,
        content_type=image.content_type,
        notes=dict(image.notes),
    )
    return reply, [memory.descriptor(array) for array in arrays]


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
    """Arrays in memory that another process can map by a descriptor."""

    def __init__(self) -> None:
        self._places: list[tuple[int, mmap.mmap, int]] = []  # descriptor, mapping, address

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of uint8, cleared."""
        size = int(np.prod(shape))
        descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, max(size, 1))
        mapping = mmap.mmap(descriptor, max(size, 1), flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        array = np.frombuffer(mapping, np.uint8, size).reshape(shape)
        self._places.append((descriptor, mapping, array.ctypes.data))
        return array

    def descriptor(self, array: NDArray[np.uint8]) -> int:
        """Of the memory that holds exactly this array, which is copied if it lies elsewhere."""
        if not array.flags.c_contiguous or not self._holds(array):
            copy = self.allocate(array.shape)
            copy[...] = array
            array = copy
        return next(descriptor for descriptor, _, address in self._places if address == array.ctypes.data)

    def close(self) -> None:
        """Forget the arrays; whoever mapped them keeps them."""
        for descriptor, _, _ in self._places:
            os.close(descriptor)
        self._places.clear()

    def _holds(self, array: NDArray[np.uint8]) -> bool:
        return any(address == array.ctypes.data and len(mapping) == array.size for _, mapping, address in self._places)
