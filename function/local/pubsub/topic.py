"""Pub/Sub topics on a loopback port, for the local run and the tests.

The official clients reach them through PUBSUB_EMULATOR_HOST; Python code reads `messages` or waits for them.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
from google.pubsub_v1 import types

from function.local.pubsub.pubsub_service import Refused, service_handlers
from function.local.pubsub.push import Push
from function.local.pubsub.subscriptions import Subscription

LARGEST_MESSAGE = 10_000_000  # bytes, data and attributes together
MOST_ATTRIBUTES = 100
LARGEST_KEY = 256  # bytes
LARGEST_VALUE = 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMessage:
    """One published message."""

    topic: str
    id: str
    data: bytes
    attributes: Mapping[str, str]
    published: datetime


@dataclass(slots=True)
class _Topic:
    name: str
    subscriptions: list[Subscription] = field(default_factory=list)


class LocalTopics:
    """Topics, their subscriptions and the gRPC server: `with LocalTopics() as topics: ... topics.address`.

    fail_with: the status of every publish request; None: they succeed.
    delay_s: seconds that every publish request takes.
    attempts: publish requests so far, refused ones included.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, threads: int = 32) -> None:
        self.fail_with: grpc.StatusCode | None = None
        self.delay_s = 0.0
        self.attempts = 0
        self._failures: list[grpc.StatusCode] = []
        self._answers_to_lose = 0
        self._topics: dict[str, _Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._pushes: dict[str, Push] = {}
        self._messages: list[PublishedMessage] = []
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._threads = futures.ThreadPoolExecutor(threads, thread_name_prefix="topic")
        self._server = grpc.server(self._threads, options=options)
        self._server.add_generic_rpc_handlers(service_handlers(self))
        self.address = f"{host}:{self._server.add_insecure_port(f'{host}:{port}')}"  # the value of PUBSUB_EMULATOR_HOST

    def __enter__(self) -> "LocalTopics":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        for push in self._pushes.values():
            push.stop()
        self._server.stop(grace=0.2).wait()
        self._threads.shutdown(wait=False)  # a request that still waits for messages ends by itself

    @property
    def messages(self) -> Sequence[PublishedMessage]:
        """All published messages, in order."""
        with self._changed:
            return tuple(self._messages)

    def wait_for(
        self, predicate: Callable[[Sequence[PublishedMessage]], bool], timeout: float = 30
    ) -> Sequence[PublishedMessage]:
        """The messages, once `predicate` holds for them. TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(tuple(self._messages)), timeout):
                raise TimeoutError(f"not within {timeout} s; {len(self._messages)} messages so far")
            return tuple(self._messages)

    def fail_next(self, code: grpc.StatusCode, times: int = 1) -> None:
        """Refuse the next `times` publish requests and store nothing of them."""
        with self._changed:
            self._failures += [code] * times

    def lose_next_answer(self, times: int = 1) -> None:
        """Store the next `times` publish requests but answer UNAVAILABLE, so that the client publishes again."""
        with self._changed:
            self._answers_to_lose += times

    def create_topic(self, name: str) -> None:
        """name: projects/PROJECT/topics/TOPIC."""
        with self._changed:
            if name in self._topics:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Topic already exists (resource={name}).")
            self._topics[name] = _Topic(name)

    def delete_topic(self, name: str) -> None:
        with self._changed:
            self._topic(name)
            del self._topics[name]

    def topics(self) -> list[str]:
        with self._changed:
            return sorted(self._topics)

    def publish(self, topic: str, messages: Sequence[types.PubsubMessage]) -> list[str]:
        """Store messages and return their ids, or fail as injected."""
        time.sleep(self.delay_s)
        with self._changed:
            self.attempts += 1
            if failure := self.fail_with or (self._failures.pop(0) if self._failures else None):
                raise Refused(failure, "injected failure")
            to = self._topic(topic)
            check_messages(messages)
            ids = [self._take(to, message) for message in messages]
            self._changed.notify_all()
            if self._answers_to_lose:
                self._answers_to_lose -= 1
                raise Refused(grpc.StatusCode.UNAVAILABLE, "injected failure: stored, but the answer is lost")
        return ids

    def create_subscription(self, asked: types.Subscription) -> Subscription:
        with self._changed:
            if asked.name in self._subscriptions:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Subscription already exists (resource={asked.name}).")
            topic = self._topic(asked.topic)
            try:
                made = Subscription(
                    asked.name,
                    asked.topic,
                    asked.ack_deadline_seconds or 10,
                    asked.filter,
                    retain=asked.retain_acked_messages,
                )
            except ValueError as error:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
            self._subscriptions[asked.name] = made
            topic.subscriptions.append(made)
            if endpoint := asked.push_config.push_endpoint:
                made.push_endpoint = endpoint
                self._pushes[asked.name] = Push(made, endpoint)
        return made

    def subscription(self, name: str) -> Subscription:
        with self._changed:
            if name not in self._subscriptions:
                raise Refused(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")
            return self._subscriptions[name]

    def delete_subscription(self, name: str) -> None:
        subscription = self.subscription(name)
        with self._changed:
            del self._subscriptions[name]
            if push := self._pushes.pop(name, None):
                push.stop()
            if topic := self._topics.get(subscription.topic):
                topic.subscriptions.remove(subscription)

    def _topic(self, name: str) -> _Topic:
        if name not in self._topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")
        return self._topics[name]

    def _take(self, topic: _Topic, message: types.PubsubMessage) -> str:
        taken = PublishedMessage(
            topic=topic.name,
            id=str(next(self._numbers)),
            data=message.data,
            attributes=dict(message.attributes),
            published=datetime.now(UTC),
        )
        self._messages.append(taken)
        message.message_id, message.publish_time = taken.id, taken.published
        for subscription in topic.subscriptions:
            subscription.offer(message)
        return taken.id


def check_messages(messages: Iterable[types.PubsubMessage]) -> None:
    """Refuse what the real service refuses. Limits: https://cloud.google.com/pubsub/quotas#resource_limits"""
    for message in messages:
        attributes = {key.encode(): value.encode() for key, value in message.attributes.items()}
        if not message.data and not attributes:
            problem = "One or more messages in the publish request is empty."
        elif any(not key or len(key) > LARGEST_KEY or key.startswith(b"goog") for key in attributes):
            problem = f"Attribute keys have 1 to {LARGEST_KEY} bytes and do not start with goog."
        elif any(len(value) > LARGEST_VALUE for value in attributes.values()):
            problem = f"Attribute values have at most {LARGEST_VALUE} bytes."
        elif len(attributes) > MOST_ATTRIBUTES:
            problem = f"A message has at most {MOST_ATTRIBUTES} attributes."
        elif len(message.data) + sum(len(key) + len(value) for key, value in attributes.items()) > LARGEST_MESSAGE:
            problem = f"A message has at most {LARGEST_MESSAGE} bytes."
        else:
            continue
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, problem)
