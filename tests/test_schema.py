"""The topic's schema takes every message that the service publishes, and nothing else."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest
from fastavro import parse_schema
from fastavro.validation import validate
from google.api_core.exceptions import InvalidArgument
from google.cloud import pubsub_v1
from hypothesis import given
from hypothesis import strategies as st

from function.cloud import PubSubPublisher
from shared.errors import PublisherUnavailable, RejectedUpload
from shared.messages import completed, failed, serialise
from shared.records import ModelInfo, Subject
from shared.subscriber.messages import CompletionMessage, Output, Source, Timings, parse
from tests.pubsub_emulator import GooglePubSub, emulator_script
from tests.test_messages import UPLOAD, result

FOLDER = Path(__file__).resolve().parents[1] / "shared" / "subscriber"
DEFINITION = (FOLDER / "completion.avsc").read_text()
JSON_SCHEMA = json.loads((FOLDER / "completion.schema.json").read_text())
SCHEMA = parse_schema(json.loads(DEFINITION))

REAL = {
    "a cutout": completed(result()),
    "a result whose report was lost": completed(replace(result(), metadata={})),
    **{error.code: failed(UPLOAD, "k" * 64, error("because")) for error in RejectedUpload.__subclasses__()},
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
options = st.dictionaries(texts, texts, max_size=3)
pixels, sizes = st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)
milliseconds = st.floats(0, 1e9)
messages = st.builds(
    CompletionMessage,
    status=st.sampled_from(["completed", "failed"]),
    code=texts,
    reason=texts,
    key=texts,
    source=st.builds(
        Source, bucket=texts, name=texts, generation=texts, bytes=sizes, width=pixels, height=pixels, metadata=options
    ),
    outputs=st.lists(
        st.builds(
            Output,
            **dict.fromkeys(("role", "bucket", "name", "generation", "uri", "content_type", "crc32c"), texts),
            bytes=sizes,
            width=pixels,
            height=pixels,
        ),
        max_size=2,
    ).map(tuple),
    subject=st.builds(
        Subject,
        **dict.fromkeys(("coverage", "uncertain", "confidence"), st.floats(0, 1)),
        box=st.tuples(pixels, pixels, pixels, pixels),
    ),
    model=st.builds(ModelInfo, id=texts, revision=texts, sha256=texts, device=texts, dtype=texts),
    options=options,
    notes=options,
    timings_ms=st.builds(Timings, download=milliseconds, segment=milliseconds, total=milliseconds),
)


def as_published(message: CompletionMessage):
    data, _ = serialise(message)
    return json.loads(data)


def fits(data) -> bool:
    """Whether plain JSON is also Avro's JSON: without unions the two are one. The JSON Schema has to say the same."""
    taken = validate(data, SCHEMA, raise_errors=False, strict=True)
    assert jsonschema_rs.is_valid(JSON_SCHEMA, data) == taken
    return taken


def wrong_messages():
    good = as_published(REAL["a cutout"])

    def changed(*path, value=None, remove=False):
        data = copy.deepcopy(good)
        place = data
        for step in path[:-1]:
            place = place[step]
        if remove:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return data

    return {
        "a field is missing": changed("key", remove=True),
        "a timing is missing": changed("timings_ms", "total", remove=True),
        "an unknown status": changed("status", value="perhaps"),
        "a null": changed("reason", value=None),
        "a generation as a number": changed("source", "generation", value=9007199254740993),
        "a size as text": changed("outputs", 0, "bytes", value="1000"),
        "an option that is no text": changed("options", "mask_kernel", value=5),
        "half a box": changed("subject", "box", value="3,4"),
    }


@pytest.mark.parametrize("message", REAL.values(), ids=REAL.keys())
def test_every_kind_of_message_fits_the_schema(message):
    assert fits(as_published(message))


@given(messages)
def test_whatever_a_message_holds_it_fits_the_schema(message):
    assert fits(as_published(message))


@pytest.mark.parametrize("data", wrong_messages().values(), ids=wrong_messages().keys())
def test_a_message_against_the_contract_does_not_fit(data):
    assert not fits(data)


