"""The Eventarc stand-in: what it sends, and that it never loses an event."""

import base64
import itertools
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cloudevents.http import from_http
from google.cloud import storage

from function.local.eventarc.delivery import ACKNOWLEDGED, Eventarc, RetryPolicy, Transport
from function.local.server_process import free_port
from function.local.storage.store import LocalStore

PROMPT = RetryPolicy(first_backoff_s=0.01, longest_backoff_s=0.04, max_attempts=5, ack_deadline_s=5)


@dataclass
class Received:
    """One request as the service saw it."""

    path: str
    headers: dict
    body: bytes
    at: float

    @property
    def event_id(self):
        return self.headers["ce-id"]


class Service(ThreadingHTTPServer):
    """A service that answers as told: `answers` in order, then 200. A number is a status, None cuts the connection."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Answering)
        self.received, self.answers, self.changed = [], [], threading.Condition()
        self.at_once = self.most_at_once = 0
        self.free = threading.Event()  # cleared: requests arrive and get no answer
        self.free.set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def wait_for_requests(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= count, timeout=20)

    def close(self):
        self.free.set()
        self.shutdown()
        self.server_close()


class Answering(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service = self.server
        with service.changed:
            headers = {key.lower(): value for key, value in self.headers.items()}
            service.received.append(Received(self.path, headers, body, time.monotonic()))
            answer = service.answers.pop(0) if service.answers else 200
            service.at_once += 1
            service.most_at_once = max(service.most_at_once, service.at_once)
            service.changed.notify_all()
        assert service.free.wait(60)
        with service.changed:
            service.at_once -= 1
        if answer is not None:
            self.send_response(answer)
            if answer != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def store():
    with LocalStore() as store:
        store.create_bucket("uploads")
        store.create_bucket("cutouts")
        yield store


@pytest.fixture
def bucket(store, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
    with storage.Client() as client:
        yield client.bucket("uploads")


@pytest.fixture
def service():
    service = Service()
    yield service
    service.close()


@pytest.fixture
def connect(store, service):
    """Eventarc between the store and the service, stopped at the end."""
    started = []

    def make(**how):
        eventarc = Eventarc(store, ["uploads"], **{"url": service.url, "retry": PROMPT, **how})
        eventarc.start()
        started.append(eventarc)
        return eventarc

    yield make
    for eventarc in started:
        eventarc.stop()


def put(bucket, name="shoes/12.jpg", data=b"bytes"):
    blob = bucket.blob(name)
    blob.metadata = {"cutdrop-format": "webp"}
    blob.upload_from_string(data, content_type="image/jpeg")
    return blob


def test_a_finalized_object_becomes_a_binary_cloudevent(connect, bucket, service):
    eventarc = connect()
    blob = put(bucket, "shoes/größe 12.jpg")
    eventarc.wait()
    (received,) = service.received
    event = from_http(received.headers, received.body)
    assert event["type"] == "google.cloud.storage.object.v1.finalized"
    assert event["source"] == "//storage.googleapis.com/projects/_/buckets/uploads"
    assert event["specversion"] == "1.0"
    assert event["subject"] == "objects/shoes/gr%C3%B6%C3%9Fe%2012.jpg"  # as CloudEvents puts it into HTTP headers
    assert event["bucket"] == "uploads"
    assert event["id"]
    assert received.headers["content-type"] == "application/json"
    assert (event.data["bucket"], event.data["name"]) == ("uploads", "shoes/größe 12.jpg")
    assert (event.data["generation"], event.data["metageneration"], event.data["size"]) == (
        str(blob.generation),
        "1",
        "5",
    )
    assert event.data["contentType"] == "image/jpeg"
    assert event.data["metadata"] == {"cutdrop-format": "webp"}
    assert event.data["crc32c"] == blob.crc32c
    assert event["time"] == event.data["timeCreated"]


def test_an_overwrite_gives_a_second_event_and_a_patch_or_delete_none(connect, bucket, service):
    eventarc = connect()
    first, second = put(bucket), put(bucket)
    second.metadata = {"more": "x"}
    second.patch()
    second.delete()
    eventarc.wait()
    generations = sorted(json.loads(received.body)["generation"] for received in service.received)
    assert generations == [str(first.generation), str(second.generation)]
    assert len({received.event_id for received in service.received}) == 2


def test_objects_of_other_buckets_give_no_event(connect, bucket, service):
    eventarc = connect()
    put(bucket.client.bucket("cutouts"))
    eventarc.wait()
    assert eventarc.attempts == []
    assert service.received == []


def test_a_bucket_notification_comes_wrapped_as_pubsub_pushes_it(connect, bucket, service):
    eventarc = connect(transport=Transport.NOTIFICATION)
    first, second = put(bucket), put(bucket)
    eventarc.wait()
    wrapped = sorted(
        (json.loads(received.body) for received in service.received), key=lambda body: body["message"]["messageId"]
    )
    assert service.received[0].headers["content-type"] == "application/json"
    assert "ce-id" not in service.received[0].headers
    message = wrapped[1]["message"]
    assert message["attributes"] | {"eventTime": ""} == {
        "notificationConfig": "projects/_/buckets/uploads/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": "uploads",
        "objectId": "shoes/12.jpg",
        "objectGeneration": str(second.generation),
        "overwroteGeneration": str(first.generation),
        "eventTime": "",
    }
    assert json.loads(base64.b64decode(message["data"]))["generation"] == str(second.generation)
    assert message["messageId"] == message["message_id"]
    assert message["publishTime"] == message["attributes"]["eventTime"]
    assert wrapped[1]["subscription"].startswith("projects/local/subscriptions/")
    assert wrapped[1]["deliveryAttempt"] == 1


@pytest.mark.parametrize("status", sorted(ACKNOWLEDGED))
def test_an_acknowledged_event_is_delivered_once(connect, bucket, service, status):
    service.answers = [status]
    eventarc = connect()
    put(bucket)
    eventarc.wait()
    assert [attempt.status for attempt in eventarc.attempts] == [status]
    assert eventarc.dead_letters == []


@pytest.mark.parametrize("refusal", [203, 302, 400, 404, 429, 500, 503, None])
def test_anything_else_is_delivered_again_with_the_same_id(connect, bucket, service, refusal):
    service.answers = [refusal, refusal]
    eventarc = connect()
    put(bucket)
    eventarc.wait()
    assert [attempt.status for attempt in eventarc.attempts] == [refusal or 0, refusal or 0, 200]
    assert [attempt.number for attempt in eventarc.attempts] == [1, 2, 3]
    assert len({(received.event_id, received.body) for received in service.received}) == 1


def test_each_refusal_doubles_the_wait_up_to_the_longest(connect, bucket, service):
    service.answers = [503] * 4
    eventarc = connect(retry=RetryPolicy(first_backoff_s=0.04, longest_backoff_s=0.1, max_attempts=9))
    put(bucket)
    eventarc.wait()
    times = [received.at for received in service.received]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, [0.04, 0.08, 0.1, 0.1], strict=True))
    policy = RetryPolicy(first_backoff_s=10, longest_backoff_s=600)
    assert [policy.backoff_s(attempts) for attempts in (1, 2, 3, 7, 8, 5000)] == [10, 20, 40, 600, 600, 600]


def test_a_service_that_starts_late_gets_what_happened_before(store, bucket):
    port = free_port()
    patient = RetryPolicy(first_backoff_s=0.01, longest_backoff_s=0.05, max_attempts=1000)
    with Eventarc(store, ["uploads"], url=f"http://127.0.0.1:{port}", retry=patient) as eventarc:
        put(bucket)
        attempts = eventarc.wait_for(lambda attempts: len(attempts) >= 3)
        assert {attempt.status for attempt in attempts} == {0}
        assert "ConnectionRefused" in eventarc.attempts[0].problem
        service = Service(port)
        eventarc.wait()
        assert len(service.received) == 1
        service.close()


def test_nothing_is_delivered_before_there_is_an_address(connect, bucket, service):
    other, eventarc = connect(), connect(url="")
    put(bucket)
    other.wait()
    assert not eventarc.idle()
    eventarc.connect(service.url)
    eventarc.wait()
    assert [(attempt.url, attempt.number, attempt.status) for attempt in eventarc.attempts] == [(service.url, 1, 200)]
    assert len(service.received) == 2


def test_an_answer_after_the_deadline_is_a_refusal(connect, bucket, service):
    service.free.clear()
    eventarc = connect(retry=RetryPolicy(first_backoff_s=0.01, max_attempts=2, ack_deadline_s=0.05))
    put(bucket)
    eventarc.wait()
    assert [attempt.status for attempt in eventarc.attempts] == [0, 0]
    assert "timed out" in eventarc.attempts[0].problem.lower() or "Timeout" in eventarc.attempts[0].problem
    assert len(eventarc.dead_letters) == 1


def test_duplicates_are_the_same_event_several_times(connect, bucket, service):
    eventarc = connect(duplicates=2)
    put(bucket, "a")
    put(bucket, "b")
    eventarc.wait()
    assert sorted(json.loads(received.body)["name"] for received in service.received) == ["a", "a", "a", "b", "b", "b"]
    assert len({received.event_id for received in service.received}) == 2


def test_after_the_last_attempt_the_event_is_a_dead_letter(connect, bucket, service):
    service.answers = [500] * PROMPT.max_attempts
    eventarc = connect()
    blob = put(bucket)
    eventarc.wait()
    assert len(service.received) == PROMPT.max_attempts
    (letter,) = eventarc.dead_letters
    assert json.loads(letter.data)["generation"] == str(blob.generation)
    assert letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == str(PROMPT.max_attempts)


def test_a_dead_letter_is_pushed_to_its_own_address_with_what_it_was_and_where_it_failed(connect, bucket, service):
    service.answers = [500] * PROMPT.max_attempts + [503]
    eventarc = connect(dead_letter_url=f"{service.url}/dead-letter?x=1")
    blob = put(bucket)
    eventarc.wait()
    first, *_ = service.received
    *_, refused, accepted = service.received
    assert refused.path == accepted.path == "/dead-letter?x=1"
    body = json.loads(accepted.body)
    attributes = body["message"]["attributes"]
    assert {key: value for key, value in attributes.items() if key.startswith("ce-")} == {
        key: value for key, value in first.headers.items() if key.startswith("ce-")
    }
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == "eventarc-local-sub"
    assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "local"
    assert "CloudPubSubDeadLetterSourceTopicPublishTime" in attributes
    assert base64.b64decode(body["message"]["data"]) == first.body
    assert json.loads(first.body)["generation"] == str(blob.generation)
    assert body["deliveryAttempt"] == 2
    assert len(eventarc.dead_letters) == 1


def test_no_more_deliveries_run_at_once_than_allowed(connect, bucket, service):
    service.free.clear()
    eventarc = connect(concurrency=3)
    for index in range(12):
        put(bucket, f"{index}")
    service.wait_for_requests(3)
    service.free.set()
    eventarc.wait()
    assert len(service.received) == 12
    assert service.most_at_once == 3


def test_an_event_that_is_refused_does_not_hold_up_the_others(connect, bucket, service):
    service.answers = [503] * 3
    eventarc = connect(concurrency=1, retry=RetryPolicy(first_backoff_s=0.2, max_attempts=9))
    for name in "abcdef":
        put(bucket, name)
    eventarc.wait()
    names = [json.loads(received.body)["name"] for received in service.received]
    assert names[:6] == list("abcdef")
    assert sorted(names[6:]) == ["a", "b", "c"]


def test_held_events_can_be_let_go_in_reverse_order(connect, bucket, service):
    eventarc = connect(concurrency=1)
    eventarc.pause()
    for name in "abc":
        put(bucket, name)
    eventarc.resume(newest_first=True)
    eventarc.wait()
    assert [json.loads(received.body)["name"] for received in service.received] == ["c", "b", "a"]


def test_an_event_can_be_delivered_again_long_after_it_was_acknowledged(connect, bucket, service):
    eventarc = connect()
    put(bucket)
    eventarc.wait()
    eventarc.deliver(eventarc.attempts[0].message)
    eventarc.wait()
    assert len({(received.event_id, received.body) for received in service.received}) == 1
    assert len(service.received) == 2


def test_waiting_for_what_does_not_come_ends_with_the_number_that_is_left(connect, bucket):
    eventarc = connect(url="")
    put(bucket)
    with pytest.raises(TimeoutError, match="1 deliveries are left"):
        eventarc.wait(timeout=0.02)


def test_stopping_cuts_deliveries_under_way_and_leaves_no_thread(store, bucket, service):
    before = set(threading.enumerate())
    service.free.clear()  # never answers
    eventarc = Eventarc(store, ["uploads"], url=service.url, concurrency=2)
    eventarc.start()
    for index in range(4):
        put(bucket, f"{index}")
    service.wait_for_requests(2)
    eventarc.stop()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("eventarc")]
    received = len(service.received)
    put(bucket, "after")
    assert len(service.received) == received == 2


def test_the_local_cloud_wires_all_three(service, monkeypatch):
    from function.local import LocalCloud

    with LocalCloud() as cloud:
        for key, value in cloud.environment().items():
            monkeypatch.setenv(key, value)
        cloud.eventarc.connect(service.url)
        with storage.Client() as client:
            put(client.bucket(cloud.upload_bucket))
            put(client.bucket(cloud.output_bucket))
        cloud.eventarc.wait()
        assert len(service.received) == 1
        assert cloud.topics.topics() == [cloud.environment()["COMPLETION_TOPIC"]]
