"""Uploads that could not be delivered: one last try, then the finisher; and a replay. All with the real servers."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from google.cloud import pubsub_v1

from function.local import LocalCloud, RetryPolicy, ServerProcess
from function.local.eventarc.envelopes import PushMessage, wrapped_post
from tests.conftest import photo
from tests.service import Service

ATTEMPTS = 3
SUBSCRIPTION = "projects/local/subscriptions/given-up"
FAILURES, REPLAYS = "projects/local/subscriptions/failures", "projects/local/topics/replay"


class BreakableFront:
    """Stands before the server; answers 503 to as many deliveries as `broken_for` says, then passes them on."""

    def __init__(self, target: str) -> None:
        self.broken_for = 0
        self.lock = threading.Lock()
        front = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with front.lock:
                    front.broken_for -= 1
                    broken = front.broken_for >= 0
                if broken:
                    status = 503
                else:
                    status = requests.post(
                        target + self.path, data=body, headers=dict(self.headers), timeout=60
                    ).status_code
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["BreakableFront"]:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    retry = RetryPolicy(first_backoff_s=0.05, longest_backoff_s=0.1, max_attempts=ATTEMPTS)
    with LocalCloud(retry=retry) as cloud, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PUBSUB_EMULATOR_HOST", cloud.topics.address)
        cloud.topics.create_topic(REPLAYS)
        with pubsub_v1.SubscriberClient() as subscriber:
            failed = {"filter": 'attributes.status = "failed"', "retain_acked_messages": True}
            subscriber.create_subscription(request={"name": FAILURES, "topic": cloud.topic, **failed})
        yield cloud


@pytest.fixture(scope="module")
def service(cloud, model, tmp_path_factory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("last-try") / "server.log"
    with ServerProcess({**cloud.environment(), "MODEL": model, "CONCURRENCY": "2"}, log=log) as server:
        yield Service(cloud, server)


@pytest.fixture(scope="module")
def finisher(cloud, model, tmp_path_factory) -> Iterator[ServerProcess]:
    """It sees the weights' file and no GPU."""
    log = tmp_path_factory.mktemp("finisher") / "finisher.log"
    environment = {**cloud.environment(), "MODEL": model, "CUDA_VISIBLE_DEVICES": ""}
    with ServerProcess(environment, log=log, config="function/finisher.py") as finisher:
        yield finisher


@pytest.fixture
def front(cloud, service) -> Iterator[BreakableFront]:
    """Both the uploads and their last try go to the service, as in dead_letters.tf."""
    with BreakableFront(service.server.url).running() as front:
        cloud.eventarc.connect(front.url, front.url)
        yield front


def push(url: str, message: PushMessage) -> int:
    post = wrapped_post(message, SUBSCRIPTION, 1)
    return requests.post(url, data=post.body, headers=dict(post.headers), timeout=60).status_code


def codes(service: Service, name: str) -> list[str]:
    return [json.loads(message.data)["code"] for message in service.published(name)]


def letter_about(service: Service, name: str) -> PushMessage:
    return next(
        letter for letter in service.cloud.eventarc.dead_letters if letter.attributes["ce-subject"].endswith(name)
    )


def give_up(service: Service, finisher: ServerProcess, front: BreakableFront, name: str) -> None:
    """Every delivery and every last try fails; then the finisher gets the event."""
    front.broken_for = 2 * ATTEMPTS
    service.upload(name, photo())
    service.settled()
    assert service.published(name) == []
    assert push(f"{finisher.url}/dead-letter", letter_about(service, name)) == 200


def test_an_upload_whose_deliveries_all_failed_gets_its_result_from_the_last_try(service, front):
    front.broken_for = ATTEMPTS + 1
    service.upload("late.jpg", photo())
    service.settled()
    assert service.statuses("late.jpg") == [503] * (ATTEMPTS + 1) + [200]
    assert codes(service, "late.jpg") == [""]
    assert service.image("late.png").mode == "RGBA"


def test_an_upload_whose_last_try_failed_is_given_up_by_the_finisher(service, finisher, front):
    give_up(service, finisher, front, "lost.jpg")
    assert codes(service, "lost.jpg") == ["gave_up"]


def test_the_finisher_announces_the_result_that_was_stored_after_all_with_the_services_own_key(
    service, finisher, front
):
    service.upload("stored.jpg", photo(seed=4))
    service.settled()
    (event,) = {
        item.message.id: item.message
        for item in service.cloud.eventarc.attempts
        if item.message.attributes["ce-subject"] == "objects/stored.jpg"
    }.values()
    assert push(f"{finisher.url}/dead-letter", event) == 200
    first, second = service.published("stored.jpg")
    assert json.loads(first.data)["status"] == "completed"
    assert (first.data, first.attributes) == (second.data, second.attributes)


def test_the_finisher_takes_nothing_but_dead_letters(finisher):
    assert requests.post(finisher.url, data=b"{}", timeout=10).status_code == 404
    assert requests.post(f"{finisher.url}/dead-letter", data=b"no event", timeout=10).status_code == 200


def replay(cloud: LocalCloud, *arguments: str) -> str:
    environment = {**os.environ, **cloud.environment(), "REPLAY_FAILURES": FAILURES, "REPLAY_TOPIC": REPLAYS}
    command = [sys.executable, "-m", "function.replay", "--patience-s", "1", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def deliver_replays(service: Service) -> None:
    """What the push subscription of replay.tf does."""
    for sent in service.cloud.topics.messages:
        if sent.topic == REPLAYS:
            message = PushMessage(id=sent.id, attributes=sent.attributes, data=sent.data, published=sent.published)
            assert push(service.server.url, message) == 200


def test_a_replay_turns_what_was_given_up_into_results_with_an_id_of_their_own(service, finisher, front):
    give_up(service, finisher, front, "again.jpg")
    assert "gave_up" in replay(service.cloud, "--dry-run")
    assert not [sent for sent in service.cloud.topics.messages if sent.topic == REPLAYS]
    assert "sent again" in replay(service.cloud, "--since", "1h", "--code", "gave_up")
    deliver_replays(service)
    first, second = service.published("again.jpg")
    before, after = json.loads(first.data), json.loads(second.data)
    assert (before["code"], after["status"]) == ("gave_up", "completed")
    assert after["notes"]["replayed"] > "2020"
    assert first.attributes["ce-id"] == before["key"] == after["key"] != second.attributes["ce-id"]


def test_a_replay_of_another_code_sends_nothing(service, finisher, front):
    give_up(service, finisher, front, "other.jpg")
    said = replay(service.cloud, "--since", "1h", "--code", "output_refused")
    assert said.startswith("no such failure")
