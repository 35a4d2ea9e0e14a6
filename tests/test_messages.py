import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cloudevents.http import from_http
from hypothesis import given
from hypothesis import strategies as st

from shared.context import METADATA_BYTES
from shared.errors import FAILURE_CODES, NoSubject, RejectedUpload
from shared.messages import completed, failed, serialise
from shared.options import CutOptions
from shared.records import ModelInfo, StoredObject, Subject, Upload
from shared.report import (
    REPORT,
    VERSION,
    ImageInfo,
    Report,
    read_report,
    result_metadata,
)
from shared.subscriber.messages import (
    TYPES,
    CompletionMessage,
    Output,
    Source,
    Timings,
    Trace,
    UnreadableMessage,
    parse,
)
from shared.subscriber.records_as_json import compact, to_json
from tests import frozen_subscriber

ALLOWED_BYTES = 8 * 1024  # of an object's custom metadata
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STARTED = datetime(2026, 5, 4, 10, 0, 0, tzinfo=UTC)
UPLOAD = Upload(
    bucket="uploads",
    name="shoes/12.jpg",
    generation=2**53 + 1,
    size=1000,
    content_type="image/png",
    event_time="2026-05-04T09:59:59.500Z",
)
REPORT_OF_UPLOAD = Report(
    source=ImageInfo(content_type="image/jpeg", bytes=1000, width=40, height=30),
    output=ImageInfo(content_type="image/png", width=40, height=30),
    subject=Subject(coverage=0.25, uncertain=0.01, box=(3, 4, 30, 20), confidence=0.9),
    model=ModelInfo(id="embedded", revision="", sha256="ab" * 32, device="cpu", dtype="float32"),
    options=CutOptions().as_texts(),
    notes={"upscale": "skipped: larger than 3000 px"},
    timings_ms={"download": 1.5, "decode": 2.0, "segment": 30.0, "matte": 4.0, "upscale": 0.0, "encode": 5.0},
    started_ms=int(STARTED.timestamp() * 1000),
    encoded_ms=int(STARTED.timestamp() * 1000) + 50,
)


def counted_bytes(metadata):
    """As Cloud Storage counts them: names and values, in UTF-8."""
    return sum(len(text.encode()) for pair in metadata.items() for text in pair)


def stored(metadata, created=STARTED + timedelta(milliseconds=80)):
    return StoredObject(
        bucket="cutouts",
        name="shoes/12.png",
        generation=2**62,
        content_type="image/png",
        size=1234,
        crc32c="yZRlqg==",
        created=created,
        metadata=metadata,
    )


def result(report=REPORT_OF_UPLOAD, upload=UPLOAD):
    return stored(result_metadata(upload, "k" * 64, report))


def test_a_completed_message_says_exactly_what_the_contract_shows():
    data, attributes = serialise(completed(result()))
    assert json.loads(data) == {
        "schema": 1,
        "status": "completed",
        "code": "",
        "reason": "",
        "key": "k" * 64,
        "source": {
            "bucket": "uploads",
            "name": "shoes/12.jpg",
            "generation": "9007199254740993",
            "content_type": "image/jpeg",
            "bytes": 1000,
            "width": 40,
            "height": 30,
            "metadata": {},
        },
        "outputs": [
            {
                "role": "cutout",
                "bucket": "cutouts",
                "name": "shoes/12.png",
                "generation": "4611686018427387904",
                "uri": "gs://cutouts/shoes/12.png",
                "content_type": "image/png",
                "bytes": 1234,
                "width": 40,
                "height": 30,
                "crc32c": "yZRlqg==",
            }
        ],
        "subject": {"coverage": 0.25, "uncertain": 0.01, "box": [3, 4, 30, 20], "confidence": 0.9},
        "model": {"id": "embedded", "revision": "", "sha256": "ab" * 32, "device": "cpu", "dtype": "float32"},
        "options": CutOptions().as_texts(),
        "notes": {"upscale": "skipped: larger than 3000 px"},
        "timings_ms": {
            "download": 1.5,
            "decode": 2.0,
            "segment": 30.0,
            "matte": 4.0,
            "upscale": 0.0,
            "encode": 5.0,
            "upload": 30.0,
            "total": 80.0,
        },
    }
    assert attributes == {
        "ce-specversion": "1.0",
        "ce-id": "k" * 64,
        "ce-source": "//storage.googleapis.com/projects/_/buckets/uploads",
        "ce-type": "dev.cutdrop.image.completed.v1",
        "ce-subject": "objects/shoes/12.jpg",
        "ce-time": "2026-05-04T10:00:00.080Z",
        "content-type": "application/json",
        "status": "completed",
        "review": "false",
    }