def test_the_schema_has_no_field_that_messages_lack_and_no_union():
    def named(kind):
        if isinstance(kind, list):
            raise AssertionError(f"{kind} is a union: Avro's JSON would tag it")
        if isinstance(kind, dict) and kind["type"] == "record":
            return {field["name"]: named(field["type"]) for field in kind["fields"]}
        return named(kind["items"]) if isinstance(kind, dict) and kind["type"] == "array" else ""

    def shape(value):
        if isinstance(value, list):
            return shape(value[0])
        return {name: shape(item) for name, item in value.items()} if isinstance(value, dict) else ""

    def without_maps(value):
        """A map has no fields of its own: it counts as one."""
        maps = {"options", "notes", "metadata"}
        if isinstance(value, dict):
            return {name: "" if name in maps else without_maps(item) for name, item in value.items()}
        return value

    message = as_published(REAL["a cutout"])
    assert named(json.loads(DEFINITION)) == {name: shape(value) for name, value in without_maps(message).items()}


def test_the_json_schema_has_the_fields_and_the_explanations_of_the_avro_schema():
    def described(kind):
        """{field: (explanation, what it holds)}."""
        if isinstance(kind, dict) and kind["type"] == "record":
            held = {field["name"]: (field.get("doc", ""), described(field["type"])) for field in kind["fields"]}
            return held, [field["name"] for field in kind["fields"] if "default" not in field]
        if isinstance(kind, dict) and kind["type"] == "array":
            return [described(kind["items"])]
        if isinstance(kind, dict):
            return tuple(kind["symbols"]) if "symbols" in kind else kind
        return {"int": "integer", "long": "integer", "double": "number"}.get(kind, kind)

    def said(schema):
        if "properties" in schema:
            held = {name: (part.get("description", ""), said(part)) for name, part in schema["properties"].items()}
            return held, schema["required"]
        if "items" in schema:
            return [said(schema["items"])]
        if "additionalProperties" in schema:
            return {"type": "map", "values": said(schema["additionalProperties"])}
        return tuple(schema["enum"]) if "enum" in schema else schema.get("type")

    avro, schema = described(json.loads(DEFINITION)), said(JSON_SCHEMA)
    assert avro[0].pop("schema") == ("1", "integer")
    assert JSON_SCHEMA["properties"]["schema"] == {"const": 1}
    del schema[0]["schema"]
    assert schema == avro


def test_a_field_of_a_later_version_fits_the_json_schema():
    later = as_published(REAL["a cutout"])
    later["source"]["colour"] = later["later"] = "new"
    assert jsonschema_rs.is_valid(JSON_SCHEMA, later)


@pytest.fixture(scope="module")
def topic():
    """A topic with the schema in Google's own emulator, and a subscription to it."""
    if emulator_script() is None:
        pytest.skip("no Cloud SDK with the Pub/Sub emulator")
    with GooglePubSub() as emulator, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PUBSUB_EMULATOR_HOST", emulator.address)
        schema = {"name": "", "type_": "AVRO", "definition": DEFINITION}
        made = pubsub_v1.SchemaServiceClient().create_schema(
            parent="projects/test", schema=schema, schema_id="cutdrop-completion"
        )
        name = "projects/test/topics/cutdrop-completion"
        with_schema = {"name": name, "schema_settings": {"schema": made.name, "encoding": "JSON"}}
        pubsub_v1.PublisherClient().create_topic(request=with_schema)
        subscription = "projects/test/subscriptions/reader"
        pubsub_v1.SubscriberClient().create_subscription(name=subscription, topic=name)
        yield name


@pytest.mark.emulator
def test_pubsub_takes_every_kind_of_message_from_the_real_publisher(topic):
    publisher = PubSubPublisher.connect(topic)
    for message in REAL.values():
        publisher.publish(message)
    publisher.close()
    reader = pubsub_v1.SubscriberClient()
    pulled = reader.pull(subscription="projects/test/subscriptions/reader", max_messages=100).received_messages
    read = [parse(entry.message.data, entry.message.attributes) for entry in pulled]
    assert sorted(read, key=lambda message: message.code) == sorted(REAL.values(), key=lambda message: message.code)


@pytest.mark.emulator
@pytest.mark.parametrize("data", wrong_messages().values(), ids=wrong_messages().keys())
def test_pubsub_refuses_a_message_against_the_contract(topic, data):
    publisher = pubsub_v1.PublisherClient()
    with pytest.raises(InvalidArgument):
        publisher.publish(topic, json.dumps(data).encode()).result(timeout=20)


@pytest.mark.emulator
def test_a_message_that_the_topic_refuses_is_delivered_again_and_not_lost(topic):
    publisher = PubSubPublisher.connect(topic, deadline_s=5)
    with pytest.raises(PublisherUnavailable):
        publisher.publish(replace(REAL["a cutout"], timings_ms={}))  # type: ignore[arg-type]  # wrong on purpose
    publisher.close()
