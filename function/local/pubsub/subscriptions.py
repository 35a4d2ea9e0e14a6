"""Subscriptions of the local topic: waiting and outstanding messages, acknowledgement deadlines, filters."""

import itertools
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from google.pubsub_v1.types import PubsubMessage, ReceivedMessage

Filter = Callable[[Mapping[str, str]], bool]

_TERM = re.compile(
    r'(?P<no>NOT\s+)?(?:attributes\.(?P<key>[\w-]+|"[^"]+")\s*(?P<sign>=|!=)\s*"(?P<value>[^"]*)"'
    r'|attributes:(?P<has>[\w-]+|"[^"]+")'
    r'|hasPrefix\(attributes\.(?P<start>[\w-]+|"[^"]+"),\s*"(?P<prefix>[^"]*)"\))'
)


def compile_filter(text: str) -> Filter:
    """A subscription filter: terms joined by AND. ValueError for other syntax.

    Language: https://cloud.google.com/pubsub/docs/subscription-message-filter
    """
    tests = [_compile_term(term) for term in re.split(r"\s+AND\s+", text.strip())] if text.strip() else []
    return lambda attributes: all(test(attributes) for test in tests)


def _compile_term(text: str) -> Filter:
    match = _TERM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"cannot read the filter term {text!r}")
    key = (match["key"] or match["has"] or match["start"]).strip('"')
    negative = bool(match["no"]) != (match["sign"] == "!=")

    def test(attributes: Mapping[str, str]) -> bool:
        if match["has"]:
            holds = key in attributes
        elif match["start"]:
            holds = attributes.get(key, "").startswith(match["prefix"])
        else:
            holds = attributes.get(key) == match["value"]
        return holds != negative

    return test


@dataclass(slots=True)
class _Outstanding:
    message: PubsubMessage
    due: float  # time.monotonic(); not acknowledged by then, the message is delivered again


class Subscription:
    """At-least-once delivery of one topic's messages, in the order in which they were published.

    retain: keep what is acknowledged, so that `seek` finds it.
    """

    def __init__(self, name: str, topic: str, ack_deadline_s: int, text_filter: str, *, retain: bool = False) -> None:
        self.name, self.topic = name, topic
        self.ack_deadline_s, self.filter_text = ack_deadline_s, text_filter
        self.push_endpoint = ""  # empty = messages are pulled
        self._wanted = compile_filter(text_filter)
        self._waiting: deque[PubsubMessage] = deque()
        self._retained: list[PubsubMessage] | None = [] if retain else None
        self._outstanding: dict[str, _Outstanding] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()

    def offer(self, message: PubsubMessage) -> None:
        if self._wanted(message.attributes):
            with self._changed:
                self._waiting.append(message)
                if self._retained is not None:
                    self._retained.append(message)
                self._changed.notify_all()

    def pull(self, limit: int, wait_s: float) -> list[ReceivedMessage]:
        """Up to `limit` messages; waits until there is one, at most `wait_s` seconds."""
        end = time.monotonic() + wait_s
        with self._changed:
            while not self._ready():
                remaining = end - time.monotonic()
                if remaining <= 0:
                    return []
                self._changed.wait(min(remaining, 0.05))
            return [self._deliver() for _ in range(min(limit, len(self._waiting)))]

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        with self._changed:
            for ack_id in ack_ids:
                self._outstanding.pop(ack_id, None)

    def seek(self, moment: datetime) -> None:
        """Deliver everything that was published from then on, again if need be, and nothing from before."""
        with self._changed:
            outstanding = [item.message for item in self._outstanding.values()]
            known = self._retained if self._retained is not None else [*outstanding, *self._waiting]
            self._outstanding.clear()
            self._waiting = deque(message for message in known if message.publish_time >= moment)
            self._changed.notify_all()

    def extend(self, ack_ids: Iterable[str], seconds: int) -> None:
        """Move the deadline; 0 seconds: deliver the message again at once."""
        with self._changed:
            for ack_id in ack_ids:
                if ack_id in self._outstanding:
                    self._outstanding[ack_id].due = time.monotonic() + seconds
            self._changed.notify_all()

    def _ready(self) -> bool:
        now = time.monotonic()
        overdue = [ack_id for ack_id, item in self._outstanding.items() if item.due <= now]
        self._waiting.extendleft(reversed([self._outstanding.pop(ack_id).message for ack_id in overdue]))
        return bool(self._waiting)

    def _deliver(self) -> ReceivedMessage:
        message, ack_id = self._waiting.popleft(), f"{self.name}:{next(self._numbers)}"
        self._outstanding[ack_id] = _Outstanding(message, time.monotonic() + self.ack_deadline_s)
        return ReceivedMessage(ack_id=ack_id, message=message)
