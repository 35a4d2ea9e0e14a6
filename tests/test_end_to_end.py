"""Uploads through the real server over HTTP, with the local store, topic and Eventarc around it."""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests
from google.cloud import pubsub_v1

from function.local import Eventarc, Transport
from shared.subscriber.messages import parse
from tests.conftest import photo
from tests.service import running


def test_an_upload_becomes_an_rgba_file_and_a_message(service):
    generation = service.upload("shoes/12.jpg", photo(160, 120))
    told = service.outcome("shoes/12.jpg")
    image = service.image("shoes/12.png")
    stored = service.results.get_blob("shoes/12.png")
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (160, 120))
    assert told["status"] == "completed"
    assert told["source"]["generation"] == generation
    assert (told["source"]["width"], told["source"]["height"]) == (160, 120)
    assert told["outputs"][0]["uri"] == "gs://cutouts/shoes/12.png"
    assert told["outputs"][0]["crc32c"] == stored.crc32c
    assert told["outputs"][0]["generation"] == str(stored.generation)
    assert stored.metadata["cutdrop-key"] == told["key"]
    assert stored.metadata["cutdrop-source"] == "gs://uploads/shoes/12.jpg"
    assert told["timings_ms"]["total"] > 0
    assert told["subject"]["coverage"] == pytest.approx(np.asarray(image)[..., 3].mean() / 255, abs=1e-3)


def test_the_message_is_a_cloud_event_that_reads_back(service):
    service.upload("event.jpg", photo())
    service.outcome("event.jpg")
    (message,) = service.published("event.jpg")
    assert message.attributes["ce-type"] == "dev.cutdrop.image.completed.v1"
    assert message.attributes["ce-source"] == "//storage.googleapis.com/projects/_/buckets/uploads"
    assert message.attributes["status"] == "completed"
    assert parse(message.data, message.attributes).key == message.attributes["ce-id"]


def test_the_same_upload_delivered_three_times_is_one_result_and_three_equal_messages(service):
    service.settled()
    service.cloud.eventarc.duplicates = 2
    try:
        service.upload("thrice.jpg", photo(seed=3))
        service.settled()
    finally:
        service.cloud.eventarc.duplicates = 0
    messages = service.published("thrice.jpg")
    assert len(messages) == 3
    assert len({(message.data, tuple(sorted(message.attributes.items()))) for message in messages}) == 1
    assert service.generations("thrice.png") == 1


@pytest.mark.parametrize("operation", ["download", "insert"])
def test_an_upload_overwritten_while_in_work_ends_with_the_newest(service, operation):
    name = f"overwritten-{operation}"
    gate = service.cloud.store.hold(operation, f"{name}.jpg" if operation == "download" else f"{name}.png")
    old = service.upload(f"{name}.jpg", photo(seed=1))
    gate.wait_for_arrival()
    new = service.upload(f"{name}.jpg", photo(seed=2))
    told = service.outcome(f"{name}.jpg", generation=new)
    gate.open()
    assert told["status"] == "completed"
    assert service.outcome(f"{name}.jpg", generation=old)["code"] == "superseded"
    service.settled()
    assert service.results.get_blob(f"{name}.png").metadata["cutdrop-source-generation"] == new
    assert service.generations(f"{name}.png") == 1


def test_an_upload_deleted_before_it_is_read_is_reported_as_gone(service):
    gate = service.cloud.store.hold("download", "deleted.jpg")
    service.upload("deleted.jpg", photo())
    gate.wait_for_arrival()
    service.uploads.blob("deleted.jpg").delete()
    gate.open()
    assert service.outcome("deleted.jpg")["code"] == "source_gone"


@pytest.mark.parametrize("operation", ["download", "insert", "get"])
def test_a_store_that_refuses_is_asked_again_and_the_upload_succeeds(service, operation):
    name = f"refused-{operation}"
    refused = {"download": f"{name}.jpg", "insert": f"{name}.png", "get": f"{name}.png"}[operation]
    service.cloud.store.fail(403, operation=operation, name=refused, times=2)
    service.upload(f"{name}.jpg", photo())
    told = service.outcome(f"{name}.jpg")
    service.settled()
    assert told["status"] == "completed"
    assert service.statuses(f"{name}.jpg") == [503, 503, 200]
    assert service.generations(f"{name}.png") == 1


