"""The policy of one upload, against the local store and topic through the official clients."""

import json
from dataclasses import replace

import grpc
import numpy as np
import pytest

from function.cloud import GcsObjectStore
from function.handler import WRITE_ATTEMPTS
from function.local.storage.faults import Effect, Fault
from shared import decoding, encoding
from shared.errors import (
    Busy,
    OutOfGpuMemory,
    PublisherUnavailable,
    ShuttingDown,
    StorageUnavailable,
    UploadMissing,
)
from shared.events import parse_push_envelope
from shared.options import CutOptions
from shared.records import Cutout, Upload
from shared.subject import measure
from tests.conftest import photo
from tests.shop import Bright, Shop


def test_an_upload_becomes_a_cutout_with_the_uploads_own_colours_and_a_message(shop):
    upload = shop.put("shoes/12.jpg")
    outcome = shop.handler.handle(upload)
    blob = shop.result("shoes/12.png")
    stored = decoding.decode(blob.download_as_bytes(), max_pixels=10**6)
    original = decoding.decode(photo(), max_pixels=10**6)
    inside = stored.alpha == 255
    assert np.array_equal(stored.rgb[inside], original.rgb[inside])
    assert 0.1 < np.mean(inside) < 0.5
    [message] = shop.said
    assert (outcome.status, outcome.message, outcome.repeated) == ("completed", message, False)
    assert (message.source.name, message.source.generation) == ("shoes/12.jpg", str(upload.generation))
    assert (message.source.bytes, message.source.width, message.source.height) == (len(photo()), 96, 64)
    [output] = message.outputs
    assert (output.uri, output.generation) == ("gs://cutouts/shoes/12.png", str(blob.generation))
    assert (output.bytes, output.crc32c, output.content_type) == (blob.size, blob.crc32c, "image/png")
    assert message.model == Bright.model
    assert message.options == CutOptions().as_texts()


def test_a_result_says_what_it_was_made_from(shop):
    upload = shop.put("shoes/12.jpg")
    outcome = shop.handler.handle(upload)
    metadata = shop.result("shoes/12.png").metadata
    assert metadata["cutdrop-source"] == "gs://uploads/shoes/12.jpg"
    assert metadata["cutdrop-source-generation"] == str(upload.generation)
    assert metadata["cutdrop-key"] == outcome.key
    assert set(metadata) == {f"cutdrop-{name}" for name in ("source", "source-generation", "key", "version", "report")}


def test_the_same_event_three_times_stores_once_and_announces_three_times_the_same(shop):
    upload = shop.put("shoes/12.jpg")
    shop.handler.handle(upload)
    generation = shop.result("shoes/12.png").generation
    shop.time += 3600
    other = Bright()
    other.model = replace(Bright.model, device="cuda", dtype="float16")
    repeats = [shop.handler.handle(upload), shop.open(cutter=other).handle(upload)]
    assert shop.result("shoes/12.png").generation == generation
    assert [outcome.repeated for outcome in repeats] == [True, True]
    assert (shop.cutter.calls, other.calls) == (1, 0)
    first, second, third = shop.published
    assert first == second == third


def test_a_failure_is_announced_the_same_each_time(shop):
    upload = shop.put("notes.txt", b"no image")
    shop.handler.handle(upload)
    shop.time += 3600
    shop.open().handle(upload)
    first, second = shop.published
    assert first == second
    assert first[1]["ce-time"] == upload.event_time


