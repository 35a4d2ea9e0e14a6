"""The GPU: whether it really works, what its faults mean, and less at a time when its memory runs out.

A PyTorch wheel built for another driver or chip falls back silently, or fails at first use.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from shared.errors import GpuUnavailable, OutOfGpuMemory

LOG = logging.getLogger(__name__)

DRIVER_VERSION = Path("/proc/driver/nvidia/version")
SIDE = 64  # pixels of the image that is computed to check the GPU

Result = TypeVar("Result")


def require_gpu() -> str:
    """Run real kernels on the GPU and check what they give; the name of the GPU.

    Raises GpuUnavailable, naming the driver's and the wheel's versions.
    """
    try:
        if not torch.cuda.is_available():
            raise GpuUnavailable(f"no GPU that PyTorch can use: {versions()}")
        image = torch.ones(1, 1, SIDE, SIDE, device="cuda", dtype=torch.float16)
        total = float(torch.nn.functional.conv2d(image, image[:, :, :3, :3]).float().sum())
        name = torch.cuda.get_device_name()
    except RuntimeError as error:
        raise GpuUnavailable(f"the GPU does not run kernels ({error}): {versions()}") from error
    if total != 9 * (SIDE - 2) ** 2:
        raise GpuUnavailable(f"the GPU computes wrong values: {versions()}")
    return name


def native_half_precision() -> frozenset[str]:
    """Of float16 and bfloat16, those in which this CPU multiplies faster than in float32 (AVX-512 BF16, AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from builds for other processors
    has = any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return frozenset({"bfloat16"}) if has else frozenset()


@contextmanager
def gpu_faults() -> Iterator[None]:
    """GpuUnavailable for a fault of the GPU itself.

    It outlives the call that met it: every later kernel of this process fails too, or computes nonsense.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        raise GpuUnavailable(f"the GPU failed ({error}): {versions()}") from error


def first_that_fits(*attempts: Callable[[], Result], what: str) -> Result:
    """What the first attempt gives that does not run out of GPU memory; each takes less memory than the one before.

    Raises OutOfGpuMemory, naming `what` does not fit, GpuUnavailable, and what the attempts raise.
    """
    reason = ""
    for attempt in attempts:
        try:
            with gpu_faults():
                return attempt()
        except torch.OutOfMemoryError as error:
            reason = str(error)  # the error itself would keep the failed attempt's tensors
        LOG.warning("out of GPU memory: %s", reason)
        torch.cuda.empty_cache()
    raise OutOfGpuMemory(f"{what} does not fit into the GPU's memory: {reason}")


def versions() -> str:
    """The driver of this machine and the PyTorch wheel, for a message."""
    try:
        driver = DRIVER_VERSION.read_text().splitlines()[0]
    except OSError:
        driver = "no NVIDIA driver"
    architectures = " ".join(torch.cuda.get_arch_list()) or "none"
    return f"driver: {driver}; wheel: torch {torch.__version__} for CUDA {torch.version.cuda}, chips: {architectures}"
