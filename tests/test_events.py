import base64
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import UnreadableEvent
from shared.events import FINALIZED, PUBLISHED, needs_look_up, parse_event, parse_push_envelope
from shared.records import Upload

FIXTURES = Path(__file__).parent / "data" / "events"
CONTEXT = {"specversion": "1.0", "id": "4711", "type": FINALIZED, "time": "2025-09-16T05:20:01Z"}
UPLOAD = Upload(
    bucket="uploads",
    name="shoes/12.jpg",
    generation=1758000000123456,
    size=352817,
    content_type="image/jpeg",
    metadata={"cutdrop-format": "webp", "photographer": "A. Müller"},
    event_id="4711",
    event_time="2025-09-16T05:20:00.123Z",
)
LEAST = {"bucket": "uploads", "name": "a.jpg", "generation": "7"}
NOTIFICATION = {
    "notificationConfig": "projects/_/buckets/uploads/notificationConfigs/1",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": "uploads",
    "objectId": "shoes/12.jpg",
    "objectGeneration": "1758000000123456",
    "eventTime": "2025-09-16T05:20:00.456789Z",
}


def fixture(name):
    return json.loads((FIXTURES / f"finalized_numbers_as_{name}.json").read_text(encoding="utf-8"))


def pushed(attributes, data=b""):
    return {
        "message": {"attributes": attributes, "data": base64.b64encode(data).decode(), "messageId": "4711"},
        "subscription": "projects/p/subscriptions/s",
        "deliveryAttempt": 5,
    }


@pytest.mark.parametrize("numbers", ["text", "numbers"])
def test_a_storage_event_gives_its_upload_whether_numbers_come_as_text_or_as_numbers(numbers):
    assert parse_event(CONTEXT, fixture(numbers)) == UPLOAD


def test_a_body_that_nobody_parsed_is_parsed_here():
    assert parse_event(CONTEXT, json.dumps(fixture("text")).encode()) == UPLOAD


def test_a_wrapped_storage_notification_gives_the_same_upload_as_the_storage_event():
    wrapped = pushed(NOTIFICATION, json.dumps(fixture("text")).encode())
    assert parse_event({"type": PUBLISHED, "id": "9"}, wrapped) == UPLOAD
    assert parse_push_envelope(json.dumps(wrapped).encode()) == UPLOAD


def test_a_dead_lettered_eventarc_message_gives_the_same_upload_as_its_first_delivery():
    attributes = {f"ce-{name}": text for name, text in CONTEXT.items()}
    attributes |= {"content-type": "application/json", "CloudPubSubDeadLetterSourceDeliveryCount": "50"}
    assert parse_push_envelope(pushed(attributes, json.dumps(fixture("numbers")).encode())) == UPLOAD


def test_a_dead_lettered_event_in_structured_mode_gives_the_same_upload():
    event = json.dumps(CONTEXT | {"data": fixture("text")}).encode()
    assert parse_push_envelope(pushed({"content-type": "application/cloudevents+json; charset=utf-8"}, event)) == UPLOAD


def test_a_notification_without_payload_names_its_upload_and_asks_for_a_look():
    upload = parse_push_envelope(pushed(NOTIFICATION | {"payloadFormat": "NONE"}))
    assert (upload.uri, upload.generation) == (UPLOAD.uri, UPLOAD.generation)
    assert upload.event_time == "2025-09-16T05:20:00.456789Z"
    assert needs_look_up(upload)
    assert not needs_look_up(UPLOAD)


def test_a_notification_without_attributes_names_nothing():
    with pytest.raises(UnreadableEvent, match="announces no upload"):
        parse_push_envelope({"message": {}})


def test_only_bucket_name_and_generation_are_needed():
    assert parse_event({"type": FINALIZED}, LEAST) == Upload(bucket="uploads", name="a.jpg", generation=7)
    absent = {"size": None, "contentType": None, "metadata": None, "timeCreated": None}
    assert parse_event({"type": FINALIZED}, LEAST | absent) == Upload(bucket="uploads", name="a.jpg", generation=7)


@pytest.mark.parametrize("field", ["bucket", "name", "generation"])
def test_an_event_without_bucket_name_or_generation_is_unreadable(field):
    with pytest.raises(UnreadableEvent, match=f"{field} is missing"):
        parse_event({"type": FINALIZED}, {name: value for name, value in LEAST.items() if name != field})


