"""What a fault of the GPU does: the process is given up, the upload is not."""

import os
import signal
from collections.abc import Iterator
from typing import NoReturn

import flask
import pytest
import torch
from werkzeug.exceptions import ServiceUnavailable

from function import main
from shared.errors import GpuUnavailable
from shared.models.device import gpu_faults, require_gpu
from shared.records import Upload


@pytest.fixture
def terminated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The SIGTERMs that this process got, instead of ending of them."""
    monkeypatch.setenv("OUTPUT_BUCKET", "cutouts")
    monkeypatch.setenv("COMPLETION_TOPIC", "projects/p/topics/completions")
    main.settings.cache_clear()
    main.admission.cache_clear()
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)
    main.settings.cache_clear()
    main.admission.cache_clear()


def test_a_fault_of_the_gpu_is_told_from_other_faults() -> None:
    with pytest.raises(GpuUnavailable, match="an illegal memory access"), gpu_faults():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(torch.OutOfMemoryError), gpu_faults():
        raise torch.OutOfMemoryError
    with pytest.raises(ZeroDivisionError), gpu_faults():
        raise ZeroDivisionError


def test_after_a_fault_of_the_gpu_the_upload_is_delivered_again_and_the_process_ends(terminated: list[int]) -> None:
    def failing(_upload: Upload) -> NoReturn:
        raise GpuUnavailable("the GPU failed")

    with flask.Flask("test").test_request_context(), pytest.raises(ServiceUnavailable):
        main._take(lambda: Upload(bucket="uploads", name="a.jpg", generation=1), failing)
    assert terminated == [signal.SIGTERM], os.getpid()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_required_gpu_that_is_not_there_is_told_with_the_driver_and_the_wheel() -> None:
    with pytest.raises(GpuUnavailable, match=torch.__version__.split("+")[0]):
        require_gpu()
