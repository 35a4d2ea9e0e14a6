"""Push subscriptions of the local topic: each message is posted to an endpoint until that answers 2xx.

https://cloud.google.com/pubsub/docs/push
"""

import base64
import json
import threading
import urllib.error
import urllib.request
from typing import Any

from google.pubsub_v1.types import PubsubMessage, ReceivedMessage

from function.local.pubsub.subscriptions import Subscription

ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
BACKOFF_S = 1  # until the next try, whole seconds
LOOK_EVERY_S = 0.2  # for a stop
THREADS = 4


class Push:
    """Delivers one subscription's messages to an endpoint, some at a time."""

    def __init__(self, subscription: Subscription, endpoint: str) -> None:
        self.endpoint = endpoint
        self._subscription = subscription
        self._stopped = threading.Event()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # endpoints are on this machine
        self._threads = [threading.Thread(target=self._work, name="topic-push", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Deliver nothing more."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            for received in self._subscription.pull(1, LOOK_EVERY_S):
                if self._taken(received):
                    self._subscription.acknowledge([received.ack_id])
                else:
                    self._subscription.extend([received.ack_id], BACKOFF_S)

    def _taken(self, received: ReceivedMessage) -> bool:
        request = urllib.request.Request(  # noqa: S310 - the endpoint is this machine's own
            self.endpoint, self._body(received.message), {"content-type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=self._subscription.ack_deadline_s) as answer:
                return answer.status in ACKNOWLEDGED
        except (urllib.error.URLError, OSError):
            return False

    def _body(self, message: PubsubMessage) -> bytes:
        published = message.publish_time.isoformat().replace("+00:00", "Z")
        wrapped: dict[str, Any] = {
            "attributes": dict(message.attributes),
            "data": base64.b64encode(message.data).decode(),
            "messageId": message.message_id,
            "message_id": message.message_id,
            "publishTime": published,
            "publish_time": published,
        }
        return json.dumps({"message": wrapped, "subscription": self._subscription.name}).encode()