def test_the_fields_stand_in_the_order_of_the_contract():
    data = json.loads(serialise(completed(result()))[0])
    order = "schema status code reason key source outputs subject model options notes timings_ms"
    assert list(data) == order.split()
    assert list(data["outputs"][0]) == [field.name for field in fields(Output)]


def test_a_message_is_the_same_whenever_it_is_made_from_the_same_object():
    first, again = result(), replace(result(), created=result().created.astimezone(timezone(timedelta(hours=2))))
    assert serialise(completed(first)) == serialise(completed(again))


@pytest.mark.parametrize("error", RejectedUpload.__subclasses__())
def test_a_failure_has_its_code_its_reason_no_outputs_and_no_times(error):
    message = failed(UPLOAD, "k", error("It is too much."))
    data, attributes = serialise(message)
    said = json.loads(data)
    assert (said["status"], said["code"], said["reason"]) == ("failed", error.code, "It is too much.")
    assert error.code in FAILURE_CODES
    assert said["outputs"] == []
    assert set(said["timings_ms"].values()) == {0.0}
    assert attributes["ce-type"] == "dev.cutdrop.image.failed.v1"
    assert (attributes["status"], attributes["ce-time"]) == ("failed", UPLOAD.event_time)


def test_a_failure_tells_what_was_claimed_until_it_is_known_what_is_true():
    claimed = failed(UPLOAD, "k", NoSubject("Nothing there.")).source
    assert (claimed.content_type, claimed.bytes, claimed.width) == ("image/png", 1000, 0)
    known = failed(UPLOAD, "k", NoSubject("Nothing there."), decoded=REPORT_OF_UPLOAD.source).source
    assert (known.content_type, known.bytes, known.width, known.height) == ("image/jpeg", 1000, 40, 30)


def test_a_message_without_a_known_time_has_no_time_attribute():
    message = failed(replace(UPLOAD, event_time=""), "k", NoSubject("Nothing there."))
    data, attributes = serialise(message)
    assert "ce-time" not in attributes
    assert parse(data, attributes) == message


def test_no_field_is_null_when_nothing_is_known():
    data, _ = serialise(completed(stored({})))
    assert b"null" not in data
    assert b"NaN" not in data
    assert json.loads(data)["subject"] == {"coverage": 0.0, "uncertain": 0.0, "box": [0, 0, 0, 0], "confidence": 0.0}


def test_a_store_whose_clock_runs_behind_never_gives_negative_times():
    early = stored(result().metadata, created=STARTED - timedelta(seconds=3))
    assert (completed(early).timings_ms.upload, completed(early).timings_ms.total) == (0.0, 0.0)


TEXT = st.text(max_size=30)
MAPPINGS = st.dictionaries(TEXT, TEXT, max_size=4)
WHOLE = st.integers(0, 2**63 - 1)
REAL = st.floats(0, 1e9, allow_nan=False)
GENERATIONS = st.integers(1, 2**63 - 1).map(str)


def records(kind, **parts):
    by_type: dict[object, st.SearchStrategy[object]] = {str: TEXT, int: WHOLE, float: REAL}
    return st.builds(kind, **{field.name: by_type.get(field.type) for field in fields(kind)} | parts)


