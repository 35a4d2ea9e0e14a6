"""The local topics, spoken to by the official clients; what both have to do is also asked of Google's own emulator."""

import base64
import itertools
import json
import queue
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from function.local.pubsub.topic import LocalTopics
from tests.pubsub_emulator import pulled

PROMPT = Retry(predicate=if_exception_type(exceptions.ServiceUnavailable), initial=0.01, maximum=0.05, timeout=20)
AT_ONCE = pubsub_v1.types.BatchSettings(max_messages=1)


@pytest.fixture
def topics():
    with LocalTopics() as topics:
        topics.create_topic(TOPIC)
        yield topics


TOPIC = "projects/local/topics/completions"


class Endpoint:
    """An HTTP server that refuses some requests, then takes every one."""

    def __init__(self, refuses):
        self.bodies: queue.Queue[bytes] = queue.Queue()
        answers = itertools.chain([503] * refuses, itertools.repeat(204))
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.put(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(next(answers))
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class Clients:
    """The official publisher and subscriber for one address."""

    def __init__(self, address, monkeypatch):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        self.publisher = pubsub_v1.PublisherClient(batch_settings=AT_ONCE)
        self.subscriber = pubsub_v1.SubscriberClient()

    def publish(self, topic, data, **attributes):
        end = time.monotonic() + 20
        while True:
            try:
                future = self.publisher.publish(topic, data, retry=PROMPT, timeout=10, **attributes)
            except AssertionError:  # the client's own, for some ms after a publish that failed
                if time.monotonic() > end:
                    raise
                time.sleep(0.002)
            else:
                return future.result(timeout=20)

    def subscribe(self, topic, **how):
        name = f"projects/local/subscriptions/s{uuid.uuid4().hex}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **how})
        return name

    def pull(self, subscription, count, acknowledge=True):
        """`count` messages, in the order in which they came."""
        received = pulled(self.subscriber, subscription, count)
        if acknowledge:
            self.subscriber.acknowledge(subscription=subscription, ack_ids=[item.ack_id for item in received])
        return received

    def close(self):
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()


@pytest.fixture
def both(either, monkeypatch):
    clients = Clients(either, monkeypatch)
    yield clients
    clients.close()


@pytest.fixture
def clients(topics, monkeypatch):
    clients = Clients(topics.address, monkeypatch)
    yield clients
    clients.close()


def new_topic(clients):
    name = f"projects/local/topics/t{uuid.uuid4().hex}"
    clients.publisher.create_topic(name=name)
    return name


def test_messages_come_out_as_they_went_in_and_in_order(both):
    topic = new_topic(both)
    subscription = both.subscribe(topic)
    sent = [(f"größe {index}".encode(), {"ce-id": str(index), "status": "completed", "ü": "ß"}) for index in range(20)]
    ids = [both.publish(topic, data, **attributes) for data, attributes in sent]
    received = [item.message for item in both.pull(subscription, 20)]
    assert [(message.data, dict(message.attributes)) for message in received] == sent
    assert [message.message_id for message in received] == ids
    assert len(set(ids)) == 20
    assert all(message.publish_time.year >= 2024 for message in received)


def test_a_subscription_that_retains_its_messages_goes_back_to_a_moment(both):
    topic = new_topic(both)
    subscription = both.subscribe(topic, retain_acked_messages=True)
    for data in (b"one", b"two"):
        both.publish(topic, data)
    moment = both.pull(subscription, 2)[1].message.publish_time
    for since, expected in ((moment, [b"two"]), (moment - timedelta(hours=1), [b"one", b"two"])):
        both.subscriber.seek(request={"subscription": subscription, "time": since})
        assert [item.message.data for item in both.pull(subscription, len(expected))] == expected
    assert not both.subscriber.pull(subscription=subscription, max_messages=1, return_immediately=True, timeout=10)


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(both):
    topic = new_topic(both)
    subscription = both.subscribe(topic, ack_deadline_seconds=10)
    both.publish(topic, b"one")
    (first,) = both.pull(subscription, 1, acknowledge=False)
    both.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    (second,) = both.pull(subscription, 1)
    assert first.message == second.message
    assert not both.subscriber.pull(subscription=subscription, max_messages=1, return_immediately=True, timeout=10)


def test_each_subscription_gets_every_message_that_comes_after_it(both):
    topic = new_topic(both)
    both.publish(topic, b"before")
    subscriptions = [both.subscribe(topic), both.subscribe(topic)]
    both.publish(topic, b"after")
    assert [both.pull(name, 1)[0].message.data for name in subscriptions] == [b"after", b"after"]


def test_a_push_subscription_posts_each_message_until_it_is_taken(both):
    both.publisher.create_topic(name=TOPIC + "-pushed")
    with Endpoint(refuses=1) as endpoint:
        subscription = both.subscribe(TOPIC + "-pushed", push_config={"push_endpoint": endpoint.url})
        assert both.subscriber.get_subscription(subscription=subscription).push_config.push_endpoint == endpoint.url
        both.publish(TOPIC + "-pushed", b"data", status="completed")
        pushed = [json.loads(endpoint.bodies.get(timeout=30)) for _ in range(2)]
    assert pushed[0]["message"] == pushed[1]["message"]
    assert pushed[0]["subscription"] == subscription
    message = pushed[0]["message"]
    assert (base64.b64decode(message["data"]), message["attributes"]) == (b"data", {"status": "completed"})
    assert message["messageId"] == message["message_id"]
    assert datetime.fromisoformat(message["publishTime"]).tzinfo is not None
    both.publisher.delete_topic(topic=TOPIC + "-pushed")


def test_a_streaming_subscriber_gets_the_messages(both):
    topic = new_topic(both)
    got, done = [], threading.Event()

    def take(message):
        got.append(message.data)
        message.ack()
        if len(got) == 10:
            done.set()

    stream = both.subscriber.subscribe(both.subscribe(topic), callback=take)
    for index in range(10):
        both.publish(topic, f"{index}".encode())
    assert done.wait(20)
    stream.cancel()
    stream.result(timeout=20)
    assert sorted(got) == [f"{index}".encode() for index in range(10)]


def test_a_topic_or_subscription_that_is_not_there_is_not_found(both):
    with pytest.raises(exceptions.NotFound):
        both.publish("projects/local/topics/nowhere", b"data")
    with pytest.raises(exceptions.NotFound):
        both.publisher.get_topic(topic="projects/local/topics/nowhere")
    with pytest.raises(exceptions.NotFound):
        both.subscriber.pull(subscription="projects/local/subscriptions/nowhere", max_messages=1, timeout=10)
    with pytest.raises(exceptions.NotFound):
        both.subscribe("projects/local/topics/nowhere")


def test_topics_and_subscriptions_are_made_once_found_and_deleted(both):
    topic = new_topic(both)
    with pytest.raises(exceptions.AlreadyExists):
        both.publisher.create_topic(name=topic)
    assert topic in [found.name for found in both.publisher.list_topics(project="projects/local")]
    subscription = both.subscribe(topic, ack_deadline_seconds=77)
    assert both.subscriber.get_subscription(subscription=subscription).ack_deadline_seconds == 77
    both.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        both.subscriber.get_subscription(subscription=subscription)
    both.publisher.delete_topic(topic=topic)
    with pytest.raises(exceptions.NotFound):
        both.publisher.get_topic(topic=topic)


def test_an_empty_message_is_refused(both):
    topic = new_topic(both)
    with pytest.raises(exceptions.InvalidArgument):
        both.publish(topic, b"")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"k" * 257: "v"}, "256 bytes"),
        ({"googclient": "v"}, "goog"),
        ({"k": "ü" * 513}, "1024 bytes"),
        ({f"k{index}": "v" for index in range(101)}, "100 attributes"),
    ],
)
def test_attributes_beyond_the_real_services_limits_are_refused(clients, topics, attributes, problem):
    with pytest.raises(exceptions.InvalidArgument, match=problem):
        clients.publish(TOPIC, b"data", **attributes)
    clients.publish(TOPIC, b"data", **{"k" * 256: "v", "l": "ü" * 512})
    assert len(topics.messages) == 1


