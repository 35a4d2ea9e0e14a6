"""What a broken codec does with a file, for the tests of the decoder pool. Runs inside decoder processes only.

The serving loop is the product's; of the decoder, the reader of one format is exchanged for one that misbehaves.
"""

import ctypes
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from shared import decoder_process
from shared.readers import READERS

LOOP, CRASH, GROW, GROW_SLOWLY, KILLED, SLEEP = b"loop", b"crash", b"grow", b"trickle", b"killed", b"sleep"


def misbehave(container: Any, allocate: Any) -> Any:
    """What the file's comment asks for; a file without one is read as ever."""
    data = bytes(container.data)
    if LOOP in data:
        while True:
            pass
    if CRASH in data:
        ctypes.string_at(0)  # SIGSEGV
    if GROW in data:
        np.ones(1 << 40, np.uint8)
    if GROW_SLOWLY in data:
        held = []
        while True:
            held.append(np.ones(10_000_000, np.uint8))
    if KILLED in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if SLEEP in data:
        ctypes.CDLL(None).sleep(1000)
    return _READ_GIF(container, allocate)


_READ_GIF = READERS["image/gif"]
READERS["image/gif"] = misbehave  # type: ignore[index]


def serve(connection: Connection) -> None:
    """A function of this module, so that decoder processes import it."""
    decoder_process.serve(connection)
