"""The gRPC interface of the local topics: the Publisher and Subscriber methods that the official clients call."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from function.local.pubsub.subscriptions import Subscription

LONGEST_PULL_S = 1.0  # a pull without messages answers empty after this, well before the client's deadline


class Refused(Exception):
    """A request that Pub/Sub refuses, with the gRPC status."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Topics(Protocol):
    """What the service calls. Every method may raise Refused."""

    def create_topic(self, name: str) -> None: ...
    def delete_topic(self, name: str) -> None: ...
    def topics(self) -> list[str]: ...
    def publish(self, topic: str, messages: Sequence[types.PubsubMessage]) -> list[str]: ...
    def create_subscription(self, asked: types.Subscription) -> Subscription: ...
    def subscription(self, name: str) -> Subscription: ...
    def delete_subscription(self, name: str) -> None: ...


class _Empty:
    """google.protobuf.Empty with the serialisation methods of the other message types."""

    @staticmethod
    def serialize(_: None) -> bytes:
        return bytes(empty_pb2.Empty().SerializeToString())


def service_handlers(topics: Topics) -> tuple[grpc.GenericRpcHandler, grpc.GenericRpcHandler]:
    """Handlers for google.pubsub.v1.Publisher and .Subscriber."""
    publisher, subscriber = _Publisher(topics), _Subscriber(topics)
    publishing = {
        "CreateTopic": _unary(publisher.create, types.Topic, types.Topic),
        "GetTopic": _unary(publisher.get, types.GetTopicRequest, types.Topic),
        "ListTopics": _unary(publisher.list, types.ListTopicsRequest, types.ListTopicsResponse),
        "DeleteTopic": _unary(publisher.delete, types.DeleteTopicRequest, _Empty),
        "Publish": _unary(publisher.publish, types.PublishRequest, types.PublishResponse),
    }
    subscribing = {
        "CreateSubscription": _unary(subscriber.create, types.Subscription, types.Subscription),
        "GetSubscription": _unary(subscriber.get, types.GetSubscriptionRequest, types.Subscription),
        "DeleteSubscription": _unary(subscriber.delete, types.DeleteSubscriptionRequest, _Empty),
        "Pull": _unary(subscriber.pull, types.PullRequest, types.PullResponse),
        "Acknowledge": _unary(subscriber.acknowledge, types.AcknowledgeRequest, _Empty),
        "ModifyAckDeadline": _unary(subscriber.modify_ack_deadline, types.ModifyAckDeadlineRequest, _Empty),
        "Seek": _unary(subscriber.seek, types.SeekRequest, types.SeekResponse),
        "StreamingPull": grpc.stream_stream_rpc_method_handler(
            subscriber.streaming_pull,
            request_deserializer=types.StreamingPullRequest.deserialize,
            response_serializer=types.StreamingPullResponse.serialize,
        ),
    }
    return (
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publishing),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscribing),
    )


def _unary(method: Callable[[Any], Any], asked: Any, answered: Any) -> grpc.RpcMethodHandler:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request)
        except Refused as refusal:
            context.abort(refusal.code, refusal.detail)

    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=asked.deserialize, response_serializer=answered.serialize
    )


def _unimplemented(*asked: object) -> None:
    if any(asked):
        problem = "Not implemented here: schemas, signed or unwrapped push, dead letters, transforms."
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, problem)


class _Publisher:
    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def create(self, request: types.Topic) -> types.Topic:
        _unimplemented(request.schema_settings.schema, request.message_transforms)
        self._topics.create_topic(request.name)
        return request

    def get(self, request: types.GetTopicRequest) -> types.Topic:
        if request.topic not in self._topics.topics():
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={request.topic}).")
        return types.Topic(name=request.topic)

    def list(self, request: types.ListTopicsRequest) -> types.ListTopicsResponse:
        names = [name for name in self._topics.topics() if name.startswith(f"{request.project}/")]
        return types.ListTopicsResponse(topics=[types.Topic(name=name) for name in names])

    def delete(self, request: types.DeleteTopicRequest) -> None:
        self._topics.delete_topic(request.topic)

    def publish(self, request: types.PublishRequest) -> types.PublishResponse:
        return types.PublishResponse(message_ids=self._topics.publish(request.topic, request.messages))


class _Subscriber:
    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def create(self, request: types.Subscription) -> types.Subscription:
        _unimplemented(
            request.push_config.oidc_token.service_account_email,
            "no_wrapper" in request.push_config,
            request.dead_letter_policy.dead_letter_topic,
            request.message_transforms,
        )
        return _described(self._topics.create_subscription(request))

    def get(self, request: types.GetSubscriptionRequest) -> types.Subscription:
        return _described(self._topics.subscription(request.subscription))

    def delete(self, request: types.DeleteSubscriptionRequest) -> None:
        self._topics.delete_subscription(request.subscription)

    def pull(self, request: types.PullRequest) -> types.PullResponse:
        wait_s = 0.0 if request.return_immediately else LONGEST_PULL_S
        received = self._topics.subscription(request.subscription).pull(request.max_messages, wait_s)
        return types.PullResponse(received_messages=received)

    def acknowledge(self, request: types.AcknowledgeRequest) -> None:
        self._topics.subscription(request.subscription).acknowledge(request.ack_ids)

    def seek(self, request: types.SeekRequest) -> types.SeekResponse:
        _unimplemented(request.snapshot)
        self._topics.subscription(request.subscription).seek(request.time)
        return types.SeekResponse()

    def modify_ack_deadline(self, request: types.ModifyAckDeadlineRequest) -> None:
        self._topics.subscription(request.subscription).extend(request.ack_ids, request.ack_deadline_seconds)

    def streaming_pull(
        self, requests: Iterator[types.StreamingPullRequest], context: grpc.ServicerContext
    ) -> Iterator[types.StreamingPullResponse]:
        try:
            subscription = self._topics.subscription(next(requests).subscription)
        except Refused as refusal:
            context.abort(refusal.code, refusal.detail)
        threading.Thread(target=_follow, args=(requests, subscription), name="streaming-pull", daemon=True).start()
        while context.is_active():
            if received := subscription.pull(100, 0.1):
                yield types.StreamingPullResponse(received_messages=received)


def _follow(requests: Iterator[types.StreamingPullRequest], subscription: Subscription) -> None:
    """Apply the acknowledgements and deadlines that the client sends, until it closes the stream."""
    try:
        for request in requests:
            subscription.acknowledge(request.ack_ids)
            extensions = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False)
            for ack_id, seconds in extensions:
                subscription.extend([ack_id], seconds)
    except grpc.RpcError:
        return  # the client closed the stream


def _described(subscription: Subscription) -> types.Subscription:
    return types.Subscription(
        name=subscription.name,
        topic=subscription.topic,
        ack_deadline_seconds=subscription.ack_deadline_s,
        filter=subscription.filter_text,
        push_config=types.PushConfig(push_endpoint=subscription.push_endpoint),
    )