TRACES = st.builds(Trace, traceparent=st.sampled_from(["", TRACEPARENT]), tracestate=st.sampled_from(["", "a=1"]))
OUTPUTS = records(Output, generation=GENERATIONS)
MODELS = records(ModelInfo)
SUBJECTS = st.builds(Subject, coverage=REAL, uncertain=REAL, confidence=REAL, box=st.tuples(WHOLE, WHOLE, WHOLE, WHOLE))
MESSAGES = st.builds(
    CompletionMessage,
    status=st.sampled_from(sorted(TYPES)),
    code=TEXT,
    reason=TEXT,
    key=TEXT,
    source=records(Source, generation=GENERATIONS, metadata=MAPPINGS),
    review=st.booleans(),
    trace=TRACES,
    outputs=st.lists(OUTPUTS, max_size=3).map(tuple),
    subject=SUBJECTS,
    model=MODELS,
    options=MAPPINGS,
    notes=MAPPINGS,
    timings_ms=records(Timings),
    time=st.just("") | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)


@given(MESSAGES)
def test_a_message_that_was_serialised_parses_to_itself(message):
    assert parse(*serialise(message)) == message


@given(MESSAGES)
def test_every_attribute_fits_into_pubsub(message):
    _, attributes = serialise(message)
    assert all(len(name.encode()) <= 256 and len(text.encode()) <= 1024 for name, text in attributes.items())
    assert not any(name.startswith("goog") for name in attributes)


@pytest.mark.parametrize("letter", ["a", "é", "漢", "🦊"])
def test_a_name_of_1024_bytes_gives_a_subject_that_is_cut_between_two_letters_and_says_so(letter):
    name = letter * (1024 // len(letter.encode()))
    message = failed(replace(UPLOAD, name=name), "k", NoSubject("Nothing there."))
    data, attributes = serialise(message)
    subject = attributes["ce-subject"]
    assert 1018 <= len(subject.encode()) <= 1024
    assert subject.endswith("…")
    assert f"objects/{name}".startswith(subject[:-1])
    assert parse(data, attributes).source.name == name


def test_the_attributes_are_a_cloudevent_to_the_official_library_whatever_the_name_holds():
    message = failed(replace(UPLOAD, name="line\x01\x7f.jpg"), "k", NoSubject("Nothing there."))
    data, attributes = serialise(message)
    event = from_http(attributes, data)
    assert (event["id"], event["type"], event["source"]) == ("k", TYPES["failed"], attributes["ce-source"])
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", event["subject"])
    assert event.data["source"]["name"] == "line\x01\x7f.jpg"


def test_fields_that_a_later_version_adds_are_skipped_and_fields_that_are_absent_are_empty():
    data, attributes = serialise(completed(result()))
    said = json.loads(data)
    said["later"] = {"more": [1]}
    said["source"]["camera"] = "x"
    assert parse(json.dumps(said).encode(), attributes) == completed(result())
    least = parse(b'{"schema": 1, "status": "failed", "key": "k"}', {})
    assert (least.source.name, least.outputs, least.subject.box, least.options) == ("", (), (0, 0, 0, 0), {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"schema": 2, "status": "completed"}',
        b'{"schema": 1, "status": "perhaps"}',
        b'{"schema": 1}',
        b'{"schema": 1, "status": "failed", "reason": null}',
        b'{"schema": 1, "status": "failed", "reason": "\\ud800"}',
        b'{"schema": 1, "status": "failed", "source": []}',
        b'{"schema": 1, "status": "failed", "source": {"bytes": 1.5}}',
        b'{"schema": 1, "status": "failed", "source": {"bytes": true}}',
        b'{"schema": 1, "status": "failed", "subject": {"box": [1, 2, 3]}}',
        b'{"schema": 1, "status": "failed", "subject": {"coverage": true}}',
        b'{"schema": 1, "status": "failed", "subject": {"coverage": NaN}}',
        b'{"schema": 1, "status": "failed", "subject": {"coverage": 1e999}}',
    ],
)
def test_what_is_no_completion_message_is_unreadable(data):
    with pytest.raises(UnreadableMessage, match="not a completion message"):
        parse(data, {})


