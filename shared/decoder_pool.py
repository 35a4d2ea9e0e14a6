"""Decoding in processes of its own, so that no file can hold, crash or fill the server.

Each process decodes one file at a time and is ended by the kernel if that takes too long or too much memory; the pool
replaces it and goes on. Processes come from the standard library's fork server: started from a fresh interpreter, they
hold neither the network nor a GPU. Pixels are decoded into memory that both processes map, and are never copied.

A general process pool (pebble, concurrent.futures) shares one pipe among its processes, under locks that a killed
process may hold, and hands results over by pickling; here each process has its own socket, over which descriptors go.
"""

import logging
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import send_handle

from shared.decoder_process import Allocation, Reply, Task, serve
from shared.decoding import decode
from shared.errors import CorruptImage, ImageTooComplex, RejectedUpload, ShuttingDown
from shared.records import SourceImage
from shared.segments import Segment, Segments

PRELOAD = ["shared.decoder_process"]
GRACE_S = 5.0  # beyond a file's own time, after which a process that does not even end is killed from here
END_WITHIN_S = 0.2
ATTEMPTS = 2  # at a file whose decoder is ended from outside
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
KEPT_MEMORY = 400_000_000  # bytes of shared memory that stay for the next uploads: twelve pictures of 12 megapixels
STOPPING = "this instance is stopping; the event goes to another one"
START_WITHIN_S = 60.0  # seconds for the first process, which has the codecs imported

Serve = Callable[[Connection], None]

log = logging.getLogger(__name__)


class _Decoder:
    """One decoder process and the socket to it."""

    def __init__(self, target: Serve) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self._connection, theirs = context.Pipe()
        self._process: ForkServerProcess = context.Process(target=target, args=(theirs,), name="decoder", daemon=True)
        self._process.start()
        theirs.close()
        if not self._connection.poll(START_WITHIN_S):
            self.close()
            raise RuntimeError("a decoder process does not start")
        self.pid: int = self._connection.recv()

    def decode(self, data: bytes, task: Task, segments: Segments) -> SourceImage:
        """Raises RejectedUpload; EOFError or OSError if the process ended instead of answering."""
        deadline = time.monotonic() + task.timeout_s + GRACE_S
        file = segments.take(len(data))
        file.memory[: len(data)] = data
        taken: list[Segment] = []
        try:
            self._connection.send(task)
            send_handle(self._connection, file.descriptor, self.pid)
            reply = self._reply(deadline, segments, taken)
            if reply.rejection:
                raise reply.rejection(reply.reason, detail=reply.detail)
            return _image(reply, segments, taken)
        finally:
            for segment in (file, *taken):
                segments.give_back(segment)

    def _reply(self, deadline: float, segments: Segments, taken: list[Segment]) -> Reply:
        """The answer to a task; until it comes, the process is given the memory that it asks for."""
        while True:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                self.kill()
                raise EOFError
            message: Allocation | Reply = self._connection.recv()
            if isinstance(message, Reply):
                return message
            taken.append(segments.take(message.size))
            send_handle(self._connection, taken[-1].descriptor, self.pid)

    @property
    def is_alive(self) -> bool:
        """Whether it waits for a file: one that ended has closed its socket."""
        return not self._connection.poll(0)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join(GRACE_S)

    def close(self) -> int:
        """End the process if it has not ended by itself; its exit code, negative for the signal that ended it."""
        self._process.join(END_WITHIN_S)
        if self._process.exitcode is None:
            self.kill()
        self._connection.close()
        return self._process.exitcode or 0