def test_two_deliveries_at_once_store_once_and_announce_twice_the_same(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cutter.meanwhile = lambda: shop.open().handle(upload)
    shop.handler.handle(upload)
    assert shop.cutter.calls == 2
    assert [call.status for call in shop.requests("insert") if call.name == "shoes/12.png"] == [200, 412]
    first, second = shop.published
    assert first == second


def test_a_write_whose_answer_was_lost_is_recognised_as_our_own(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.store.faults.add(Fault(effect=Effect.LOSE_RESPONSE, operation="insert", object="shoes/12.png"))
    outcome = shop.handler.handle(upload)
    assert [call.status for call in shop.requests("insert") if call.name == "shoes/12.png"][-1] == 412
    assert outcome.status == "completed"
    assert shop.said[0].outputs[0].generation == str(shop.result("shoes/12.png").generation)


def test_a_message_that_the_topic_refused_is_published_by_the_next_delivery_without_work(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.topics.fail_with = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(PublisherUnavailable):
        shop.handler.handle(upload)
    shop.cloud.topics.fail_with = None
    assert shop.handler.handle(upload).status == "completed"
    assert (shop.cutter.calls, shop.codes) == (1, ["completed"])


def test_an_overwritten_upload_that_finishes_late_leaves_the_newest_result(shop):
    old = shop.put("shoes/12.jpg")
    newer = []

    def overwrite():
        newer.append(shop.put("shoes/12.jpg", photo(seed=1)))
        shop.open().handle(newer[0])

    shop.cutter.meanwhile = overwrite
    assert shop.handler.handle(old).code == "superseded"
    assert shop.codes == ["completed", "superseded"]
    assert shop.result("shoes/12.png").metadata["cutdrop-source-generation"] == str(newer[0].generation)


def test_an_overwritten_upload_that_finishes_first_is_replaced_by_the_newest_result(shop):
    old = shop.put("shoes/12.jpg")
    newer = []
    shop.cutter.meanwhile = lambda: newer.append(shop.put("shoes/12.jpg", photo(seed=1)))
    assert shop.handler.handle(old).status == "completed"
    assert shop.handler.handle(newer[0]).status == "completed"
    assert shop.result("shoes/12.png").metadata["cutdrop-source-generation"] == str(newer[0].generation)


def test_an_old_event_that_comes_after_the_newer_result_is_superseded_without_a_download(shop):
    old = shop.put("shoes/12.jpg")
    shop.handler.handle(shop.put("shoes/12.jpg", photo(seed=1)))
    generation = shop.result("shoes/12.png").generation
    downloads = len(shop.requests("download"))
    assert shop.handler.handle(old).code == "superseded"
    assert len(shop.requests("download")) == downloads
    assert shop.result("shoes/12.png").generation == generation


def test_an_upload_that_was_overwritten_before_it_was_read_is_superseded(shop):
    old = shop.put("shoes/12.jpg")
    shop.put("shoes/12.jpg", photo(seed=1))
    assert shop.handler.handle(old).code == "superseded"
    assert shop.result("shoes/12.png") is None


def test_an_upload_that_was_deleted_before_it_was_read_is_gone(shop):
    upload = shop.put("shoes/12.jpg")
    shop.client.bucket("uploads").blob("shoes/12.jpg").delete()
    assert shop.handler.handle(upload).code == "source_gone"


def test_an_upload_that_is_there_and_cannot_be_read_is_tried_again(shop):
    class Forgetful(GcsObjectStore):
        def read(self, upload, *, max_bytes):
            raise UploadMissing(upload.uri)

    upload = shop.put("shoes/12.jpg")
    forgetful = Forgetful(shop.client, "cutouts")
    with pytest.raises(StorageUnavailable, match="is live and cannot be read"):
        shop.open(store=forgetful).handle(upload)
    assert shop.said == []


def test_a_name_that_holds_the_result_of_another_upload_is_never_overwritten(shop):
    shop.handler.handle(shop.put("shoes/12.jpg"))
    generation = shop.result("shoes/12.png").generation
    outcome = shop.handler.handle(shop.put("shoes/12.webp", photo(kind="WEBP")))
    assert outcome.code == "output_name_taken"
    assert shop.result("shoes/12.png").generation == generation


def test_a_name_that_another_upload_takes_meanwhile_is_not_overwritten(shop):
    first = shop.put("shoes/12.jpg")
    second = shop.put("shoes/12.webp", photo(kind="WEBP"))
    shop.cutter.meanwhile = lambda: shop.open().handle(second)
    assert shop.handler.handle(first).code == "output_name_taken"
    assert shop.result("shoes/12.png").metadata["cutdrop-source"] == "gs://uploads/shoes/12.webp"


def test_an_object_of_somebody_else_under_the_results_name_is_never_overwritten(shop):
    upload = shop.put("shoes/12.jpg")
    shop.put("shoes/12.png", b"mine", bucket="cutouts")
    assert shop.handler.handle(upload).code == "output_name_taken"
    assert shop.result("shoes/12.png").download_as_bytes() == b"mine"


def test_a_result_deleted_while_its_upload_is_in_work_again_is_made_again(opened):
    shop = opened()
    upload = shop.put("shoes/12.jpg")
    shop.handler.handle(upload)
    changed = opened(options=CutOptions(mask_threshold=0.5))
    changed.cutter.meanwhile = lambda: shop.client.bucket("cutouts").blob("shoes/12.png").delete()
    assert changed.handler.handle(upload).status == "completed"
    assert shop.result("shoes/12.png").metadata["cutdrop-key"] == shop.said[-1].key


def test_other_options_make_another_result_of_the_same_upload(opened):
    shop, changed = opened(), opened(options=CutOptions(mask_threshold=0.5))
    upload = shop.put("shoes/12.jpg")
    first, second = shop.handler.handle(upload), changed.handler.handle(upload)
    assert first.key != second.key
    assert shop.result("shoes/12.png").metadata["cutdrop-key"] == second.key


def test_a_result_that_never_stops_changing_is_tried_again_later(shop):
    class Contested(GcsObjectStore):
        """Before each write, an instance with an older release of the weights stores its own result."""

        attempts = 0

        def write(self, name, image, metadata, *, if_generation_match):
            Contested.attempts += 1
            older = dict(metadata) | {"cutdrop-key": f"older {Contested.attempts}"}
            found = self.find(name)
            super().write(name, image, older, if_generation_match=found.generation if found else 0)
            return super().write(name, image, metadata, if_generation_match=if_generation_match)

    upload = shop.put("shoes/12.jpg")
    with pytest.raises(StorageUnavailable, match="changed 4 times"):
        shop.open(store=Contested(shop.client, "cutouts")).handle(upload)
    assert Contested.attempts == WRITE_ATTEMPTS == 4
    assert (shop.cutter.calls, shop.said) == (1, [])


@pytest.mark.parametrize(
    ("settings", "upload", "reason"),
    [
        ({"upload_buckets": ("others",)}, {}, "UPLOAD_BUCKETS"),
        ({}, {"bucket": "cutouts"}, "results are written to it"),
        ({"upload_prefix": "in/"}, {}, "UPLOAD_PREFIX"),
        ({}, {"name": "shoes/"}, "folder"),
        ({"upload_buckets": ("cutouts",)}, {"bucket": "cutouts", "metadata": {"Cutdrop-Key": "k"}}, "result of this"),
    ],
)
def test_what_is_no_upload_of_ours_is_ignored_without_a_request_or_a_message(opened, settings, upload, reason):
    shop = opened(**settings)
    event = Upload(**{"bucket": "uploads", "name": "shoes/12.jpg", "generation": 7, "size": 9} | upload)
    for act in (shop.handler.handle, shop.handler.give_up):
        outcome = act(event)
        assert outcome.status == "ignored"
        assert reason in outcome.reason
    assert list(shop.cloud.store.calls) == []
    assert shop.said == []


def test_uploads_may_lie_in_the_output_bucket_where_it_is_listed(opened):
    shop = opened(upload_buckets=("cutouts",), output_prefix="done/")
    assert shop.handler.handle(shop.put("in/12.jpg", bucket="cutouts")).status == "completed"
    blob = shop.result("done/in/12.png")
    again = Upload(bucket="cutouts", name=blob.name, generation=blob.generation, size=1, metadata=blob.metadata)
    assert shop.handler.handle(again).status == "ignored"


def bare_notification(upload):
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "NONE",
        "bucketId": upload.bucket,
        "objectId": upload.name,
        "objectGeneration": str(upload.generation),
        "eventTime": upload.event_time,
    }
    return parse_push_envelope({"message": {"attributes": attributes}})


def test_a_notification_without_payload_leads_to_the_same_message(shop):
    upload = shop.put("shoes/12.jpg", metadata={"cutdrop-format": "webp"})
    shop.handler.handle(bare_notification(upload))
    assert shop.result("shoes/12.webp").content_type == "image/webp"
    shop.handler.handle(upload)
    first, second = shop.published
    assert first == second


@pytest.mark.parametrize("name", ["cutdrop-key", "Cutdrop-Key"])
def test_a_result_that_was_copied_into_an_upload_bucket_is_called_one_and_not_cut_again(shop, name):
    upload = shop.put("copied.png", metadata={name: "k"})
    for act in (shop.handler.handle, shop.handler.give_up):
        for event in (upload, bare_notification(upload)):
            assert act(event).code == "is_a_result"
    assert len(set(map(str, shop.published))) == 1
    assert (shop.cutter.calls, shop.result("copied.png")) == (0, None)


def test_an_upload_gone_before_it_was_looked_at_is_gone(shop):
    bare = bare_notification(shop.put("shoes/12.jpg"))
    shop.client.bucket("uploads").blob("shoes/12.jpg").delete()
    assert shop.handler.handle(bare).code == "source_gone"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no image", "unsupported_media"),
        (b"", "unsupported_media"),
        (photo()[:-200], "corrupt_image"),
        (photo(200, 200), "image_too_large"),
        (photo() + bytes(50_000), "upload_too_large"),
    ],
)
def test_an_upload_that_can_never_succeed_fails_with_its_code(opened, data, code):
    shop = opened(max_pixels=100 * 100, max_upload_bytes=40_000)
    outcome = shop.handler.handle(shop.put("shoes/12.jpg", data))
    assert (outcome.status, outcome.code) == ("failed", code)
    [message] = shop.said
    assert (message.code, message.source.name, message.outputs) == (code, "shoes/12.jpg", ())
    assert message.reason
    assert shop.result("shoes/12.png") is None
    assert shop.cutter.calls == 0


