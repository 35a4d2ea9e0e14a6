"""A stand-in for Eventarc: posts an event to the service for every new object, at least once.

As with the push subscription behind the real Eventarc, any status outside ACKNOWLEDGED is a failure: the event is
delivered again with exponential backoff, and goes to the dead-letter list after the last attempt.
"""

import heapq
import http.client
import itertools
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from function.local.eventarc.envelopes import (
    Post,
    PushMessage,
    binary_post,
    dead_lettered,
    eventarc_message,
    notification_message,
    wrapped_post,
)
from function.local.storage.objects import Finalized
from function.local.storage.store import LocalStore

ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
LONGEST_ANSWER = 4096  # bytes that are kept


class Transport(StrEnum):
    """The format of a delivery."""

    EVENTARC = "eventarc"  # binary CloudEvents
    NOTIFICATION = "notification"  # the bucket's own notification, push-wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retries of the subscription. Pub/Sub's own values: 10 s, 600 s, 5 to 100 attempts, 600 s."""

    first_backoff_s: float = 0.1  # doubled after each refusal
    longest_backoff_s: float = 5.0
    max_attempts: int = 10  # then the event is a dead letter
    ack_deadline_s: float = 600.0  # a response that takes longer counts as a failure

    def backoff_s(self, attempts: int) -> float:
        return min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** min(attempts - 1, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One delivery; status 0: no response came, `problem` has the reason. answer: the response's text."""

    message: PushMessage
    url: str
    number: int
    status: int
    problem: str = ""
    answer: str = ""

    @property
    def acknowledged(self) -> bool:
        return self.status in ACKNOWLEDGED


@dataclass(order=True, slots=True)
class _Delivery:
    due: float  # time.monotonic()
    order: int
    message: PushMessage = field(compare=False)
    dead_letter: bool = field(default=False, compare=False)
    attempts: int = field(default=0, compare=False)


class Eventarc:
    """Delivers the finalize events of some buckets of a store.

    url: the service; nothing is delivered before it is set. dead_letter_url: receives dead letters; empty = nobody.
    duplicates: extra deliveries of each event, whatever the responses are.
    """

    def __init__(
        self,
        store: LocalStore,
        buckets: Collection[str],
        *,
        url: str = "",
        dead_letter_url: str = "",
        transport: Transport = Transport.EVENTARC,
        retry: RetryPolicy | None = None,
        concurrency: int = 4,
        duplicates: int = 0,
        project: str = "local",
    ) -> None:
        self.url, self.dead_letter_url, self.duplicates = url, dead_letter_url, duplicates
        self.attempts: list[DeliveryAttempt] = []
        self.dead_letters: list[PushMessage] = []
        self._store, self._buckets = store, frozenset(buckets)
        self._transport, self._retry, self._project = transport, retry or RetryPolicy(), project
        self._subscription = f"{transport}-{project}-sub"
        self._heap: list[_Delivery] = []
        self._working = 0
        self._paused = self._stopped = False
        self._numbers, self._order = itertools.count(1), itertools.count()
        self._connections: set[http.client.HTTPConnection] = set()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"eventarc-{index}", daemon=True) for index in range(concurrency)
        ]
        store.subscribe(self._on_finalized)

    def __enter__(self) -> "Eventarc":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Deliver nothing more; deliveries in progress are cut off."""
        with self._changed:
            self._stopped = True
            for connection in self._connections:
                _cut(connection)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=10)

    def connect(self, url: str, dead_letter_url: str = "") -> None:
        """Set the service's URL; events that waited for it are delivered now."""
        with self._changed:
            self.url, self.dead_letter_url = url, dead_letter_url
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold every delivery that has not started."""
        with self._changed:
            self._paused = True

    def resume(self, *, newest_first: bool = False) -> None:
        """Continue; newest_first reverses the order in which the objects were written."""
        with self._changed:
            if newest_first:
                now = time.monotonic()
                for delivery in self._heap:
                    delivery.due, delivery.order = now, -delivery.order
                heapq.heapify(self._heap)
            self._paused = False
            self._changed.notify_all()

    def deliver(self, message: PushMessage) -> None:
        """Deliver a message again, or one that did not come from the store."""
        self._put(_Delivery(time.monotonic(), next(self._order), message))

    def wait(self, timeout: float = 60) -> None:
        """Return once every event is acknowledged or a dead letter. TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(self.idle, timeout):
                raise TimeoutError(f"{len(self._heap) + self._working} deliveries are left after {timeout} s")

    def wait_for(
        self, predicate: Callable[[Sequence[DeliveryAttempt]], bool], timeout: float = 60
    ) -> Sequence[DeliveryAttempt]:
        """The attempts so far, once `predicate` holds for them. TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(tuple(self.attempts)), timeout):
                raise TimeoutError(f"not within {timeout} s; {len(self.attempts)} attempts so far")
            return tuple(self.attempts)

    def idle(self) -> bool:
        """Nothing waits and nothing is in progress."""
        with self._changed:
            return not self._heap and not self._working

    def _on_finalized(self, event: Finalized) -> None:
        if event.object.bucket not in self._buckets:
            return
        make = eventarc_message if self._transport is Transport.EVENTARC else notification_message
        message = make(event, str(next(self._numbers)), self._store.url)
        for _ in range(1 + self.duplicates):
            self.deliver(message)

    def _put(self, delivery: _Delivery) -> None:
        with self._changed:
            heapq.heappush(self._heap, delivery)
            self._changed.notify_all()

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            try:
                self._settle(delivery, self._attempt(delivery))
            finally:
                with self._changed:
                    self._working -= 1
                    self._changed.notify_all()

    def _next(self) -> _Delivery | None:
        """The next delivery that is due, counted as in progress; None when stopped."""
        with self._changed:
            while not self._stopped:
                wait_s = None
                if self._heap and self.url and not self._paused:
                    wait_s = self._heap[0].due - time.monotonic()
                    if wait_s <= 0:
                        self._working += 1
                        return heapq.heappop(self._heap)
                self._changed.wait(wait_s)
        return None

    def _attempt(self, delivery: _Delivery) -> DeliveryAttempt:
        number = delivery.attempts + 1
        url = self.dead_letter_url if delivery.dead_letter else self.url
        if delivery.dead_letter or self._transport is Transport.NOTIFICATION:
            subscription = f"projects/{self._project}/subscriptions/{self._subscription}"
            post = wrapped_post(delivery.message, subscription, number)
        else:
            post = binary_post(delivery.message)
        status, problem, answer = self._send(url, post)
        return DeliveryAttempt(
            message=delivery.message, url=url, number=number, status=status, problem=problem, answer=answer
        )

    def _send(self, url: str, post: Post) -> tuple[int, str, str]:
        """Status, problem and answer."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection(parts.netloc, timeout=self._retry.ack_deadline_s)
        with self._changed:
            self._connections.add(connection)
        headers = {**post.headers, "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"}
        try:
            connection.request("POST", target, body=post.body, headers=headers)
            response = connection.getresponse()
            return response.status, "", response.read(LONGEST_ANSWER).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error), ""
        finally:
            with self._changed:
                self._connections.discard(connection)
            connection.close()

    def _settle(self, delivery: _Delivery, attempt: DeliveryAttempt) -> None:
        with self._changed:
            self.attempts.append(attempt)
            delivery.attempts += 1
            if attempt.acknowledged or self._stopped:
                return
            if delivery.attempts < self._retry.max_attempts:
                delivery.due = time.monotonic() + self._retry.backoff_s(delivery.attempts)
                self._put(delivery)
            elif not delivery.dead_letter:
                self._dead_letter(delivery)

    def _dead_letter(self, delivery: _Delivery) -> None:
        letter = dead_lettered(
            delivery.message, project=self._project, subscription=self._subscription, attempts=delivery.attempts
        )
        self.dead_letters.append(letter)
        if self.dead_letter_url:
            self._put(_Delivery(time.monotonic(), next(self._order), letter, dead_letter=True))


def _cut(connection: http.client.HTTPConnection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed by the service already
