"""Whether the GPU really works: a wheel built for another driver or chip falls back silently, or fails at first use."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from shared.errors import GpuUnavailable

DRIVER_VERSION = Path("/proc/driver/nvidia/version")
SIDE = 64


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


@contextmanager
def gpu_faults() -> Iterator[None]:
    """GpuUnavailable for a fault of the GPU itself.

    It outlives the call that met it: every later kernel of this process fails too, or computes nonsense.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        raise GpuUnavailable(f"the GPU failed ({error}): {versions()}") from error


def versions() -> str:
    """The driver of this machine and the PyTorch wheel, for a message."""
    try:
        driver = DRIVER_VERSION.read_text().splitlines()[0]
    except OSError:
        driver = "no NVIDIA driver"
    architectures = " ".join(torch.cuda.get_arch_list()) or "none"
    return f"driver: {driver}; wheel: torch {torch.__version__} for CUDA {torch.version.cuda}, chips: {architectures}"