LONG = st.text(min_size=0, max_size=3000)
REPORTS = st.builds(
    Report,
    source=records(ImageInfo, content_type=LONG),
    output=records(ImageInfo),
    subject=SUBJECTS,
    model=records(ModelInfo, id=LONG, revision=LONG),
    options=st.dictionaries(TEXT, LONG, max_size=20),
    notes=st.dictionaries(TEXT, LONG, max_size=5),
    timings_ms=st.dictionaries(st.sampled_from([field.name for field in fields(Timings)]), REAL),
    started_ms=WHOLE,
    encoded_ms=WHOLE,
    review=st.booleans(),
    trace=TRACES,
    metadata=st.dictionaries(TEXT, TEXT, max_size=10),
)


@given(report=REPORTS, letter=st.sampled_from(["a", "é", "漢", "🦊", '"', "\x01"]))
def test_a_results_metadata_never_exceeds_what_an_object_may_carry_and_keeps_the_source(report, letter):
    upload = replace(UPLOAD, bucket="b" * 222, name=letter * (1024 // len(letter.encode())))
    metadata = result_metadata(upload, "k" * 64, report)
    assert counted_bytes(metadata) <= ALLOWED_BYTES
    message = completed(stored(metadata))
    assert (message.source.bucket, message.source.name) == (upload.bucket, upload.name)
    assert message.source.generation == str(upload.generation)
    assert message.subject == report.subject
    assert parse(*serialise(message)) == message


@given(REPORTS)
def test_a_report_that_fits_comes_back_whole_and_one_that_does_not_says_so(report):
    metadata = result_metadata(UPLOAD, "k" * 64, report)
    back = read_report(metadata)
    whole = metadata | {REPORT: compact(to_json(report))}
    if counted_bytes(whole) <= ALLOWED_BYTES:
        assert back == report
    else:
        assert back.notes["report"].startswith("shortened")


def test_an_ordinary_report_fits_beside_the_longest_name():
    upload = replace(UPLOAD, bucket="b" * 222, name="漢" * 341)
    assert read_report(result_metadata(upload, "k" * 64, REPORT_OF_UPLOAD)) == REPORT_OF_UPLOAD


@pytest.mark.parametrize("letter", ["a", "é", "漢", "🦊", '"', "\x01"])
def test_the_limit_is_in_bytes(letter):
    for length in range(1000, 8000, 500):
        chatty = replace(REPORT_OF_UPLOAD, options={"bg_color": letter * length})
        assert counted_bytes(result_metadata(UPLOAD, "k" * 64, chatty)) <= ALLOWED_BYTES


def test_a_report_that_fills_the_metadata_to_the_last_byte_is_kept_and_one_byte_more_shortens_it():
    def with_a_note_of(length):
        return result_metadata(UPLOAD, "k" * 64, replace(REPORT_OF_UPLOAD, notes={"upscale": "x" * length}))

    free = ALLOWED_BYTES - counted_bytes(with_a_note_of(0))
    assert counted_bytes(with_a_note_of(free)) == ALLOWED_BYTES
    assert len(read_report(with_a_note_of(free)).notes["upscale"]) == free
    assert "report" in read_report(with_a_note_of(free + 1)).notes


def kept(**changes):
    return read_report(result_metadata(UPLOAD, "k" * 64, replace(REPORT_OF_UPLOAD, **changes)))


def test_what_is_too_long_goes_in_order_notes_then_options_and_other_long_texts():
    shorter = kept(notes={"upscale": "so " * 3000})
    assert (shorter.options, shorter.notes["upscale"]) == (REPORT_OF_UPLOAD.options, ("so " * 3000)[:100])
    without_notes = kept(notes={str(number): "so " * 30 for number in range(100)})
    assert (without_notes.options, set(without_notes.notes)) == (REPORT_OF_UPLOAD.options, {"report"})
    least = kept(options={"bg_color": "x" * 9000}, model=replace(REPORT_OF_UPLOAD.model, id="m" * 9000))
    assert (least.options, least.model.id, least.model.sha256) == ({}, "m" * 100, REPORT_OF_UPLOAD.model.sha256)
    assert (least.subject, least.timings_ms) == (REPORT_OF_UPLOAD.subject, REPORT_OF_UPLOAD.timings_ms)


DAMAGED = st.text(max_size=40) | st.sampled_from(
    ['{"source": 5}', '{"timings_ms": {"encode": "x"}}', '{"subject": null}', '{"started_ms": 1e400}', "[" * 100_000]
)


@given(DAMAGED)
def test_a_damaged_report_leaves_a_message_of_what_the_object_itself_says(text):
    message = completed(stored(result().metadata | {REPORT: text}))
    assert message.source.name == UPLOAD.name
    assert message.outputs[0].crc32c == "yZRlqg=="
    assert parse(*serialise(message)) == message


def test_the_version_in_the_metadata_is_the_products():
    pyproject = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{VERSION}"' in pyproject


def told(metadata: dict[str, str], **upload: Any) -> CompletionMessage:
    """The message about a failed upload with this custom metadata."""
    return failed(replace(UPLOAD, metadata=metadata, **upload), "k", NoSubject("Nothing there."))


def test_the_uploaders_own_metadata_comes_back_and_options_do_not():
    own = {"order": "7", "größe": "\u2028\x01\n", "": "empty key", "x": ""}
    assert told(own | {"cutdrop-format": "webp", "Cutdrop-Key": "k"}).source.metadata == own


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=2500), max_size=30))
def test_any_metadata_of_an_upload_fits_and_is_the_same_each_time(metadata):
    first, again = told(metadata), told(dict(reversed(metadata.items())))
    assert first.source.metadata == again.source.metadata
    assert sum(len((key + value).encode()) for key, value in first.source.metadata.items()) <= METADATA_BYTES
    assert first.source.metadata.items() <= metadata.items()
    assert parse(*serialise(first)) == first