def test_what_was_published_can_be_read_and_waited_for(clients, topics):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(topics.wait_for, lambda messages: len(messages) == 3, timeout=10)
        for index in range(3):
            clients.publish(TOPIC, f"{index}".encode(), number=str(index))
        messages = waiting.result(timeout=10)
    assert [(m.topic, m.data, m.attributes) for m in messages] == [
        (TOPIC, f"{index}".encode(), {"number": str(index)}) for index in range(3)
    ]
    with pytest.raises(TimeoutError, match="3 messages so far"):
        topics.wait_for(lambda messages: len(messages) == 4, timeout=0.05)


def test_a_failing_topic_keeps_nothing_until_it_works_again(clients, topics):
    topics.fail_with = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(exceptions.GoogleAPICallError):
        clients.publisher.publish(TOPIC, b"data", retry=None, timeout=10).result(timeout=10)
    assert (topics.attempts, topics.messages) == (1, ())
    topics.fail_with = None
    clients.publish(TOPIC, b"data")
    assert [message.data for message in topics.messages] == [b"data"]


def test_a_failure_that_passes_is_survived_by_the_client(clients, topics):
    topics.fail_next(grpc.StatusCode.UNAVAILABLE, times=2)
    clients.publish(TOPIC, b"data")
    assert (topics.attempts, len(topics.messages)) == (3, 1)
    topics.fail_next(grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(exceptions.PermissionDenied):
        clients.publish(TOPIC, b"data")


def test_a_lost_answer_makes_the_client_publish_twice(clients, topics):
    topics.lose_next_answer()
    clients.publish(TOPIC, b"data", key="k")
    first, second = topics.messages
    assert (first.data, first.attributes) == (second.data, second.attributes)
    assert first.id != second.id


def test_a_slow_topic_runs_into_the_clients_deadline(clients, topics):
    topics.delay_s = 0.5
    with pytest.raises(exceptions.DeadlineExceeded):
        clients.publisher.publish(TOPIC, b"data", retry=None, timeout=0.1).result(timeout=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["completed", "failed", ""]),
        ('attributes.status = "failed"', ["failed"]),
        ('attributes.status != "failed"', ["completed", ""]),
        ("attributes:status", ["completed", "failed"]),
        ("NOT attributes:status", [""]),
        ('hasPrefix(attributes.status, "comp")', ["completed"]),
        ('attributes:status AND NOT attributes.status = "completed"', ["failed"]),
        ('attributes."status"="failed"', ["failed"]),
    ],
)
def test_a_subscription_gets_what_its_filter_lets_through(clients, text, expected):
    subscription = clients.subscribe(TOPIC, filter=text)
    for status in ("completed", "failed", ""):
        clients.publish(TOPIC, status.encode() or b"other", **({"status": status} if status else {}))
    received = clients.pull(subscription, len(expected))
    assert [item.message.attributes.get("status", "") for item in received] == expected


