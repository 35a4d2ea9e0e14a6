"""The requests by which a finalized object reaches the service, in the formats of Eventarc and Pub/Sub push.

Event format: https://cloud.google.com/eventarc/docs/event-format and the CloudEvents binding for Pub/Sub;
notifications: https://cloud.google.com/storage/docs/pubsub-notifications;
push: https://cloud.google.com/pubsub/docs/push; dead letters: https://cloud.google.com/pubsub/docs/dead-letter-topics
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from function.local.storage.objects import Finalized, rfc3339
from function.local.storage.wire import object_resource

FINALIZED = "google.cloud.storage.object.v1.finalized"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushMessage:
    """One message in the topic between Cloud Storage and the service."""

    id: str
    attributes: Mapping[str, str]
    data: bytes
    published: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """The HTTP request of one delivery."""

    headers: Mapping[str, str]
    body: bytes


def eventarc_message(event: Finalized, message_id: str, base_url: str) -> PushMessage:
    """The message of Eventarc's own topic: a CloudEvent in attributes, the object resource as data."""
    item = event.object
    return PushMessage(
        id=message_id,
        attributes={
            "ce-id": message_id,
            "ce-source": f"//storage.googleapis.com/projects/_/buckets/{item.bucket}",
            "ce-specversion": "1.0",
            "ce-type": FINALIZED,
            "ce-time": rfc3339(item.created),
            "ce-subject": f"objects/{item.name}",
            "ce-bucket": item.bucket,
            "content-type": "application/json",
        },
        data=json.dumps(object_resource(item, base_url)).encode(),
        published=item.created,
    )


def notification_message(event: Finalized, message_id: str, base_url: str) -> PushMessage:
    """The message of a bucket's own Pub/Sub notification with payload JSON_API_V1."""
    item = event.object
    attributes = {
        "notificationConfig": f"projects/_/buckets/{item.bucket}/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": item.bucket,
        "objectId": item.name,
        "objectGeneration": str(item.generation),
        "eventTime": rfc3339(item.created),
    }
    if event.overwrote:
        attributes["overwroteGeneration"] = str(event.overwrote)
    data = json.dumps(object_resource(item, base_url)).encode()
    return PushMessage(id=message_id, attributes=attributes, data=data, published=item.created)


def dead_lettered(message: PushMessage, *, project: str, subscription: str, attempts: int) -> PushMessage:
    """The message as it arrives in the dead-letter topic."""
    added = {
        "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
        "CloudPubSubDeadLetterSourceSubscription": subscription,
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
        "CloudPubSubDeadLetterSourceTopicPublishTime": rfc3339(message.published),
    }
    return replace(message, attributes={**message.attributes, **added})


def binary_post(message: PushMessage) -> Post:
    """A CloudEvent in binary mode: attributes as headers, data as body. Header values are percent-encoded UTF-8."""
    headers = {key: header_value(value) for key, value in message.attributes.items()}
    return Post(headers=headers, body=message.data)


def wrapped_post(message: PushMessage, subscription: str, attempt: int) -> Post:
    """A Pub/Sub push request: the message wrapped in JSON, with both spellings of its id and time."""
    published = rfc3339(message.published)
    wrapped = {
        "attributes": dict(message.attributes),
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.id,
        "message_id": message.id,
        "publishTime": published,
        "publish_time": published,
    }
    envelope = {"message": wrapped, "subscription": subscription, "deliveryAttempt": attempt}
    return Post(headers={"content-type": "application/json"}, body=json.dumps(envelope).encode())


def header_value(text: str) -> str:
    """A CloudEvents attribute as an HTTP header: what is not printable ASCII, and `"` and `%`, percent-encoded."""
    kept = (chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'"%' else f"%{byte:02X}" for byte in text.encode())
    return "".join(kept)