def test_an_entry_that_does_not_fit_leaves_the_others():
    assert told({"a": "1", "b": "x" * METADATA_BYTES, "c": "3"}).source.metadata == {"a": "1", "c": "3"}


@pytest.mark.parametrize(
    ("metadata", "event", "attributes"),
    [
        ({}, {}, {}),
        ({}, {"traceparent": TRACEPARENT}, {"traceparent": TRACEPARENT}),
        ({}, {"traceparent": TRACEPARENT, "tracestate": "a=1"}, {"traceparent": TRACEPARENT, "tracestate": "a=1"}),
        ({"Traceparent": TRACEPARENT}, {"traceparent": TRACEPARENT[:-1] + "0"}, {"traceparent": TRACEPARENT}),
        ({"traceparent": "00-0-0-01"}, {"tracestate": "a=1"}, {}),
        ({"traceparent": TRACEPARENT.upper()}, {}, {}),
        ({"traceparent": TRACEPARENT, "tracestate": "a=\n"}, {}, {"traceparent": TRACEPARENT}),
        ({"traceparent": TRACEPARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)}, {}, {}),
    ],
)
def test_a_well_formed_trace_of_the_upload_or_else_of_its_event_travels_as_attributes(metadata, event, attributes):
    _, sent = serialise(told(metadata, **event))
    assert {name: sent[name] for name in sent if name.startswith("trace")} == attributes


@given(MESSAGES)
def test_a_subscriber_of_the_first_version_reads_every_message(message):
    read = frozen_subscriber.parse(*serialise(message))
    assert (read.status, read.code, read.key, read.time) == (message.status, message.code, message.key, message.time)
    assert read.source.name == message.source.name
    assert [output.uri for output in read.outputs] == [output.uri for output in message.outputs]
    assert read.subject.box == message.subject.box
    assert (read.options, read.notes) == (message.options, message.notes)