@pytest.mark.parametrize("text", ["status = failed", 'attributes.a = "b" OR attributes.c = "d"', "attributes.a"])
def test_a_filter_that_is_not_understood_is_refused(clients, text):
    with pytest.raises(exceptions.InvalidArgument, match="cannot read the filter"):
        clients.subscribe(TOPIC, filter=text)


def test_what_is_not_implemented_is_refused_instead_of_ignored(clients):
    token = {"service_account_email": "webhook@local.iam.gserviceaccount.com"}
    with pytest.raises(exceptions.MethodNotImplemented):
        clients.subscribe(TOPIC, push_config={"push_endpoint": "http://localhost:1", "oidc_token": token})
    with pytest.raises(exceptions.MethodNotImplemented):
        clients.subscribe(TOPIC, dead_letter_policy={"dead_letter_topic": TOPIC})
    with pytest.raises(exceptions.MethodNotImplemented):
        clients.publisher.create_topic(request={"name": "projects/p/topics/t", "schema_settings": {"schema": "s"}})


def test_a_stopped_topic_leaves_no_thread():
    before = set(threading.enumerate())
    with LocalTopics() as topics:
        topics.create_topic(TOPIC)
        with grpc.insecure_channel(topics.address) as channel:
            assert get_topic(channel)(types.GetTopicRequest(topic=TOPIC), timeout=10).name == TOPIC
        assert any(thread.name.startswith("topic") for thread in threading.enumerate())
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
    assert set(threading.enumerate()) <= before


def get_topic(channel):
    """The method GetTopic over a plain channel: Google's client keeps threads of its own."""
    return channel.unary_unary(
        "/google.pubsub.v1.Publisher/GetTopic",
        request_serializer=types.GetTopicRequest.serialize,
        response_deserializer=types.Topic.deserialize,
    )
