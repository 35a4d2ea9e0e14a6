"""The server process: ready when it is, gone when told, and clear about why it cannot start."""

import http.client
import os
import signal
import socket
import time
from typing import Any

import pytest

from function.local import LocalCloud, ServerFailed, ServerProcess
from tests.conftest import photo
from tests.service import running

KILLED_AFTER_S = 10  # by Cloud Run, after SIGTERM
EVENT = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "late",
    "ce-type": "google.cloud.storage.object.v1.finalized",
    "ce-source": "//storage.googleapis.com/projects/_/buckets/uploads",
}


@pytest.fixture
def cloud():
    with LocalCloud() as cloud:
        yield cloud


def refusal(cloud, tmp_path, **settings):
    """What a server says that does not start."""
    log = tmp_path / "server.log"
    with pytest.raises(ServerFailed) as failed, ServerProcess({**cloud.environment(), **settings}, log=log):
        pass
    assert "Traceback" not in log.read_text()
    return str(failed.value)


def test_wrong_settings_end_the_server_with_all_problems_in_one_message(cloud, tmp_path):
    said = refusal(cloud, tmp_path, OUTPUT_BUCKET="", MAX_PIXELS="50M", DEVICE="tpu")
    assert "SettingsError: OUTPUT_BUCKET is missing; DEVICE='tpu'" in said
    assert "MAX_PIXELS='50M' is not a whole number" in said


def test_startup_is_answered_only_after_an_image_went_through(cloud, tmp_path, model):
    first: dict[str, Any] = {}

    class Impatient(ServerProcess):
        """Connects as soon as the port is open, and waits."""

        def _ready(self) -> bool:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
                    first["log"] = self.log_text()
                    connection.sendall(b"GET /startup HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    first["answer"] = connection.recv(100)
                    return True
            except ConnectionRefusedError:
                return False

    with Impatient({**cloud.environment(), "MODEL": model}, log=tmp_path / "server.log") as server:
        assert '"ready with' not in first["log"]
        assert first["answer"].startswith(b"HTTP/1.1 200")
        assert '"ready with' in server.log_text()


def test_after_sigterm_work_ends_in_order_and_new_work_is_refused(tmp_path, model):
    with running(tmp_path / "server.log", model) as service:
        store, server = service.cloud.store, service.server
        gates = {name: store.hold("download", name) for name in ("in-time.jpg", "too-long.jpg")}
        for name in gates:
            service.upload(name, photo())
        for gate in gates.values():
            gate.wait_for_arrival()
        kept_alive = http.client.HTTPConnection("127.0.0.1", server.port)
        kept_alive.request("GET", "/startup")
        assert kept_alive.getresponse().read() == b"ready\n"

        service.cloud.eventarc.pause()  # one delivery of each is under way; let the test see its answer
        os.kill(server.pid, signal.SIGTERM)
        told_to_stop = time.monotonic()
        status, said = first_refusal(kept_alive)
        assert (status, b"shutting_down" in said) == (503, True)

        gates["in-time.jpg"].open()
        assert service.outcome("in-time.jpg")["status"] == "completed"
        service.wait_for_log("have not reached the network are handed back")
        gates["too-long.jpg"].open()
        service.cloud.eventarc.wait_for(lambda _: bool(service.statuses("too-long.jpg")))
        assert service.statuses("in-time.jpg") == [200]
        assert service.statuses("too-long.jpg") == [503]
        assert server.stop() == 0
        assert time.monotonic() - told_to_stop < KILLED_AFTER_S


def first_refusal(connection: http.client.HTTPConnection, within_s: float = 5) -> tuple[int, bytes]:
    """Send events over one connection until one is refused: the signal takes a moment to reach the worker."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        event = b'{"bucket": "uploads", "name": "late.jpg", "generation": "1"}'
        connection.request("POST", "/", body=event, headers=EVENT)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            return answer.status, said
    raise TimeoutError("every event was taken")