def test_a_store_that_stumbles_costs_no_delivery(service):
    service.cloud.store.fail(503, operation="download", name="stumble.jpg", times=2)
    service.upload("stumble.jpg", photo())
    assert service.outcome("stumble.jpg")["status"] == "completed"
    service.settled()
    assert service.statuses("stumble.jpg") == [200]


def test_a_topic_that_refuses_makes_the_event_come_again_and_the_result_is_kept(service):
    service.settled()
    service.cloud.topics.fail_with = grpc.StatusCode.PERMISSION_DENIED
    service.upload("untold.jpg", photo())
    service.cloud.eventarc.wait_for(lambda _: len(service.statuses("untold.jpg")) >= 2)
    assert service.published("untold.jpg") == []
    service.cloud.topics.fail_with = None
    assert service.outcome("untold.jpg")["status"] == "completed"
    service.settled()
    *refusals, accepted = service.statuses("untold.jpg")
    assert (set(refusals), accepted) == ({503}, 200)
    assert service.generations("untold.png") == 1


def test_a_message_whose_answer_is_lost_is_told_again_unchanged(service):
    service.settled()
    service.cloud.topics.lose_next_answer()
    service.upload("told-twice.jpg", photo())
    service.settled()
    first, second = service.published("told-twice.jpg")
    assert (first.data, first.attributes) == (second.data, second.attributes)
    assert service.statuses("told-twice.jpg") == [200]


def test_an_upload_that_never_works_is_given_up_with_a_message(service):
    service.cloud.store.fail(403, operation="download", name="doomed.jpg", times=1000)
    service.upload("doomed.jpg", photo())
    told = service.outcome("doomed.jpg")
    service.settled()
    assert (told["status"], told["code"]) == ("failed", "gave_up")
    assert service.statuses("doomed.jpg") == [503] * 5 + [200]


@pytest.mark.parametrize(
    ("name", "data", "code", "reason"),
    [
        ("notes.txt", b"no image at all", "unsupported_media", "is not a JPEG, PNG, "),
        ("empty.jpg", b"", "unsupported_media", "is empty"),
        ("cut-short.jpg", photo()[:-200], "corrupt_image", "is a damaged or incomplete JPEG file"),
    ],
)
def test_what_is_no_image_fails_with_a_code_and_a_sentence_about_it(service, name, data, code, reason):
    service.upload(name, data)
    told = service.outcome(name)
    assert (told["status"], told["code"], told["outputs"]) == ("failed", code, [])
    assert told["reason"].startswith(f"The upload {reason}")
    assert told["reason"].endswith(".")
    service.settled()
    assert service.statuses(name) == [200]


def test_options_in_the_metadata_of_an_upload_apply_to_it_alone(service):
    service.upload("as-webp.jpg", photo(), format="webp")
    told = service.outcome("as-webp.jpg")
    assert told["outputs"][0]["name"] == "as-webp.webp"
    assert service.image("as-webp.webp").format == "WEBP"
    assert told["options"]["output_format"] == "webp"


def test_an_option_that_is_none_is_named_in_the_reason(service):
    service.upload("misspelt.jpg", photo(), mask_treshold="0.5")
    told = service.outcome("misspelt.jpg")
    assert told["code"] == "invalid_options"
    assert "mask-treshold" in told["reason"]


def test_a_result_of_another_upload_is_never_overwritten(service):
    service.upload("twins.jpg", photo(seed=1))
    first = service.outcome("twins.jpg")
    service.upload("twins.png", photo(seed=2, kind="PNG"))
    assert service.outcome("twins.png")["code"] == "output_name_taken"
    assert str(service.results.get_blob("twins.png").generation) == first["outputs"][0]["generation"]


def test_a_structured_event_means_the_same_as_a_binary_one(service):
    service.upload("structured.jpg", photo())
    first = service.outcome("structured.jpg")
    service.settled()
    delivered = next(
        a.message for a in service.cloud.eventarc.attempts if "structured.jpg" in str(a.message.attributes)
    )
    event = {name.removeprefix("ce-"): value for name, value in delivered.attributes.items() if name.startswith("ce-")}
    answer = service.post(
        "/",
        data=json.dumps({**event, "data": json.loads(delivered.data)}),
        headers={"content-type": "application/cloudevents+json; charset=utf-8"},
    )
    assert answer.status_code == 200
    assert [json.loads(message.data) for message in service.published("structured.jpg")] == [first, first]