@given(generation=st.integers(1, 2**63 - 1), as_text=st.booleans())
@example(generation=2**53 + 1, as_text=True)
@example(generation=2**63 - 1, as_text=False)
def test_every_64_bit_generation_is_read_exactly(generation, as_text):
    given_as = str(generation) if as_text else generation
    data = json.dumps(LEAST | {"generation": given_as}).encode()
    assert parse_event({"type": FINALIZED}, data).generation == generation


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"generation": 1.5e15}, "generation is not a whole number"),
        ({"generation": "1e15"}, "generation is not a whole number"),
        ({"generation": 0}, "generation is not a whole number"),
        ({"generation": True}, "generation is not a whole number"),
        ({"generation": 2**63}, "generation is not a whole number"),
        ({"generation": "9" * 5000}, "generation is not a whole number"),
        ({"generation": "१२"}, "generation is not a whole number"),
        ({"size": "-1"}, "size is not a whole number"),
        ({"size": []}, "size is not a whole number"),
        ({"name": 5}, "name is not text"),
        ({"name": "\ud800.jpg"}, "name is not Unicode text"),
        ({"bucket": "a/b"}, "bucket is not a bucket's name"),
        ({"metadata": {"a": 1}}, "a is not text"),
        ({"metadata": ["a"]}, "metadata is not a JSON object"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(change, sentence):
    with pytest.raises(UnreadableEvent, match=sentence):
        parse_event({"type": FINALIZED}, LEAST | change)


@pytest.mark.parametrize("data", [b"{broken", b"\xff\xfe", "", b"[]", b"null", None, 5, b"[" * 100_000])
def test_data_that_is_no_json_object_is_unreadable(data):
    with pytest.raises(UnreadableEvent, match=r"is not (a )?JSON"):
        parse_event({"type": FINALIZED}, data)


@pytest.mark.parametrize("kind", ["deleted", "metadataUpdated", "archived"])
def test_other_storage_events_announce_no_upload(kind):
    with pytest.raises(UnreadableEvent, match=kind):
        parse_event({"type": f"google.cloud.storage.object.v1.{kind}"}, fixture("text"))


@pytest.mark.parametrize("kind", ["OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE"])
def test_other_notifications_announce_no_upload(kind):
    with pytest.raises(UnreadableEvent, match=kind):
        parse_push_envelope(pushed(NOTIFICATION | {"eventType": kind}, json.dumps(fixture("text")).encode()))


def test_a_message_whose_data_is_not_base64_is_unreadable():
    wrapped = pushed(NOTIFICATION)
    wrapped["message"]["data"] = "?" * 4
    with pytest.raises(UnreadableEvent, match="not base64"):
        parse_push_envelope(wrapped)


def test_an_events_time_is_the_objects_own_and_never_something_that_is_no_time():
    late = CONTEXT | {"time": "2026-01-01T00:00:00Z"}  # a second event about the same object
    assert parse_event(late, fixture("text")).event_time == "2025-09-16T05:20:00.123Z"
    assert parse_event(late, LEAST).event_time == "2026-01-01T00:00:00Z"
    assert parse_event(CONTEXT | {"time": "yesterday"}, LEAST | {"timeCreated": 5}).event_time == ""


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["bucket", "name", "generation", "size", "contentType", "metadata", "timeCreated", "message", "attributes", "data"]
)
NEARLY = st.builds(lambda base, change: base | change, st.just(LEAST), st.dictionaries(FIELDS, ANYTHING, max_size=4))
ENVELOPES = st.builds(
    lambda attributes, change, data: {"message": {"attributes": NOTIFICATION | attributes, "data": data} | change},
    st.dictionaries(st.sampled_from(sorted(NOTIFICATION)), ANYTHING, max_size=2),
    st.dictionaries(FIELDS, ANYTHING, max_size=1),
    st.binary().map(lambda raw: base64.b64encode(raw).decode()) | ANYTHING,
)


@given(
    attributes=st.fixed_dictionaries({"type": st.sampled_from([FINALIZED, PUBLISHED]) | ANYTHING, "time": ANYTHING}),
    data=NEARLY | ENVELOPES | ANYTHING | st.binary(),
)
def test_whatever_arrives_is_an_upload_or_unreadable_and_never_another_error(attributes, data):
    for read in (lambda: parse_event(attributes, data), lambda: parse_push_envelope(data)):
        try:
            upload = read()
        except UnreadableEvent as error:
            str(error).encode()
        else:
            upload.uri.encode()
