"""The cloud adapters against the local store and topics, and the publisher against Google's own emulator."""

import gzip
import os
import tracemalloc
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from google.cloud import pubsub_v1, storage

from function.cloud import GcsObjectStore, PubSubPublisher
from function.local import LocalCloud
from function.local.pubsub.topic import LocalTopics
from function.local.server_process import free_port
from function.local.storage.faults import Effect, Fault
from function.local.storage.store import LocalStore
from shared.errors import (
    CorruptImage,
    OutputRefused,
    PreconditionFailed,
    PublisherUnavailable,
    SourceGone,
    SourceUnreadable,
    StorageUnavailable,
    UploadMissing,
    UploadTooLarge,
)
from shared.messages import failed, serialise
from shared.records import EncodedImage, Upload
from tests.pubsub_emulator import pulled

MIB = 1 << 20
PNG = EncodedImage(data=b"png bytes", content_type="image/png", width=3, height=2)
TOPIC = "projects/local/topics/completions"


@pytest.fixture
def server(tmp_path, monkeypatch):
    with LocalStore(spill_folder=tmp_path) as server:
        server.create_bucket("uploads")
        server.create_bucket("cutouts")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def store(server):
    store = GcsObjectStore.connect("cutouts", concurrency=16, deadline_s=20)
    yield store
    store.close()


@pytest.fixture
def impatient(server):
    """A store that gives up soon."""
    store = GcsObjectStore.connect("cutouts", concurrency=1, deadline_s=0.3)
    yield store
    store.close()


@pytest.fixture
def uploads(server):
    with storage.Client() as client:
        yield client.bucket("uploads")


def uploaded(bucket, name="shoes/12.jpg", data=b"jpeg bytes", **fields):
    """An upload as its event would describe it: bucket, name, generation."""
    blob = bucket.blob(name)
    for key, value in fields.items():
        setattr(blob, key, value)
    blob.upload_from_string(data, content_type="image/jpeg")
    return Upload(bucket=bucket.name, name=name, generation=blob.generation, event_id="e1")


def calls(server):
    return [call.operation for call in server.calls]


def test_read_gives_the_bytes_of_this_generation(store, uploads):
    upload = uploaded(uploads, data=b"jpeg bytes")
    assert store.read(upload, max_bytes=10) == b"jpeg bytes"
    assert store.read(uploaded(uploads, "empty.jpg", b""), max_bytes=10) == b""


def test_read_of_a_replaced_or_deleted_generation_says_that_it_is_missing(store, uploads):
    old = uploaded(uploads, data=b"old")
    new = uploaded(uploads, data=b"new")
    with pytest.raises(UploadMissing, match=old.uri):
        store.read(old, max_bytes=100)
    with pytest.raises(UploadMissing):
        store.look_up(old)
    uploads.delete_blob(new.name)
    with pytest.raises(UploadMissing):
        store.read(new, max_bytes=100)


@pytest.mark.parametrize("size", [99, 100, 101, 5 * MIB])
def test_read_takes_as_many_bytes_as_allowed_and_not_one_more(store, uploads, size):
    data = os.urandom(size)
    upload = uploaded(uploads, data=data)
    if size <= 100:
        assert store.read(upload, max_bytes=100) == data
    else:
        with pytest.raises(UploadTooLarge, match="more than 100 bytes"):
            store.read(upload, max_bytes=100)