def test_storage_notifications_pushed_by_pubsub_mean_the_same_too(service):
    arrivals = Eventarc(service.cloud.store, ["notified"], url=service.server.url, transport=Transport.NOTIFICATION)
    with arrivals:
        service.uploads.client.bucket("notified").blob("pushed.jpg").upload_from_string(photo())
        assert service.outcome("pushed.jpg")["source"]["bucket"] == "notified"
        arrivals.wait()
    assert [attempt.status for attempt in arrivals.attempts] == [200]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b"hello"),
        ({"content-type": "application/json"}, b'{"message": "no object"}'),
        ({"content-type": "application/json"}, b'{"context": {}, "data": 5, "else": true}'),
        ({"content-type": "application/cloudevents+json"}, b"[]"),
        ({"ce-id": "1", "ce-specversion": "1.0", "ce-type": "x"}, b"{}"),
        ({"ce-id": "1", "ce-specversion": "1.0", "ce-type": "other.kind", "ce-source": "//x"}, b"{}"),
        ({"ce-id": "1", "ce-specversion": "9.9", "ce-type": "x", "ce-source": "//x"}, b"{}"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/dead-letter"])
def test_what_is_no_event_is_acknowledged_logged_and_not_echoed(service, path, headers, body):
    before = len(service.log())
    answer = service.post(path, data=body, headers={**headers, "authorization": "Bearer secret"})
    assert answer.status_code == 200
    assert "secret" not in answer.text
    (line,) = service.log()[before:]
    assert (line["severity"], line["code"]) == ("ERROR", "unreadable_event")


def test_every_upload_is_one_line_of_the_log_joined_to_its_trace(service):
    service.upload("logged.jpg", photo(80, 60))
    key = service.outcome("logged.jpg")["key"]
    service.settled()
    (line,) = [line for line in service.log() if line.get("source") == "gs://uploads/logged.jpg"]
    assert line["severity"] == "INFO"
    assert (line["status"], line["code"], line["key"]) == ("completed", "", key)
    assert (line["width"], line["height"]) == (80, 60)
    assert {"download", "decode", "segment", "matte", "encode", "upload", "total"} <= set(line["timings_ms"])
    assert line["logging.googleapis.com/trace"].startswith("projects/local/traces/")


def test_a_full_instance_answers_429_and_is_still_ready(service):
    service.upload("before-full.jpg", photo())
    service.settled()
    event = service.cloud.eventarc.attempts[-1].message
    gates = [service.cloud.store.hold("download", f"full-{number}.jpg") for number in range(4)]
    for number in range(4):
        service.upload(f"full-{number}.jpg", photo(seed=number))
    for gate in gates:
        gate.wait_for_arrival()
    answer = service.post("/", data=event.data, headers=dict(event.attributes))
    ready = requests.get(f"{service.server.url}/startup", timeout=5)
    for gate in gates:
        gate.open()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    assert "busy" in answer.text
    assert ready.status_code == 200
    for number in range(4):
        assert service.outcome(f"full-{number}.jpg")["status"] == "completed"


def test_many_uploads_at_once_each_get_their_own_cutout(service):
    pictures = {f"many/{number}.jpg": photo(64 + number, 64, seed=number) for number in range(12)}
    with ThreadPoolExecutor(len(pictures)) as pool:
        list(pool.map(service.upload, pictures, pictures.values()))
    for number in range(12):
        assert service.outcome(f"many/{number}.jpg")["status"] == "completed"
        assert service.image(f"many/{number}.png").size == (64 + number, 64)


@pytest.mark.emulator
def test_the_server_serves_against_googles_own_pubsub_emulator(google_pubsub, tmp_path, model, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", google_pubsub.address)
    topic, subscription = "projects/local/topics/told", "projects/local/subscriptions/told"
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=topic)
        subscriber.create_subscription(request={"name": subscription, "topic": topic})
        addresses = {"PUBSUB_EMULATOR_HOST": google_pubsub.address, "COMPLETION_TOPIC": topic}
        with running(tmp_path / "server.log", model, **addresses) as service:
            generation = service.upload("google.jpg", photo())
            service.settled()
            (received,) = subscriber.pull(subscription=subscription, max_messages=1, timeout=20).received_messages
            told = parse(received.message.data, received.message.attributes)
            assert (told.status, told.source.generation) == ("completed", generation)
            assert service.image("google.png").mode == "RGBA"
