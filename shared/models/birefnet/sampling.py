"""The sampling of `sampling.c`, compiled for this machine when it is first asked for and kept in the user's cache."""

import ctypes
import hashlib
import logging
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("sampling.c")
CACHE = Path.home() / ".cache" / "cutdrop"
# no -ffast-math: linked into a library, it changes how the whole thread treats the smallest numbers
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")

LOG = logging.getLogger(__name__)


class Sampler:
    """Columns of a modulated deformable convolution, by the compiled function, on torch's number of threads."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="sampling")

    def __call__(self, image: Tensor, steering: Tensor, columns: Tensor, first: int) -> None:
        """Fill `columns` (count, k*k*C) with the samples of the positions from `first` on.

        image (H, W, C) and steering (H*W, 3*k*k): offsets in pixels, dy before dx for each tap, then the logits of
        half the weights. All are float32, contiguous and on the CPU.
        """
        height, width, channels = image.shape
        kernel = round((steering.shape[1] // 3) ** 0.5)
        count = len(columns)
        share = -(-count // self._threads)

        def fill(start: int) -> None:
            size = min(share, count - start)
            sizes = (height, width, channels, kernel, first + start, size)
            pointers = (image.data_ptr(), steering.data_ptr(), columns[start:].data_ptr())
            self._function(*pointers, *sizes)

        if share == count:
            fill(0)
        else:
            list(self._pool.map(fill, range(0, count, share)))


@cache
def compiled_sampler(cache_folder: Path = CACHE) -> Sampler | None:
    """The sampler; None, with a line in the log, if this machine has no C compiler."""
    try:
        library = ctypes.CDLL(str(_library(cache_folder)))
    except (OSError, subprocess.SubprocessError) as error:
        LOG.info("no compiled sampling, PyTorch's takes its place: %s", error)
        return None
    library.sample.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_long] * 6
    library.sample.restype = None
    return Sampler(library.sample)


def _library(folder: Path) -> Path:
    """The compiled file, which belongs to this user; its name changes with the source."""
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    target = folder / f"sampling-{digest}.so"
    if not target.is_file() or target.stat().st_uid != os.getuid():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".compile-") as scratch:
            made = Path(scratch) / target.name
            command = ["cc", *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603
            made.replace(target)
    return target