def test_an_upload_that_the_event_calls_too_large_is_not_downloaded(opened):
    shop = opened(max_upload_bytes=100)
    assert shop.handler.handle(shop.put("shoes/12.jpg")).code == "upload_too_large"
    assert shop.requests("download") == []


def test_an_upload_that_is_larger_than_its_event_says_is_too_large_all_the_same(opened):
    shop = opened(max_upload_bytes=100)
    assert shop.handler.handle(replace(shop.put("shoes/12.jpg"), size=50)).code == "upload_too_large"


def test_an_image_without_subject_fails_and_its_message_knows_the_image(shop):
    dark = encoding.encode(
        Cutout(rgba=np.full((5, 9, 4), 20, np.uint8), subject=measure(np.full((5, 9), 255, np.uint8))), CutOptions()
    )
    outcome = shop.handler.handle(shop.put("dark.png", dark.data))
    assert outcome.code == "no_subject"
    [message] = shop.said
    assert (message.source.content_type, message.source.width, message.source.height) == ("image/png", 9, 5)
    assert message.model == Bright.model


def test_options_in_an_uploads_metadata_change_its_result_only(shop):
    chosen = {"cutdrop-Output-Format": "webp", "cutdrop-esrgan_stage": "after", "cutdrop-source": "x", "camera": "y"}
    shop.handler.handle(shop.put("a.jpg", metadata=chosen))
    shop.handler.handle(shop.put("b.jpg"))
    first, second = shop.said
    assert (first.outputs[0].name, second.outputs[0].name) == ("a.webp", "b.png")
    assert first.options == CutOptions.from_texts({"format": "webp", "esrgan_stage": "after"}).as_texts()
    assert (first.notes, second.notes) == ({"upscale": "skipped"}, {})


