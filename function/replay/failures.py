"""Pub/Sub as a replay uses it: announced failures of the past, and events that go to the service again."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import pubsub_v1

from shared.errors import PublisherUnavailable
from shared.events import NOTIFIED, REPLAYED
from shared.subscriber.messages import CompletionMessage, UnreadableMessage, parse

PULL_S = 10.0  # after so many seconds without a message there is none left
PUBLISH_S = 60.0
AT_ONCE = 500  # messages of one pull


class AnnouncedFailures:
    """A subscription of failed completion messages that retains what is acknowledged.

    name: projects/PROJECT/subscriptions/SUBSCRIPTION.
    """

    def __init__(self, name: str, *, pull_s: float = PULL_S) -> None:
        self._name, self._pull_s = name, pull_s
        self._client = pubsub_v1.SubscriberClient()

    def since(self, moment: datetime) -> Iterator[CompletionMessage]:
        """Every message from then on, oldest first within a pull. PublisherUnavailable if Pub/Sub does not answer."""
        with _pubsub_errors(self._name):
            self._client.seek(request={"subscription": self._name, "time": moment.astimezone(UTC)})
            while received := self._pull():
                for item in received:
                    try:
                        yield parse(item.message.data, item.message.attributes)
                    except UnreadableMessage:
                        continue  # of a later schema
                acknowledged = [item.ack_id for item in received]
                self._client.acknowledge(subscription=self._name, ack_ids=acknowledged)

    def _pull(self) -> list[pubsub_v1.types.ReceivedMessage]:
        try:
            answer = self._client.pull(subscription=self._name, max_messages=AT_ONCE, timeout=self._pull_s, retry=None)
        except exceptions.DeadlineExceeded:
            return []
        return list(answer.received_messages)


class ServiceEvents:
    """The topic from which the service gets events again. name: projects/PROJECT/topics/TOPIC."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client = pubsub_v1.PublisherClient()

    def send(self, failure: CompletionMessage, *, replayed: str) -> None:
        """The upload's event, in the format of a storage notification without a payload. replayed: RFC 3339."""
        source = failure.source
        with _pubsub_errors(self._name):
            self._client.publish(
                self._name,
                b"",
                eventType=NOTIFIED,
                payloadFormat="NONE",
                bucketId=source.bucket,
                objectId=source.name,
                objectGeneration=source.generation,
                eventTime=failure.time,
                **{REPLAYED: replayed},
            ).result(timeout=PUBLISH_S)


@contextmanager
def _pubsub_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, TimeoutError) as error:
        raise PublisherUnavailable(f"{name}: {error}") from error
