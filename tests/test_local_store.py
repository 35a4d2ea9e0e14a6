"""The local object store, spoken to by the official client."""

import contextlib
import gzip
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from function.local.storage.faults import Effect, Fault
from function.local.storage.objects import Finalized
from function.local.storage.store import LocalStore

PATIENT = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(20)
CHUNK = 256 * 1024


@pytest.fixture
def store(tmp_path):
    with LocalStore() as store:
        store.create_bucket("uploads")
        yield store


@pytest.fixture
def client(store, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")  # requests of its own accord
    with storage.Client() as client:
        yield client


@pytest.fixture
def bucket(client):
    return client.bucket("uploads")


def put(bucket, name, data=b"bytes", **how):
    blob = bucket.blob(name)
    blob.upload_from_string(data, retry=PATIENT, **how)
    return blob


def put_in_chunks(bucket, name, data, **how):
    blob = bucket.blob(name, chunk_size=CHUNK)
    blob.upload_from_file(io.BytesIO(data), retry=PATIENT, **how)  # no size: a resumable upload
    return blob


def test_an_upload_comes_back_with_its_type_metadata_and_checksums(bucket):
    blob = bucket.blob("shoes/12.jpg")
    blob.metadata = {"cutdrop-format": "webp", "größe": "ß"}
    blob.cache_control = "no-store"
    blob.upload_from_string(b"hello", content_type="image/jpeg")
    seen = bucket.get_blob("shoes/12.jpg")
    assert seen.download_as_bytes() == b"hello"
    assert (seen.content_type, seen.size, seen.cache_control) == ("image/jpeg", 5, "no-store")
    assert seen.metadata == {"cutdrop-format": "webp", "größe": "ß"}
    assert (seen.crc32c, seen.md5_hash) == ("mnG7TA==", "XUFAKrxLKna5cZ2REBfFkg==")
    assert (seen.generation, seen.metageneration) == (blob.generation, 1)
    assert seen.time_created == seen.updated
    assert seen.time_created.tzinfo is not None


@pytest.mark.parametrize("name", ["a b.jpg", "ä/ü/ß.png", "50%?#&+.jpg", "a//b", "日本語.webp", "a/b/", "'\"<>.jpg"])
def test_any_name_that_the_real_service_takes_comes_back_unchanged(client, bucket, name):
    put(bucket, name)
    assert [blob.name for blob in client.list_blobs(bucket)] == [name]
    assert bucket.get_blob(name).download_as_bytes() == b"bytes"
    put_in_chunks(bucket, name, b"other")
    assert bucket.blob(name).download_as_bytes() == b"other"
    bucket.delete_blob(name)
    assert bucket.get_blob(name) is None


@pytest.mark.parametrize("name", ["..", "line\nbreak", "n" * 1025])
def test_a_name_that_the_real_service_refuses_is_refused(bucket, name):
    with pytest.raises(exceptions.BadRequest, match="Invalid object name"):
        put(bucket, name)


def test_every_overwrite_grows_the_generation_and_every_patch_the_metageneration(bucket):
    first = put(bucket, "a")
    second = put(bucket, "a")
    assert second.generation > first.generation > 1_500_000_000_000_000
    second.metadata = {"seen": "yes"}
    second.patch()
    second.metadata = {"seen": None, "twice": "yes"}
    second.patch()
    seen = bucket.get_blob("a")
    assert (seen.generation, seen.metageneration) == (second.generation, 3)
    assert seen.metadata == {"twice": "yes"}
    assert seen.updated >= seen.time_created


def test_generations_never_repeat_however_many_write_at_once(store, bucket):
    with ThreadPoolExecutor(16) as pool:
        blobs = list(pool.map(lambda index: put(bucket, f"{index % 5}"), range(200)))
    assert len({blob.generation for blob in blobs}) == 200


def test_a_replaced_or_deleted_generation_is_gone(bucket):
    old = put(bucket, "a", b"old")
    new = put(bucket, "a", b"new")
    with pytest.raises(exceptions.NotFound, match="No such object: uploads/a"):
        bucket.blob("a", generation=old.generation).download_as_bytes()
    assert bucket.get_blob("a", generation=old.generation) is None
    assert bucket.blob("a", generation=new.generation).download_as_bytes() == b"new"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=old.generation).delete()
    new.delete()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=new.generation).download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        new.delete()


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 0, b"0"), (3, 5, b"345"), (7, None, b"789"), (8, 99, b"89"), (-3, None, b"789"), (None, None, b"0123456789")],
)
def test_a_range_gives_these_bytes_and_no_others(bucket, start, end, expected):
    put(bucket, "digits", b"0123456789")
    assert bucket.blob("digits").download_as_bytes(start=start, end=end) == expected