@pytest.mark.parametrize(
    "metadata",
    [{"cutdrop-sharpness": "5"}, {"cutdrop-format": "bmp"}, {"cutdrop-scale": "50%", "cutdrop-Scale": "60%"}],
)
def test_options_that_do_not_exist_fail_by_name_before_a_download(shop, metadata):
    upload = shop.put("shoes/12.jpg", metadata=metadata)
    assert shop.handler.handle(upload).code == "invalid_options"
    assert shop.handler.handle(upload).code == "invalid_options"
    first, second = shop.published
    assert first == second
    assert len(first[1]["ce-id"]) == 64
    assert shop.requests("download") == []


def test_a_store_that_is_away_is_tried_again_later(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.store.fail(503, times=1000)
    with pytest.raises(StorageUnavailable):
        shop.handler.handle(upload)
    shop.cloud.store.faults.clear()
    assert shop.said == []
    assert shop.handler.handle(upload).status == "completed"


@pytest.mark.parametrize("error", [OutOfGpuMemory("full"), Busy("full"), ZeroDivisionError()])
def test_what_is_not_the_uploads_fault_is_raised_and_announces_nothing(shop, error):
    def fail():
        raise error

    shop.cutter.meanwhile = fail
    upload = shop.put("shoes/12.jpg")
    with pytest.raises(type(error)):
        shop.handler.handle(upload)
    assert shop.said == []
    assert shop.handler.handle(upload).status == "completed"


@pytest.mark.parametrize("step", range(5))
def test_an_instance_that_stops_ends_before_the_next_step(shop, step):
    upload = shop.put("shoes/12.jpg")
    shop.answers = iter([False] * step + [True])
    with pytest.raises(ShuttingDown):
        shop.handler.handle(upload)
    assert (shop.said, shop.result("shoes/12.png")) == ([], None)
    assert shop.cutter.calls == (1 if step > 2 else 0)


def test_an_instance_that_stops_still_announces_what_is_done(shop):
    upload = shop.put("shoes/12.jpg")
    shop.handler.handle(upload)
    shop.answers = iter([True])
    assert shop.handler.handle(upload).status == "completed"


def raising(error: Exception):
    def fail() -> None:
        raise error

    return fail


class Slow(GcsObjectStore):
    """Takes a minute for each download."""

    shop: Shop

    def read(self, upload, *, max_bytes):
        self.shop.time += 60
        return super().read(upload, max_bytes=max_bytes)


def test_an_upload_that_reaches_the_network_after_its_budget_is_tried_again(opened):
    shop = opened(request_budget_s=59)
    slow = Slow(shop.client, "cutouts")
    slow.shop = shop
    with pytest.raises(Busy, match="59 s"):
        shop.open(store=slow).handle(shop.put("shoes/12.jpg"))
    assert (shop.cutter.calls, shop.said) == (0, [])


def test_a_cutout_that_exists_is_stored_although_the_budget_is_spent(opened):
    shop = opened(request_budget_s=59)

    def dawdle():
        shop.time += 1000

    shop.cutter.meanwhile = dawdle
    assert shop.handler.handle(shop.put("shoes/12.jpg")).status == "completed"


def test_the_message_tells_the_time_of_each_step_and_in_all(opened):
    shop = opened()
    slow = Slow(shop.client, "cutouts")
    slow.shop = shop
    upload = shop.put("shoes/12.jpg")
    outcome = shop.open(store=slow).handle(upload)
    created = shop.result("shoes/12.png").time_created.timestamp()
    [message] = shop.said
    times = message.timings_ms
    assert (times.download, times.segment, times.matte) == (60_000.0, 1.0, 2.0)
    assert times.total == pytest.approx((created - 1_000_000) * 1000, abs=1)
    assert times.upload == pytest.approx(times.total - 60_000, abs=1)
    assert outcome.timings_ms["total"] == 60_000.0
    assert set(outcome.timings_ms) == {
        "download",
        "decode",
        "segment",
        "matte",
        "upscale",
        "encode",
        "upload",
        "total",
    }


def test_a_clock_that_is_set_back_gives_no_negative_times(shop):
    def set_back():
        shop.time -= 10**6

    shop.cutter.meanwhile = set_back
    outcome = shop.handler.handle(shop.put("shoes/12.jpg"))
    assert min(outcome.timings_ms.values()) >= 0


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_uploaders_metadata_and_trace_come_back_the_same_each_time(shop):
    own = {"order": "7", "traceparent": TRACEPARENT}
    upload = shop.put("shoes/12.jpg", metadata=own | {"cutdrop-format": "png"})
    shop.handler.handle(upload)
    shop.open().handle(bare_notification(upload))
    first, second = shop.published
    assert first == second
    assert first[1]["traceparent"] == TRACEPARENT
    assert shop.said[0].source.metadata == own


@pytest.mark.parametrize(
    ("confidence", "threshold", "review"),
    [(0.4, 0.5, "true"), (0.5, 0.5, "false"), (0.9, 0.5, "false"), (0.0, 0.5, "false"), (0.1, 0.0, "false")],
)
def test_a_result_of_little_confidence_is_marked_for_review_and_stays_so(opened, confidence, threshold, review):
    shop = opened(review_below=threshold)
    shop.cutter.confidence = confidence
    upload = shop.put("shoes/12.jpg")
    shop.handler.handle(upload)
    opened(review_below=1.0 - threshold).handler.handle(upload)
    assert [attributes["review"] for _, attributes in shop.published] == [review, review]
    assert shop.said[0].subject.confidence == confidence


FOUR = "cutout; preview: size=32x32 format=webp; white: bg_color=ffffff format=jpg; mask: channels=alpha"
FOUR_NAMES = ["shoes/12.png", "shoes/12.preview.webp", "shoes/12.white.jpg", "shoes/12.mask.png"]


def test_several_outputs_come_from_one_pass_and_one_message_names_them_all(shop):
    upload = shop.put("shoes/12.jpg", metadata={"cutdrop-outputs": FOUR})
    shop.handler.handle(upload)
    shop.open().handle(upload)
    assert (shop.cutter.calls, len(shop.requests("download"))) == (1, 1)
    first, second = shop.published
    assert first == second
    outputs = shop.said[0].outputs
    assert [output.name for output in outputs] == FOUR_NAMES
    assert [output.role for output in outputs] == ["cutout", "preview", "white", "mask"]
    for output in outputs:
        stored = shop.result(output.name)
        assert (output.generation, output.crc32c) == (str(stored.generation), stored.crc32c)
        assert (output.bytes, output.content_type) == (stored.size, stored.content_type)
        assert stored.metadata["cutdrop-key"] == shop.said[0].key
    assert (outputs[1].width, outputs[1].height) == (32, 32)
    last_written = [call.name for call in shop.requests("insert") if call.name.startswith("shoes/12.")][-1]
    assert last_written == "shoes/12.png"


def test_a_set_that_was_left_half_written_is_completed_and_nothing_is_written_twice(shop):
    upload = shop.put("shoes/12.jpg", metadata={"cutdrop-outputs": FOUR})
    for name in [*FOUR_NAMES[1:], FOUR_NAMES[0]]:
        fault = shop.cloud.store.faults.add(Fault(status=503, operation="insert", object=name, times=10**6))
        with pytest.raises(StorageUnavailable):
            shop.open().handle(upload)
        fault.times = 0
        assert shop.said == []
    shop.open().handle(upload)
    shop.open().handle(upload)
    first, second = shop.published
    assert first == second
    written = [
        call.name for call in shop.requests("insert") if call.status == 200 and call.name.startswith("shoes/12.")
    ]
    assert sorted(written) == sorted([*FOUR_NAMES, "shoes/12.jpg"])
    assert [output.generation for output in shop.said[0].outputs] == [
        str(shop.result(name).generation) for name in FOUR_NAMES
    ]


def test_a_set_that_could_not_be_stored_is_not_made_again_by_the_same_instance(shop):
    upload = shop.put("shoes/12.jpg", metadata={"cutdrop-outputs": FOUR})
    fault = shop.cloud.store.faults.add(Fault(status=503, operation="insert", object=FOUR_NAMES[2], times=10**6))
    with pytest.raises(StorageUnavailable):
        shop.handler.handle(upload)
    fault.times = 0
    assert shop.handler.handle(upload).status == "completed"
    assert shop.cutter.calls == 1


@pytest.mark.parametrize("taken", FOUR_NAMES)
def test_each_outputs_name_may_be_taken_and_fails_before_any_work(shop, taken):
    upload = shop.put("shoes/12.jpg", metadata={"cutdrop-outputs": FOUR})
    shop.put(taken, b"mine", bucket="cutouts")
    assert shop.handler.handle(upload).code == "output_name_taken"
    assert shop.cutter.calls == 0
    assert shop.result(taken).download_as_bytes() == b"mine"


def test_outputs_of_the_settings_are_made_for_every_upload_unless_it_asks_for_others(opened):
    shop = opened(outputs="mask: channels=alpha")
    shop.handler.handle(shop.put("a.jpg"))
    shop.handler.handle(shop.put("b.jpg", metadata={"cutdrop-outputs": "cutout"}))
    assert [[output.role for output in message.outputs] for message in shop.said] == [["cutout", "mask"], ["cutout"]]


@pytest.mark.parametrize("outputs", ["big: size=1x", "mask: mask_threshold=0.5", "white: format=jpg"])
def test_an_output_that_cannot_be_made_fails_the_upload(shop, outputs):
    assert shop.handler.handle(shop.put("a.jpg", metadata={"cutdrop-outputs": outputs})).code == "invalid_options"
    assert shop.result("a.png") is None


def test_names_of_several_outputs_fit_although_the_uploads_is_as_long_as_can_be(shop):
    name = "a" * 1020 + ".jpg"
    shop.handler.handle(shop.put(name, metadata={"cutdrop-outputs": FOUR}))
    names = [output.name for output in shop.said[0].outputs]
    assert all(len(one) <= 1024 and shop.result(one) is not None for one in names)


def test_giving_up_announces_that_nothing_helped(shop):
    upload = shop.put("shoes/12.jpg")
    assert shop.handler.give_up(upload).code == "gave_up"
    shop.handler.give_up(upload)
    first, second = shop.published
    assert first == second
    assert json.loads(first[0])["reason"]
    assert shop.cutter.calls == 0


def test_giving_up_an_upload_whose_result_exists_announces_the_result(shop):
    upload = shop.put("shoes/12.jpg")
    shop.handler.handle(upload)
    shop.handler.give_up(upload)
    first, second = shop.published
    assert first == second
    assert shop.codes == ["completed", "completed"]


def test_giving_up_names_the_reason_where_it_can_be_found(opened):
    shop = opened(max_upload_bytes=10**5)
    overwritten, deleted = shop.put("a.jpg"), shop.put("b.jpg")
    shop.put("a.jpg", photo(seed=1))
    shop.client.bucket("uploads").blob("b.jpg").delete()
    taken = shop.put("c.jpg")
    shop.put("c.png", b"mine", bucket="cutouts")
    for upload in (
        overwritten,
        deleted,
        taken,
        shop.put("d.jpg", bytes(10**5 + 1)),
        shop.put("e.jpg", metadata={"cutdrop-x": "1"}),
    ):
        shop.handler.give_up(upload)
    assert shop.codes == ["superseded", "source_gone", "output_name_taken", "upload_too_large", "invalid_options"]


def test_giving_up_says_how_the_last_delivery_failed_on_whatever_instance(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.store.faults.add(
        Fault(status=403, operation="download", object="shoes/*", message="sa@x may not read this.", times=1000)
    )
    with pytest.raises(StorageUnavailable):
        shop.handler.handle(upload)
    for _ in range(2):
        assert shop.open().give_up(upload).code == "gave_up"
    first, second = shop.published
    assert first == second
    [message, _] = shop.said
    assert message.reason.endswith("the last delivery ended with storage_unavailable")
    assert message.notes["last_code"] == "storage_unavailable"
    assert "sa@x may not read this." in message.notes["last_reason"]


def test_giving_up_after_a_fault_of_ours_says_so(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cutter.meanwhile = raising(ZeroDivisionError("secret"))
    with pytest.raises(ZeroDivisionError):
        shop.handler.handle(upload)
    shop.handler.give_up(upload)
    assert shop.said[0].notes == {"last_code": "internal_error", "last_reason": "ZeroDivisionError"}


@pytest.mark.parametrize("error", [Busy("full"), ShuttingDown("stopping")])
def test_a_delivery_that_failed_through_no_fault_of_the_upload_leaves_no_note(shop, error):
    upload = shop.put("shoes/12.jpg")
    shop.cutter.meanwhile = raising(error)
    with pytest.raises(type(error)):
        shop.handler.handle(upload)
    shop.handler.give_up(upload)
    assert (shop.said[0].code, shop.said[0].notes) == ("gave_up", {})


def test_notes_of_this_service_in_a_bucket_of_uploads_are_no_uploads(opened):
    shop = opened(upload_buckets=("cutouts",), output_prefix="done/")
    for name in ("done/.attempts/ab.json", "done/.backfill/job/0-of-1.json"):
        outcome = shop.handler.handle(shop.put(name, b"{}", bucket="cutouts"))
        assert (outcome.status, outcome.reason) == ("ignored", "it is a note of this service")


def test_an_upload_that_the_store_never_gives_fails_at_its_first_delivery_with_the_stores_reason(shop):
    upload = shop.put("shoes/12.jpg")
    sentence = "The target object is encrypted by a customer-supplied encryption key."
    shop.cloud.store.faults.add(Fault(status=400, operation="download", message=sentence, times=1000))
    assert shop.handler.handle(upload).code == "source_unreadable"
    assert sentence in shop.said[0].reason
    assert shop.cutter.calls == 0


def test_a_result_that_the_store_never_takes_fails_at_its_first_delivery_with_the_stores_reason(shop):
    upload = shop.put("shoes/12.jpg")
    sentence = "Object 'cutouts/shoes/12.png' is under active Event-Based hold and cannot be overwritten."
    shop.cloud.store.faults.add(Fault(status=403, operation="insert", message=sentence, times=1000))
    assert shop.handler.handle(upload).code == "output_refused"
    assert sentence in shop.said[0].reason


def test_a_result_that_could_not_be_stored_is_not_made_again(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.store.fail(503, operation="insert", name="shoes/12.png", times=1000)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            shop.handler.handle(upload)
    shop.cloud.store.faults.clear()
    assert shop.handler.handle(upload).status == "completed"
    assert (shop.cutter.calls, len(shop.requests("download"))) == (1, 1)
    assert shop.said[0].timings_ms.segment == 1.0
    assert shop.open().handle(upload).repeated


def test_a_result_that_could_not_be_stored_is_made_again_for_other_options(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.store.fail(503, operation="insert", name="shoes/12.png", times=1000)
    with pytest.raises(StorageUnavailable):
        shop.handler.handle(upload)
    shop.cloud.store.faults.clear()
    other = shop.put("shoes/12.jpg", metadata={"cutdrop-mask-threshold": "0.5"})
    assert shop.handler.handle(other).status == "completed"
    assert shop.cutter.calls == 2


def test_giving_up_is_tried_again_while_the_store_is_away(shop):
    upload = shop.put("shoes/12.jpg")
    shop.cloud.store.fail(503, times=1000)
    with pytest.raises(StorageUnavailable):
        shop.handler.give_up(upload)
    assert shop.said == []


@pytest.mark.parametrize("letter", ["a", "漢"])
def test_an_upload_with_the_longest_name_gets_its_cutout_and_its_message(shop, letter):
    name = letter * (1024 // len(letter.encode()))
    assert shop.handler.handle(shop.put(name)).status == "completed"
    [message] = shop.said
    assert message.source.name == name
    assert shop.result(message.outputs[0].name) is not None
