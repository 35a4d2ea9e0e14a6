"""What is answered to a delivery, and what the log says about it."""

from collections.abc import Iterator

import flask
import pytest
from cloudevents.http import CloudEvent
from werkzeug.exceptions import HTTPException

from function.admission import Admission
from function.deliveries import Deliveries
from shared.errors import Busy, GpuUnavailable, NoSubject, OutOfGpuMemory
from tests.shop import Shop


@pytest.fixture
def request_context() -> Iterator[None]:
    with flask.Flask("test").test_request_context():
        yield


class Instance:
    """The deliveries of one instance of the service; `ended` counts how often its process was told to end."""

    def __init__(self, shop: Shop, slots: int = 1) -> None:
        self.shop, self.admission, self.ended = shop, Admission(slots), 0
        self.deliveries = Deliveries(shop.handler, self.admission, project="", end_process=self.end)

    def end(self) -> None:
        self.ended += 1

    def answer(self, name: str = "shoes/12.jpg") -> int:
        """The status that a delivery about a new upload gets."""
        upload = self.shop.put(name)
        resource = {"bucket": upload.bucket, "name": name, "generation": str(upload.generation), "size": upload.size}
        event = CloudEvent({"type": "google.cloud.storage.object.v1.finalized", "source": "//storage"}, resource)
        try:
            self.deliveries.event(event)
        except HTTPException as answer:
            return int(answer.code or 0)
        return 200


def failing(error: Exception):
    def fail() -> None:
        raise error

    return fail


@pytest.mark.usefixtures("request_context")
@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (Busy("full"), 429, "busy"),
        (OutOfGpuMemory("full"), 503, "out_of_gpu_memory"),
        (ZeroDivisionError("a fault of ours"), 500, "crash"),
    ],
)
def test_what_may_succeed_later_is_not_acknowledged_and_announces_nothing(shop, caplog, error, status, word):
    instance = Instance(shop)
    shop.cutter.meanwhile = failing(error)
    assert instance.answer() == status
    assert (instance.ended, shop.said) == (0, [])
    fields = caplog.records[-1].fields
    assert word in (fields.get("code"), fields["status"])
    assert fields["source"] == "gs://uploads/shoes/12.jpg"
    assert instance.answer("next.jpg") == 200  # the slot is free again


@pytest.mark.usefixtures("request_context")
def test_after_a_fault_of_the_gpu_the_upload_is_delivered_again_and_the_process_ends(shop):
    instance = Instance(shop)
    shop.cutter.meanwhile = failing(GpuUnavailable("the GPU failed"))
    assert (instance.answer(), instance.ended) == (503, 1)
    assert shop.said == []


@pytest.mark.usefixtures("request_context")
def test_an_upload_beyond_the_slots_is_answered_429_at_once(shop):
    instance = Instance(shop)
    with instance.admission.slot():
        assert instance.answer() == 429
    assert shop.cutter.calls == 0


@pytest.mark.usefixtures("request_context")
def test_what_a_library_said_about_a_failure_is_in_the_log_and_not_in_the_message(shop, caplog):
    shop.cutter.meanwhile = failing(NoSubject("Nothing here.", detail="library: error -2"))
    assert Instance(shop).answer() == 200
    assert caplog.records[-1].fields["detail"] == "library: error -2"
    assert b"library" not in shop.published[0][0]