def test_a_range_says_where_it_lies_in_the_whole(bucket):
    blob = put(bucket, "digits", b"0123456789")
    answer = requests.get(blob.media_link, headers={"Range": "bytes=3-5"}, timeout=5)
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, "bytes 3-5/10")
    assert answer.headers["X-Goog-Hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"  # of the whole


def test_a_range_behind_the_end_is_refused(bucket):
    put(bucket, "digits", b"0123456789")
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        bucket.blob("digits").download_as_bytes(start=10)


def test_a_download_in_chunks_gives_all_bytes(bucket):
    data = os.urandom(3 * CHUNK + 17)
    put(bucket, "random", data)
    assert bucket.blob("random", chunk_size=CHUNK).download_as_bytes() == data
    with bucket.blob("random").open("rb") as stream:
        assert stream.read() == data


NAMES = st.text(alphabet="ab/-é", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAMES, max_size=12), prefix=st.sampled_from(["", "a", "a/", "b-"]), size=st.integers(1, 5))
@pytest.mark.parametrize("delimiter", [None, "/"])
def test_a_listing_is_the_same_on_pages_of_any_size(store, client, delimiter, names, prefix, size):
    bucket = store.table.bucket("uploads")
    bucket.objects.clear()
    for name in names:
        put(client.bucket("uploads"), name)
    store.calls.clear()
    listing = client.list_blobs("uploads", prefix=prefix, delimiter=delimiter, page_size=size)
    found = [blob.name for blob in listing]
    matching = sorted((name for name in names if name.startswith(prefix)), key=str.encode)
    folders = {
        name[: name.index("/", len(prefix)) + 1] for name in matching if delimiter and "/" in name[len(prefix) :]
    }
    assert found == [name for name in matching if not (delimiter and "/" in name[len(prefix) :])]
    assert set(listing.prefixes) == folders
    assert len(store.calls) == max(1, -(-(len(found) + len(folders)) // size))


def test_a_listing_can_start_and_end_within_the_names(client, bucket):
    for name in "abcde":
        put(bucket, name)
    assert [blob.name for blob in client.list_blobs(bucket, start_offset="b", end_offset="d")] == ["b", "c"]
    assert [blob.name for blob in client.list_blobs(bucket, max_results=3)] == ["a", "b", "c"]


def upload(bucket, **how):
    put(bucket, "a", **how)


def upload_in_chunks(bucket, **how):
    put_in_chunks(bucket, "a", b"x" * (CHUNK + 1), **how)


def reload(bucket, **how):
    bucket.blob("a").reload(retry=PATIENT, **how)


def download(bucket, **how):
    assert bucket.blob("a").download_as_bytes(retry=PATIENT, **how) == b"bytes"


def delete(bucket, **how):
    bucket.blob("a").delete(retry=PATIENT, **how)


def rewrite(bucket, **how):
    put(bucket, "source")
    bucket.blob("a").rewrite(bucket.blob("source"), retry=PATIENT, **how)


def patch(bucket, **how):
    blob = bucket.blob("a")
    blob.metadata = {"x": "y"}
    blob.patch(retry=PATIENT, **how)


READS = (reload, download)
CONDITIONAL = (upload, upload_in_chunks, delete, rewrite, patch, *READS)


@pytest.mark.parametrize("request_", CONDITIONAL)
def test_a_request_that_names_another_generation_changes_nothing(bucket, request_):
    live = put(bucket, "a", b"mine")
    for conditions in (
        {"if_generation_match": 0},
        {"if_generation_match": live.generation + 1},
        {"if_metageneration_match": 2},
    ):
        with pytest.raises(exceptions.PreconditionFailed, match="pre-conditions"):
            request_(bucket, **conditions)
    refusal = exceptions.NotModified if request_ in READS else exceptions.PreconditionFailed
    with pytest.raises(refusal):
        request_(bucket, if_generation_not_match=live.generation)
    seen = bucket.get_blob("a")
    assert (seen.generation, seen.metageneration, seen.download_as_bytes()) == (live.generation, 1, b"mine")


@pytest.mark.parametrize("request_", CONDITIONAL)
def test_a_request_that_names_the_live_generation_is_done(bucket, request_):
    live = put(bucket, "a")
    request_(bucket, if_generation_match=live.generation, if_metageneration_match=1, if_generation_not_match=0)


@pytest.mark.parametrize("request_", [upload, upload_in_chunks, rewrite])
def test_generation_zero_means_that_nothing_may_be_there(bucket, request_):
    request_(bucket, if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        request_(bucket, if_generation_match=0)
    bucket.delete_blob("a")
    with pytest.raises(exceptions.PreconditionFailed):
        request_(bucket, if_metageneration_match=1)
    request_(bucket, if_generation_match=0)


def test_a_resumable_upload_loses_against_a_write_that_came_between_its_chunks(store, bucket):
    gate = store.hold("chunk")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(put_in_chunks, bucket, "a", b"slow", if_generation_match=0)
        gate.wait_for_arrival()
        put(bucket, "a", b"fast")
        gate.open()
        with pytest.raises(exceptions.PreconditionFailed):
            slow.result()
    assert bucket.blob("a").download_as_bytes() == b"fast"


@pytest.mark.parametrize("write", [put, put_in_chunks])
def test_of_sixteen_writers_at_once_exactly_one_wins(bucket, write):
    for round_ in range(5):
        start = threading.Barrier(16)

        def race(index, round_=round_, start=start):
            start.wait()
            try:
                write(bucket, f"a{round_}", f"writer {index}".encode(), if_generation_match=0)
            except exceptions.PreconditionFailed:
                return None
            return index

        with ThreadPoolExecutor(16) as pool:
            winners = [index for index in pool.map(race, range(16)) if index is not None]
        assert len(winners) == 1
        assert bucket.blob(f"a{round_}").download_as_bytes() == f"writer {winners[0]}".encode()


def test_a_large_object_goes_up_and_comes_down_in_one_piece_and_in_a_stream(bucket):
    data = os.urandom(9 << 20)  # above 8 MiB the client uploads resumably
    blob = put(bucket, "large", data, content_type="image/tiff")
    assert (blob.size, blob.content_type) == (len(data), "image/tiff")
    with bucket.blob("stream").open("wb", chunk_size=4 * CHUNK, content_type="image/png") as stream:
        for at in range(0, len(data), 100_000):
            stream.write(data[at : at + 100_000])
    assert bucket.get_blob("stream").content_type == "image/png"
    assert bucket.blob("large").download_as_bytes() == bucket.blob("stream").download_as_bytes() == data


def open_files():
    """What this process has open: (Path, ...), named "... (deleted)" if it has no name any more."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            yield link.readlink()


def test_large_objects_live_in_unnamed_files_of_the_spill_folder(tmp_path, monkeypatch):
    with LocalStore(spill_folder=tmp_path) as store:
        store.create_bucket("uploads")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        bucket = storage.Client().bucket("uploads")
        data = os.urandom(10 << 20)
        put(bucket, "one", data)
        put_in_chunks(bucket, "chunks", data)
        assert sum(str(link).startswith(str(tmp_path)) for link in open_files()) >= 2
        assert not list(tmp_path.iterdir())
        assert bucket.blob("one").download_as_bytes() == bucket.blob("chunks").download_as_bytes() == data
        assert bucket.blob("one").download_as_bytes(start=5 << 20, end=(5 << 20) + 9) == data[5 << 20 :][:10]


def test_bytes_that_differ_from_the_announced_checksum_are_refused(bucket):
    for checksum in ("crc32c", "md5_hash"):
        blob = bucket.blob("a")
        setattr(blob, checksum, "AAAAAA==")
        with pytest.raises(exceptions.BadRequest, match="doesn't match calculated"):
            blob.upload_from_string(b"bytes", checksum=None)
    assert bucket.get_blob("a") is None


def test_custom_metadata_has_at_most_8_kib(bucket):
    blob = put(bucket, "a")
    blob.metadata = {"report": "x" * (8192 - len("report"))}
    blob.patch()
    blob.metadata = {"report": "x" * (8193 - len("report"))}
    with pytest.raises(exceptions.BadRequest, match="8192"):
        blob.patch()
    with pytest.raises(exceptions.BadRequest, match="8192"):
        blob.upload_from_string(b"bytes")


def test_what_is_stored_as_gzip_comes_packed_or_unpacked_as_the_reader_asks(bucket):
    packed = gzip.compress(b"plain" * 1000)
    blob = bucket.blob("a")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    assert bucket.blob("a").download_as_bytes(raw_download=True) == packed
    assert bucket.blob("a").download_as_bytes() == b"plain" * 1000
    answer = requests.get(blob.media_link, headers={"Accept-Encoding": "identity", "Range": "bytes=0-1"}, timeout=5)
    assert answer.content == b"plain" * 1000  # unpacked on the way: the range is ignored, as the real service does
    assert answer.headers["X-Goog-Stored-Content-Encoding"] == "gzip"


def test_a_rewrite_keeps_type_and_metadata_and_makes_a_generation_of_its_own(client, bucket):
    source = bucket.blob("a")
    source.metadata = {"k": "v"}
    source.upload_from_string(b"bytes", content_type="image/png")
    target = bucket.blob("b")
    assert target.rewrite(source) == (None, 5, 5)
    copied = bucket.copy_blob(source, bucket, "c")
    for blob in (bucket.get_blob("b"), bucket.get_blob("c")):
        assert (blob.content_type, blob.metadata, blob.download_as_bytes()) == ("image/png", {"k": "v"}, b"bytes")
    assert copied.generation > target.generation > source.generation
    put(bucket, "a", b"newer")
    with pytest.raises(exceptions.NotFound):
        bucket.blob("b").rewrite(source)  # names the generation that is gone
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("b").rewrite(bucket.blob("a"), if_source_generation_match=source.generation)


def test_buckets_are_made_listed_and_deleted_when_empty(client):
    made = client.create_bucket("results")
    assert [bucket.name for bucket in client.list_buckets()] == ["results", "uploads"]
    assert client.get_bucket("results").name == "results"
    with pytest.raises(exceptions.Conflict):
        client.create_bucket("results")
    with pytest.raises(exceptions.BadRequest, match="Invalid bucket name"):
        client.create_bucket("NotABucket")
    put(made, "a")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        made.delete()
    made.delete(force=True)
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.get_bucket("results")


@pytest.mark.parametrize("request_", [reload, download, delete, patch])
def test_what_is_not_there_is_404_in_the_real_services_words(bucket, request_):
    with pytest.raises(exceptions.NotFound, match="No such object: uploads/a"):
        request_(bucket)


def test_what_is_not_implemented_is_refused_instead_of_ignored(client, bucket):
    put(bucket, "a")
    for asked in ({"soft_deleted": True}, {"match_glob": "**.jpg"}):
        with pytest.raises(exceptions.MethodNotImplemented):
            list(client.list_blobs(bucket, **asked))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize(
    ("request_", "operation"),
    [
        (upload, "insert"),
        (upload_in_chunks, "start"),
        (upload_in_chunks, "chunk"),
        (reload, "get"),
        (download, "download"),
        (delete, "delete"),
        (rewrite, "rewrite"),
        (patch, "patch"),
    ],
)
def test_a_failure_that_passes_is_survived_by_the_client(store, bucket, request_, operation, status):
    put(bucket, "a")
    store.calls.clear()
    store.fail(status, operation=operation, times=2)
    request_(bucket)
    answers = [call.status for call in store.calls if call.operation == operation]
    assert answers[:2] == [status, status]
    assert answers[-1] in (200, 204)


def test_a_failure_that_stays_reaches_the_caller_with_its_status(store, bucket):
    store.fail(503, operation="get", times=1)
    with pytest.raises(exceptions.ServiceUnavailable, match="injected failure"):
        bucket.blob("a").reload(retry=None)
    store.fail(403, operation="insert", name="b*")
    put(bucket, "a")
    with pytest.raises(exceptions.Forbidden):
        put(bucket, "b.jpg")


def test_a_download_that_breaks_off_goes_on_where_it_stopped(store, bucket):
    data = os.urandom(200_000)
    blob = put(bucket, "a", data)
    for after in (0, 100_000, 50_000):
        store.faults.add(Fault(effect=Effect.BREAK, operation="download", after=after))
    assert bucket.blob("a").download_as_bytes(retry=PATIENT) == data
    assert [call.status for call in store.calls if call.operation == "download"] == [200, 200, 206, 206]
    assert blob.generation


def test_a_download_with_a_wrong_bit_is_noticed(store, bucket):
    put(bucket, "a", b"bytes")
    store.faults.add(Fault(effect=Effect.CORRUPT, operation="download"))
    with pytest.raises(DataCorruption):
        bucket.blob("a").download_as_bytes()
    assert bucket.blob("a").download_as_bytes() == b"bytes"


@pytest.mark.parametrize(("write", "operation"), [(put, "insert"), (put_in_chunks, "chunk")])
def test_an_upload_with_a_wrong_bit_is_refused(store, bucket, write, operation):
    store.faults.add(Fault(effect=Effect.CORRUPT, operation=operation))
    with pytest.raises(exceptions.BadRequest, match="doesn't match calculated CRC32C"):
        write(bucket, "a", b"bytes")
    assert bucket.get_blob("a") is None


@pytest.mark.parametrize(
    ("request_", "operation"), [(upload, "insert"), (reload, "get"), (download, "download"), (delete, "delete")]
)
def test_a_reset_connection_is_survived_and_nothing_was_done_before_it(store, bucket, request_, operation):
    put(bucket, "a")
    store.calls.clear()
    store.faults.add(Fault(effect=Effect.RESET, operation=operation, times=2))
    request_(bucket, **({} if operation == "download" else {"if_metageneration_match": 1}))
    assert [call.status for call in store.calls][:2] == [0, 0]
    assert len(store.calls) == 3


def test_a_stored_upload_whose_answer_is_lost_looks_like_someone_elses_to_its_own_retry(store, bucket):
    store.faults.add(Fault(effect=Effect.LOSE_RESPONSE, operation="insert"))
    with pytest.raises(exceptions.PreconditionFailed):
        put(bucket, "a", b"mine", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"mine"


def test_a_resumable_upload_survives_whatever_happens_to_its_chunks(store, bucket):
    data = os.urandom(4 * CHUNK + 99)
    store.faults.add(Fault(effect=Effect.RESET, operation="chunk", after=100_000))  # nothing kept
    store.fail(503, operation="chunk")
    store.faults.add(Fault(effect=Effect.LOSE_RESPONSE, operation="chunk"))  # kept, and sent again
    store.faults.add(Fault(effect=Effect.RESET, operation="start"))
    blob = put_in_chunks(bucket, "a", data)
    assert bucket.blob("a").download_as_bytes() == data
    assert blob.generation == bucket.get_blob("a").generation
    # One chunk of the whole object, cut after 700 kB: a multiple of 256 KiB is kept, the overlap is skipped.
    store.faults.add(Fault(effect=Effect.RESET, operation="chunk", after=700_000))
    whole = bucket.blob("b", chunk_size=8 * CHUNK)
    whole.upload_from_file(io.BytesIO(data), retry=PATIENT)
    assert bucket.blob("b").download_as_bytes() == data


def test_the_last_chunk_sent_again_gives_the_same_object(store, bucket):
    store.faults.add(Fault(effect=Effect.LOSE_RESPONSE, operation="chunk"))
    events: list[Finalized] = []
    store.subscribe(events.append)
    blob = put_in_chunks(bucket, "a", b"bytes", if_generation_match=0)
    assert [event.object.generation for event in events] == [blob.generation]


def test_a_cancelled_upload_leaves_nothing(store, client, bucket):
    url = bucket.blob("a").create_resumable_upload_session(size=5)
    assert client._http.delete(url).status_code == 499
    assert client._http.put(url, data=b"bytes").status_code == 404
    assert bucket.get_blob("a") is None


def test_faults_can_be_ordered_and_taken_back_over_http(store, bucket):
    put(bucket, "a")
    url = f"{store.url}/_local/faults"
    order: dict[str, Any] = {"effect": "status", "operation": "get", "object": "a", "status": 429, "times": 2}
    assert requests.post(url, json=order, timeout=5).json()["faults"][0]["status"] == 429
    with pytest.raises(exceptions.TooManyRequests):
        bucket.blob("a").reload(retry=None)
    assert requests.get(url, timeout=5).json()["faults"][0]["times"] == 1
    assert requests.delete(url, timeout=5).json() == {"faults": []}
    bucket.blob("a").reload(retry=None)
    assert requests.post(url, json={"effect": "explode"}, timeout=5).status_code == 400
    assert "unknown sttaus" in requests.post(url, json={"sttaus": 500}, timeout=5).json()["error"]


def test_every_new_generation_is_told_and_nothing_else(store, bucket):
    events = []
    store.subscribe(lambda event: events.append((event.object.name, event.object.generation, event.overwrote)))
    first = put(bucket, "a")
    second = put(bucket, "a")
    third = put_in_chunks(bucket, "b", b"bytes")
    fourth = bucket.blob("c")
    fourth.rewrite(second)
    fifth = bucket.copy_blob(second, bucket, "d")
    expected = [
        ("a", first.generation, 0),
        ("a", second.generation, first.generation),
        ("b", third.generation, 0),
        ("c", fourth.generation, 0),
        ("d", fifth.generation, 0),
    ]
    patch(bucket)
    second.delete()
    store.fail(503, operation="insert")
    with pytest.raises(exceptions.ServiceUnavailable):
        bucket.blob("e").upload_from_string(b"bytes", retry=None)
    with pytest.raises(exceptions.PreconditionFailed):
        put(bucket, "b", if_generation_match=0)
    assert events == expected


def test_a_held_request_waits_until_it_is_let_go(store, bucket):
    put(bucket, "a", b"old")
    gate = store.hold("download", "a")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(bucket.blob("a").download_as_bytes)
        gate.wait_for_arrival()
        assert not reading.done()
        put(bucket, "a", b"new")
        gate.open()
        assert reading.result(timeout=10) == b"new"


def test_a_stopped_store_leaves_no_thread_and_no_connection(monkeypatch):
    before = set(threading.enumerate())
    with LocalStore() as store:
        store.create_bucket("uploads")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        bucket = storage.Client().bucket("uploads")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda index: put(bucket, f"{index}"), range(16)))
    assert set(threading.enumerate()) <= before
    with pytest.raises(requests.ConnectionError):
        bucket.blob("1").reload(retry=None)