class DecoderPool:
    """Thread-safe. As many files are decoded at once as there are processes; more wait for one of them."""

    def __init__(self, processes: int, *, timeout_s: float = 20.0, target: Serve = serve) -> None:
        """processes: 0 = decode in this process, without limits of time and memory, for debugging.

        timeout_s: seconds for one file. target: what each process runs. Nothing starts before `start` or the first
        file.
        """
        self.processes = processes
        self._timeout_s = timeout_s
        self._target = target
        self._segments = Segments(KEPT_MEMORY)
        self._in_place = processes == 0
        self._idle: queue.LifoQueue[_Decoder | None] = queue.LifoQueue()  # None = one that is not started yet
        for _ in range(processes):
            self._idle.put(None)
        self._all: set[_Decoder] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Start every process, one after the other, in a thread of its own; returns at once."""
        threading.Thread(target=self._start_all, name="decoders", daemon=True).start()

    def stop(self) -> None:
        """End every process. A file that is being decoded raises ShuttingDown."""
        self._stopped = True
        with self._lock:
            decoders, self._all = self._all, set()
        for decoder in decoders:
            decoder.kill()

    @property
    def kept_memory(self) -> int:
        """Bytes of shared memory that stay between uploads."""
        return 0 if self._in_place else KEPT_MEMORY

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        with self._lock:
            return sorted(decoder.pid for decoder in self._all)

    def __call__(self, data: bytes, /, *, max_pixels: int, name: str = "", memory: int = 0) -> SourceImage:
        """As `decoding.decode`. memory: bytes that the file may take while it is decoded; 0 = no limit.

        Raises ImageTooComplex as well if the file takes too long or too much memory, CorruptImage if the decoder
        crashes, ShuttingDown once the pool is stopped.
        """
        if self._in_place:
            return decode(data, max_pixels=max_pixels, name=name)
        task = Task(size=len(data), max_pixels=max_pixels, name=name, timeout_s=self._timeout_s, memory=memory)
        decoder = self._idle.get()
        try:
            if self._stopped:
                raise ShuttingDown(STOPPING)
            for attempt in range(ATTEMPTS):
                decoder = decoder if decoder and decoder.is_alive else self._started(instead_of=decoder)
                try:
                    return decoder.decode(data, task, self._segments)
                except (EOFError, OSError) as error:
                    ended, decoder = decoder, None
                    failure = self._failure(ended, task, last=attempt == ATTEMPTS - 1)
                    if failure:
                        raise failure from error
            raise AssertionError  # the last attempt returned or raised
        finally:
            self._idle.put(decoder)

    def _start_all(self) -> None:
        started = []
        while not self._stopped:
            try:
                decoder = self._idle.get_nowait()
            except queue.Empty:
                break
            if decoder is not None:
                self._idle.put(decoder)
                break
            started.append(self._started())
        for decoder in started:
            self._idle.put(decoder)

    def _started(self, *, instead_of: _Decoder | None = None) -> _Decoder:
        """A new process, which takes the place of one that ended while it had nothing to do."""
        if self._stopped:
            raise ShuttingDown(STOPPING)
        decoder = _Decoder(self._target)
        with self._lock:
            self._all.add(decoder)
        if instead_of:
            self._discard(instead_of)
        return decoder

    def _discard(self, decoder: _Decoder) -> int:
        with self._lock:
            self._all.discard(decoder)
        return decoder.close()

    def _failure(self, decoder: _Decoder, task: Task, *, last: bool) -> Exception | None:
        """Why a decoder ended in the middle of a file; None if the file is to be tried once more.

        A file's own limits end a process by SIGALRM, or fail its allocations. SIGKILL comes from outside, from a host
        without memory for example, and may have nothing to do with the file.
        """
        code = self._discard(decoder)
        if self._stopped:
            return ShuttingDown(STOPPING)
        name = task.name or "The upload"
        detail = f"the decoder ended with {signal.Signals(-code).name if code < 0 else f'exit status {code}'}"
        log.warning("%s while it decoded %s (%d bytes); another one takes its place", detail, name, task.size)
        if code in FROM_OUTSIDE and not last:
            return None
        return _rejection(code, name, task.timeout_s, detail)


def _rejection(code: int, name: str, timeout_s: float, detail: str) -> RejectedUpload:
    if code == -signal.SIGALRM:
        return ImageTooComplex(f"{name} cannot be decoded within {timeout_s:g} seconds.", detail=detail)
    if code in FROM_OUTSIDE:
        return ImageTooComplex(f"{name} needs more time or memory than an image of its size may take.", detail=detail)
    return CorruptImage(f"{name} is damaged in a way that ends its decoder.", detail=detail)


def _image(reply: Reply, segments: Segments, taken: list[Segment]) -> SourceImage:
    """The picture in segments, which are no longer among those taken: they go back with its arrays."""
    used = [taken[place] for place in reply.places]
    taken[:] = [segment for segment in taken if segment not in used]
    arrays = [segments.array(segment, shape) for segment, shape in zip(used, reply.shapes, strict=True)]
    return SourceImage(
        rgb=arrays[0],
        alpha=arrays[1] if len(arrays) > 1 else None,
        icc_profile=reply.icc_profile,
        content_type=reply.content_type,
        notes=reply.notes,
    )