def test_read_never_holds_more_than_allowed(store, uploads):
    upload = uploaded(uploads, data=os.urandom(48 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(UploadTooLarge):
            store.read(upload, max_bytes=2 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * MIB  # the local store's blocks and the sockets' buffers included


def test_read_unpacks_what_is_stored_as_gzip(store, uploads):
    plain = os.urandom(1000) * 100
    upload = uploaded(uploads, data=gzip.compress(plain), content_encoding="gzip")
    assert store.read(upload, max_bytes=len(plain)) == plain
    members = uploaded(
        uploads, "members.jpg", data=gzip.compress(b"one") + gzip.compress(b"two"), content_encoding="gzip"
    )
    assert store.read(members, max_bytes=100) == b"onetwo"
    with pytest.raises(UploadTooLarge, match="when unpacked"):
        store.read(upload, max_bytes=len(plain) - 1)


def test_a_gzip_bomb_is_too_large_and_not_unpacked(store, uploads):
    upload = uploaded(uploads, data=gzip.compress(bytes(64 * MIB)), content_encoding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(UploadTooLarge):
            store.read(upload, max_bytes=MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * MIB


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-9], lambda packed: packed[:20] + b"\xff" * 20 + packed[40:]]
)
def test_damaged_gzip_is_a_corrupt_image(store, uploads, damage):
    upload = uploaded(uploads, data=damage(gzip.compress(os.urandom(1000))), content_encoding="gzip")
    with pytest.raises(CorruptImage, match="stored as gzip"):
        store.read(upload, max_bytes=MIB)


def test_a_plain_image_that_claims_to_be_gzip_is_taken_as_it_is(store, uploads):
    upload = uploaded(uploads, data=b"\xff\xd8\xff jpeg", content_encoding="gzip")
    assert store.read(upload, max_bytes=MIB) == b"\xff\xd8\xff jpeg"


def test_a_download_that_breaks_off_is_resumed_at_the_same_generation(server, store, uploads):
    data = os.urandom(3 * MIB)
    upload = uploaded(uploads, data=data)
    for after in (MIB, MIB // 2):
        server.faults.add(Fault(effect=Effect.BREAK, operation="download", after=after))
    assert store.read(upload, max_bytes=4 * MIB) == data
    assert [call.status for call in server.calls if call.operation == "download"] == [200, 206, 206]


def test_an_upload_replaced_while_its_download_is_broken_is_missing(server, store, uploads):
    upload = uploaded(uploads, data=os.urandom(MIB))
    server.faults.add(Fault(effect=Effect.BREAK, operation="download", after=MIB // 2))
    gate = server.hold("download")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.read, upload, max_bytes=MIB)
        gate.wait_for_arrival()
        uploaded(uploads, data=os.urandom(MIB))
        gate.open()
        with pytest.raises(UploadMissing):
            reading.result()


@pytest.mark.parametrize("breaks", [0, 1])
def test_a_wrong_bit_is_noticed_even_in_a_resumed_download(server, store, uploads, breaks):
    upload = uploaded(uploads, data=os.urandom(MIB))
    server.faults.add(Fault(effect=Effect.BREAK, operation="download", after=MIB // 2, times=breaks))
    server.faults.add(Fault(effect=Effect.CORRUPT, operation="download"))
    with pytest.raises(StorageUnavailable, match="checksum"):
        store.read(upload, max_bytes=MIB)
    assert len(store.read(upload, max_bytes=MIB)) == MIB


def test_a_download_that_takes_too_long_is_given_up(server, uploads):
    upload = uploaded(uploads)
    server.faults.add(Fault(effect=Effect.DELAY, operation="download", delay_s=0.1))
    with storage.Client() as client:
        store = GcsObjectStore(client, "cutouts", download_s=0.05)
        with pytest.raises(StorageUnavailable, match="took too long"):
            store.read(upload, max_bytes=MIB)
        assert store.read(upload, max_bytes=MIB) == b"jpeg bytes"


def test_look_up_fills_in_what_the_event_did_not_say(server, store, uploads):
    upload = uploaded(uploads, data=b"12345", metadata={"cutdrop-format": "webp"})
    server.calls.clear()
    seen = store.look_up(upload)
    assert (seen.size, seen.content_type, seen.metadata) == (5, "image/jpeg", {"cutdrop-format": "webp"})
    assert (seen.generation, seen.event_id) == (upload.generation, "e1")
    assert calls(server) == ["get"]


def test_live_generation_is_the_newest_or_none(store, uploads):
    uploaded(uploads)
    newest = uploaded(uploads)
    assert store.live_generation("uploads", newest.name) == newest.generation
    uploads.delete_blob(newest.name)
    assert store.live_generation("uploads", newest.name) is None


@pytest.mark.parametrize("size", [9, 9 * MIB])  # in one request; resumable
def test_what_was_written_is_what_is_found(server, store, size):
    data = os.urandom(size)
    image = EncodedImage(data=data, content_type="image/webp", width=1, height=1)
    metadata = {"cutdrop-key": "k", "cutdrop-report": '{"größe": 1}'}
    written = store.write("a/ü.webp", image, metadata, if_generation_match=0)
    server.calls.clear()
    found = store.find("a/ü.webp")
    assert calls(server) == ["get"]
    assert found == written
    assert (written.bucket, written.name, written.content_type) == ("cutouts", "a/ü.webp", "image/webp")
    assert (written.size, written.metadata) == (size, metadata)
    assert written.created.tzinfo is not None
    as_upload = Upload(bucket="cutouts", name="a/ü.webp", generation=written.generation)
    assert store.read(as_upload, max_bytes=size) == data


def test_nothing_is_found_where_nothing_is(store):
    assert store.find("a.png") is None


@pytest.mark.parametrize("size", [9, 9 * MIB])
def test_write_replaces_exactly_what_was_seen(store, size):
    image = EncodedImage(data=bytes(size), content_type="image/png", width=1, height=1)
    first = store.write("a.png", image, {}, if_generation_match=0)
    for seen in (0, first.generation - 1):
        with pytest.raises(PreconditionFailed, match=r"gs://cutouts/a\.png"):
            store.write("a.png", image, {}, if_generation_match=seen)
    second = store.write("a.png", image, {"cutdrop-key": "2"}, if_generation_match=first.generation)
    assert store.find("a.png") == second


def test_of_sixteen_writers_one_wins_and_the_others_are_told(store):
    def write(index):
        try:
            return store.write("a.png", PNG, {"cutdrop-key": str(index)}, if_generation_match=0)
        except PreconditionFailed:
            return None

    with ThreadPoolExecutor(16) as pool:
        winners = [stored for stored in pool.map(write, range(16)) if stored]
    assert winners == [store.find("a.png")]


def test_a_write_whose_answer_is_lost_fails_its_precondition_and_is_found(server, store):
    server.faults.add(Fault(effect=Effect.LOSE_RESPONSE, operation="insert"))
    with pytest.raises(PreconditionFailed):
        store.write("a.png", PNG, {"cutdrop-key": "mine"}, if_generation_match=0)
    assert store.find("a.png").metadata == {"cutdrop-key": "mine"}


def test_a_large_write_whose_last_answer_is_lost_is_stored_once(server, store):
    server.faults.add(Fault(effect=Effect.LOSE_RESPONSE, operation="chunk"))
    image = EncodedImage(data=os.urandom(9 * MIB), content_type="image/png", width=1, height=1)
    assert store.write("a.png", image, {}, if_generation_match=0) == store.find("a.png")


def test_an_image_damaged_on_its_way_is_not_stored(server, store):
    server.faults.add(Fault(effect=Effect.CORRUPT, operation="insert"))
    with pytest.raises(StorageUnavailable, match="doesn't match"):
        store.write("a.png", PNG, {}, if_generation_match=0)
    assert store.find("a.png") is None


def do(store, request, upload):
    """One call of each method, by the operation that the store sees."""
    if request == "download":
        return store.read(upload, max_bytes=MIB)
    if request == "get":
        return store.find("a.png")
    return store.write("a.png", PNG, {}, if_generation_match=0)


@pytest.mark.parametrize("request_", ["download", "get", "insert"])
@pytest.mark.parametrize("fault", [408, 429, 500, 502, 503, 504, Effect.RESET])
def test_a_fault_that_passes_is_survived(server, store, uploads, request_, fault):
    upload = uploaded(uploads)
    if fault is Effect.RESET:
        server.faults.add(Fault(effect=Effect.RESET, operation=request_))
    else:
        server.fail(fault, operation=request_)
    do(store, request_, upload)
    assert server.faults.pending() == []


@pytest.mark.parametrize("request_", ["download", "get", "insert"])
def test_a_fault_that_stays_asks_for_redelivery(server, impatient, uploads, request_):
    upload = uploaded(uploads)
    server.fail(503, operation=request_, times=1000)
    with pytest.raises(StorageUnavailable, match="503"):
        do(impatient, request_, upload)
    assert len([call for call in server.calls if call.status == 503]) > 1


@pytest.mark.parametrize("request_", ["download", "get", "insert"])
def test_a_store_that_is_not_there_asks_for_redelivery(impatient, server, monkeypatch, request_):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    with (
        closing(GcsObjectStore.connect("cutouts", concurrency=1, deadline_s=0.3)) as nowhere,
        pytest.raises(StorageUnavailable, match="ConnectionError"),
    ):
        do(nowhere, request_, Upload(bucket="uploads", name="a.jpg", generation=1))


SENTENCES = {
    "csek": "The target object is encrypted by a customer-supplied encryption key.",
    "hold": "Object 'cutouts/a.png' is under active Temporary hold and cannot be deleted or overwritten.",
    "retention": "Object 'cutouts/a.png' is subject to the bucket's retention policy.",
    "permission": "sa@project does not have storage.objects.get access to the Google Cloud Storage object.",
    "kms": "Permission denied on Cloud KMS key.",
}


@pytest.mark.parametrize(
    ("request_", "status", "reason", "sentence"),
    [
        ("download", 400, "", SENTENCES["csek"]),
        ("download", 400, "invalid", "Bad Request"),
        ("download", 404, "", "The specified bucket does not exist."),
        ("insert", 400, "customerEncryptionKeyIsIncorrect", "The provided encryption key is incorrect."),
        ("insert", 403, "forbidden", SENTENCES["hold"]),
        ("insert", 403, "retentionPolicyNotMet", SENTENCES["retention"]),
        ("insert", 412, "orgPolicyConstraintFailed", "The request violates a constraint of the organization."),
        ("insert", 404, "notFound", "The specified bucket does not exist."),
        ("get", 400, "invalid", "Bad Request"),
    ],
)
def test_a_refusal_that_stays_one_is_final_at_once_and_quotes_the_store(
    server, store, uploads, request_, status, reason, sentence
):
    upload = uploaded(uploads)
    server.calls.clear()
    server.faults.add(Fault(status=status, operation=request_, reason=reason, message=sentence, times=1000))
    final = SourceUnreadable if request_ == "download" else OutputRefused
    with pytest.raises(final) as refused:
        do(store, request_, upload)
    assert sentence in str(refused.value)
    assert len(server.calls) == 1


@pytest.mark.parametrize("request_", ["download", "get", "insert"])
@pytest.mark.parametrize("sentence", [SENTENCES["permission"], SENTENCES["kms"], ""])
def test_a_missing_permission_is_tried_again_and_quotes_the_store(server, store, uploads, request_, sentence):
    upload = uploaded(uploads)
    server.faults.add(Fault(status=403, operation=request_, message=sentence))
    with pytest.raises(StorageUnavailable) as refused:
        do(store, request_, upload)
    assert (sentence or "no reason given") in str(refused.value)
    do(store, request_, upload)


def test_an_upload_in_a_bucket_that_is_gone_is_unreadable(store):
    gone = Upload(bucket="nowhere", name="a", generation=1)
    for ask in (lambda: store.read(gone, max_bytes=9), lambda: store.look_up(gone)):
        with pytest.raises(SourceUnreadable, match="bucket does not exist"):
            ask()


def test_an_output_bucket_that_does_not_exist_refuses_the_result(server):
    store = GcsObjectStore.connect("nowhere", concurrency=1)
    with pytest.raises(OutputRefused, match="bucket does not exist"):
        store.write("a.png", PNG, {}, if_generation_match=0)


def test_no_request_is_about_a_bucket_and_no_thread_waits_for_a_connection(server, store, uploads, caplog):
    upload = uploaded(uploads)
    server.calls.clear()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: (store.read(upload, max_bytes=MIB), store.find("a.png")), range(64)))
    store.write("a.png", PNG, {}, if_generation_match=0)
    assert set(calls(server)) == {"download", "get", "insert"}
    assert "Connection pool is full" not in caplog.text


# Publishing


@pytest.fixture
def topics(monkeypatch):
    with LocalTopics() as topics:
        topics.create_topic(TOPIC)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", topics.address)
        yield topics


@pytest.fixture
def publisher(topics):
    publisher = PubSubPublisher.connect(TOPIC, deadline_s=20)
    yield publisher
    publisher.close()


def message(index=0):
    upload = Upload(bucket="uploads", name=f"größe {index}.jpg", generation=7, event_time="2026-01-01T00:00:00Z")
    return failed(upload, f"key{index}", SourceGone("The upload was deleted."))


def test_a_published_message_arrives_with_its_data_and_attributes(either, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", either)
    topic = f"projects/local/topics/t{uuid.uuid4().hex}"
    subscription = f"projects/local/subscriptions/s{uuid.uuid4().hex}"
    with pubsub_v1.PublisherClient() as client, pubsub_v1.SubscriberClient() as subscriber:
        client.create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic)
        publisher = PubSubPublisher.connect(topic)
        for index in range(3):
            publisher.publish(message(index))
        publisher.close()
        received = pulled(subscriber, subscription, 3)
    assert [(item.message.data, dict(item.message.attributes)) for item in received] == [
        serialise(message(index)) for index in range(3)
    ]


def test_a_topic_that_does_not_exist_is_unavailable(either, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", either)
    with (
        closing(PubSubPublisher.connect("projects/local/topics/nowhere")) as publisher,
        pytest.raises(PublisherUnavailable, match="projects/local/topics/nowhere: NotFound"),
    ):
        publisher.publish(message())


CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


@pytest.mark.parametrize("code", CODES)
def test_a_topic_that_fails_for_a_moment_still_gets_the_message_once(topics, publisher, code):
    topics.fail_next(code, times=2)
    publisher.publish(message())
    assert [sent.data for sent in topics.messages] == [serialise(message())[0]]


def test_a_topic_that_keeps_failing_asks_for_redelivery_and_is_used_again_afterwards(topics):
    publisher = PubSubPublisher.connect(TOPIC, deadline_s=0.3)
    topics.fail_with = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(PublisherUnavailable, match="injected failure"):
        publisher.publish(message())
    assert topics.attempts > 1
    topics.fail_with = None
    publisher.publish(message())
    assert len(topics.messages) == 1
    publisher.close()


def test_a_missing_permission_to_publish_quotes_the_topic(topics, publisher):
    topics.fail_next(grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(PublisherUnavailable, match="PermissionDenied: 403"):
        publisher.publish(message())
    assert topics.attempts == 1


def test_a_lost_answer_publishes_the_same_message_again(topics, publisher):
    topics.lose_next_answer()
    publisher.publish(message())
    first, second = topics.messages
    assert (first.data, first.attributes) == (second.data, second.attributes)


def test_a_topic_that_never_answers_is_unavailable_at_the_deadline(topics):
    topics.delay_s = 1.0
    with closing(PubSubPublisher.connect(TOPIC, deadline_s=0.2)) as publisher, pytest.raises(PublisherUnavailable):
        publisher.publish(message())


def test_a_service_that_is_not_there_is_unavailable(monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    with closing(PubSubPublisher.connect(TOPIC, deadline_s=0.3)) as publisher, pytest.raises(PublisherUnavailable):
        publisher.publish(message())


def test_a_closed_publisher_takes_nothing(topics):
    publisher = PubSubPublisher.connect(TOPIC)
    publisher.close()
    with pytest.raises(PublisherUnavailable, match="stopped"):
        publisher.publish(message())
    assert topics.attempts == 0


def test_every_message_of_many_threads_is_taken_or_refused_never_both(topics, publisher):
    def publish(index):
        if index % 5 == 0:
            topics.fail_next(grpc.StatusCode.PERMISSION_DENIED)
        try:
            publisher.publish(message(index))
        except PublisherUnavailable:
            return None
        return f"key{index}"

    with ThreadPoolExecutor(16) as pool:
        taken = [key for key in pool.map(publish, range(100)) if key]
    assert sorted(sent.attributes["ce-id"] for sent in topics.messages) == sorted(taken)
    assert len(taken) >= 60


def test_a_proxy_of_the_machine_stays_out_of_the_local_clouds_way(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "internal.example")
    with LocalCloud() as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        store = GcsObjectStore.connect(cloud.output_bucket, concurrency=1, deadline_s=5)
        publisher = PubSubPublisher.connect(cloud.topic, deadline_s=5)
        assert store.write("a.png", PNG, {}, if_generation_match=0) == store.find("a.png")
        publisher.publish(message())
        assert len(cloud.topics.messages) == 1
        assert cloud.environment()["no_proxy"].startswith("internal.example,")
        publisher.close()
        store.close()
