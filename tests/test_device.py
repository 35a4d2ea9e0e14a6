"""Faults of the GPU are told from other faults, and named."""

import pytest
import torch

from shared.errors import GpuUnavailable
from shared.models.device import gpu_faults, require_gpu


def test_a_fault_of_the_gpu_is_told_from_other_faults() -> None:
    with pytest.raises(GpuUnavailable, match="an illegal memory access"), gpu_faults():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(torch.OutOfMemoryError), gpu_faults():
        raise torch.OutOfMemoryError
    with pytest.raises(ZeroDivisionError), gpu_faults():
        raise ZeroDivisionError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_required_gpu_that_is_not_there_is_told_with_the_driver_and_the_wheel() -> None:
    with pytest.raises(GpuUnavailable, match=torch.__version__.split("+")[0]):
        require_gpu()
