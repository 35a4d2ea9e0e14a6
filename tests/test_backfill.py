"""Old objects get their outcome once, whatever happens to the tasks."""

import csv
import io
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from hypothesis import given
from hypothesis import strategies as st

from function.backfill.archive import GcsArchive
from function.backfill.task import MOST_DEFERRED, TRIES, UNFINISHED, Task
from function.backfill.worklist import BucketListing, Item, Manifest, Prices, Shard, WorkList, estimate
from function.handler import HandledUpload, Handler
from function.local import LocalCloud
from function.local.storage.faults import Fault
from shared.errors import OutOfGpuMemory, SettingsError, StorageUnavailable
from shared.records import Upload
from tests import backfilling
from tests.conftest import photo

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def archive(cloud: LocalCloud) -> GcsArchive:
    client = storage.Client(
        project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.store.url}
    )
    return GcsArchive(client, cloud.output_bucket)


def upload(name: str) -> Upload:
    return Upload(bucket="old", name=name, generation=1, size=10)


class Listed:
    """A work list of plain names."""

    def __init__(self, *listed: str) -> None:
        self.listed = listed

    def items(self, after: str) -> Iterator[Item]:
        return (Item(name, upload(name)) for name in sorted(self.listed) if name > after)

    def buckets(self) -> set[str]:
        return {"old"}

    def identity(self) -> str:
        return "listed"

    def unknown(self) -> str:
        return "nothing"


class Remembered:
    """A memory that outlives its task."""

    def __init__(self) -> None:
        self.state: dict[str, object] = {}

    def recall(self) -> dict[str, object]:
        return self.state

    def remember(self, state: Mapping[str, object]) -> None:
        self.state = dict(state)


class Scripted:
    """A handler that does what each object's script says, one entry per delivery; 'completed' when it is used up.

    down: whether giving up fails too, as it does while the store is away.
    """

    def __init__(self, scripts: Mapping[str, list[Exception]] | None = None, *, down: bool = False) -> None:
        self.scripts = scripts or {}
        self.down = down
        self.handled: list[str] = []
        self.given_up: list[str] = []
        self.lock = threading.Lock()

    def handle(self, upload: Upload) -> HandledUpload:
        with self.lock:
            self.handled.append(upload.name)
            script = self.scripts.get(upload.name, [])
            if script:
                raise script.pop(0)
        return HandledUpload(status="completed")

    def give_up(self, upload: Upload) -> HandledUpload:
        if self.down:
            raise StorageUnavailable("down")
        self.given_up.append(upload.name)
        return HandledUpload(status="failed", code="gave_up")


def task(handler: Scripted, work: Listed, memory: Remembered, **given: float) -> Task:
    return Task(
        cast("Handler", handler),
        work,
        Shard(),
        memory,
        threads=int(given.get("threads", 2)),
        seconds=given.get("seconds", 60),
        first_wait_s=0.001,
    )


@given(listed=st.sets(names, max_size=30), count=st.integers(1, 7))
def test_every_object_belongs_to_exactly_one_shard(listed: set[str], count: int) -> None:
    for name in listed:
        assert sum(Shard(index, count).holds(upload(name)) for index in range(count)) == 1


def test_the_shard_of_a_name_is_the_same_in_every_version() -> None:
    assert [index for index in range(8) if Shard(index, 8).holds(upload("shoes/12.jpg"))] == [5]


@given(listed=st.lists(st.tuples(names, st.integers(1, 2**62)), max_size=20), heading=st.booleans())
def test_a_manifest_gives_back_the_objects_it_was_written_from(listed: list[tuple[str, int]], heading: bool) -> None:
    listed = [(name, generation) for name, generation in listed if "\0" not in name]
    text = io.StringIO()
    writer = csv.writer(text)
    if heading:
        writer.writerow(["bucket", "name", "generation"])
    writer.writerows(("old", name, generation) for name, generation in listed)
    items = list(Manifest(text=text.getvalue()).items(""))
    assert [(item.upload.name, item.upload.generation) for item in items] == listed
    if items:
        rest = list(Manifest(text=text.getvalue()).items(items[0].cursor))
        assert rest == items[1:]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
@pytest.mark.parametrize("heading", ["", "bucket,name,generation"])
def test_a_manifest_may_have_a_byte_order_mark_and_any_line_end(end: str, mark: str, heading: str) -> None:
    names = ["a\u2028b.jpg", "c\x0bd\x1c\x85.jpg", "e f.jpg"]
    lines = [*([heading] if heading else []), *(f"old,{name},{number}" for number, name in enumerate(names, 1))]
    items = list(Manifest(text=mark + end.join(lines) + end).items(""))
    assert [(item.upload.bucket, item.upload.name, item.upload.generation) for item in items] == [
        ("old", name, number) for number, name in enumerate(names, 1)
    ]


def test_another_list_or_prefix_has_another_identity(archive: GcsArchive) -> None:
    lists: list[WorkList] = [
        BucketListing(archive, "a", ""),
        BucketListing(archive, "a", "x"),
        BucketListing(archive, "ax", ""),
    ]
    texts = [Manifest(text="old,a,1"), Manifest(text="old,a,2")]
    assert len({work.identity() for work in [*lists, *texts]}) == 5
    assert Manifest(text="old,a,1").identity() == texts[0].identity()


@pytest.mark.parametrize("line", ["old,a.jpg", "old,a.jpg,seven", "old,a.jpg,१२", "old"])
def test_a_broken_manifest_names_the_line(line: str) -> None:
    with pytest.raises(SettingsError, match="line 2"):
        list(Manifest(text=f"old,b.jpg,1\n{line}\n").items(""))


def test_a_finished_shard_is_not_begun_again() -> None:
    memory, handler = Remembered(), Scripted()
    assert task(handler, Listed("a", "b", "c"), memory).run() == 0
    assert task(handler, Listed("a", "b", "c"), memory).run() == 0
    assert sorted(handler.handled) == ["a", "b", "c"]
    assert memory.state["counts"] == {"completed": 3}


def test_a_task_out_of_time_says_so_and_the_next_one_goes_on_where_it_stopped() -> None:
    memory, handler = Remembered(), Scripted()
    assert task(handler, Listed("a", "b"), memory, seconds=0).run() == UNFINISHED
    assert handler.handled == []
    memory.state = {"cursor": "b"}
    assert task(handler, Listed("a", "b", "c", "d"), memory).run() == 0
    assert sorted(handler.handled) == ["c", "d"]


def test_a_passing_outage_is_waited_out_within_the_task() -> None:
    handler = Scripted({"a": [StorageUnavailable("down")]})
    assert task(handler, Listed("a", "b"), Remembered()).run() == 0
    assert sorted(handler.handled) == ["a", "a", "b"]


def test_nothing_is_remembered_as_done_beyond_an_object_without_an_outcome() -> None:
    memory, handler = Remembered(), Scripted({"b": [StorageUnavailable("down")] * (2 * TRIES + 1)}, down=True)
    assert task(handler, Listed("a", "b", "c"), memory, threads=1).run() == UNFINISHED
    assert memory.state["cursor"] == "a"
    assert memory.state["counts"] == {"completed": 2}
    assert task(handler, Listed("a", "b", "c"), memory, threads=1).run() == 0
    assert handler.handled.count("b") == 2 * TRIES + 2
    assert handler.given_up == []


@pytest.mark.parametrize("error", [StorageUnavailable("no"), OutOfGpuMemory("too large")])
def test_an_object_that_fails_every_time_is_given_up_at_the_end_and_the_shard_finishes(error: Exception) -> None:
    memory, handler = Remembered(), Scripted({"b": [error] * 99})
    assert task(handler, Listed("a", "b", "c"), memory).run() == 0
    assert handler.given_up == ["b"]
    assert handler.handled.count("b") == 2 * TRIES
    assert memory.state["counts"] == {"completed": 2, "gave_up": 1}
    assert task(handler, Listed("a", "b", "c"), memory).run() == 0
    assert handler.handled.count("b") == 2 * TRIES


def test_a_run_in_which_everything_fails_ends_early_and_gives_nothing_up() -> None:
    listed = [f"{number:03d}" for number in range(3 * MOST_DEFERRED)]
    handler = Scripted({name: [StorageUnavailable("down")] * 99 for name in listed})
    assert task(handler, Listed(*listed), Remembered()).run() == UNFINISHED
    assert len(set(handler.handled)) < 2 * MOST_DEFERRED
    assert handler.given_up == []


def test_an_object_that_breaks_the_code_every_time_is_given_up_and_the_shard_ends() -> None:
    memory, handler = Remembered(), Scripted({"b": [ZeroDivisionError("a fault of ours")] * 9})
    assert task(handler, Listed("a", "b", "c"), memory).run() == 0
    assert handler.given_up == ["b"]
    assert memory.state["counts"] == {"completed": 2, "gave_up": 1}


def test_a_bucket_is_listed_in_order_after_a_name_with_what_each_object_says(
    cloud: LocalCloud, archive: GcsArchive
) -> None:
    old = backfilling.Archive(cloud)
    generations = {name: old.put(name, b"x" * 3) for name in ("list/ä.jpg", "list/a.jpg", "list/b.jpg", "other.jpg")}
    listed = [item.upload for item in BucketListing(archive, cloud.upload_bucket, "list/").items("")]
    assert [(one.name, one.generation, one.size) for one in listed] == [
        (name, generations[name], 3) for name in ("list/a.jpg", "list/b.jpg", "list/ä.jpg")
    ]
    rest = list(BucketListing(archive, cloud.upload_bucket, "list/").items("list/a.jpg"))
    assert [item.cursor for item in rest] == ["list/b.jpg", "list/ä.jpg"]
    assert listed[0].event_time.endswith("Z")


def test_an_estimate_is_arithmetic() -> None:
    told = estimate(Listed("a", "b"), Prices(seconds_per_image=1800, tasks=2, task_hour=1.5))
    assert told.startswith("2 objects")
    assert "1.00 task hours, 0.50 h with 2 tasks, 1.50 at 1.5" in told


def test_a_dry_run_counts_and_touches_nothing(cloud: LocalCloud) -> None:
    old = backfilling.Archive(cloud)
    old.put("dry/1.jpg", photo())
    status, printed = backfilling.finish(
        backfilling.start(cloud, "--bucket", cloud.upload_bucket, "--prefix", "dry/", "--dry-run")
    )
    assert status == 0
    assert printed.startswith("1 objects")
    assert not old.written


def test_a_dry_run_over_a_manifest_says_what_it_does_not_know(cloud: LocalCloud, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"{cloud.upload_bucket},a.jpg,1\n{cloud.upload_bucket},b.jpg,1\n")
    status, printed = backfilling.finish(backfilling.start(cloud, "--manifest", str(manifest), "--dry-run"))
    assert (status, printed.startswith("2 objects: at")) == (0, True), printed
    assert "not known: sizes, which objects still exist" in printed


def test_a_bucket_outside_the_jobs_list_is_an_error_before_any_work(cloud: LocalCloud, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"{cloud.upload_bucket},a.jpg,1\nelsewhere,b.jpg,1\n")
    for arguments in (("--manifest", str(manifest)), ("--bucket", "elsewhere")):
        status, printed = backfilling.finish(backfilling.start(cloud, *arguments, UPLOAD_BUCKETS=cloud.upload_bucket))
        assert (status, "bucket elsewhere" in printed) == (1, True), printed


def test_a_missing_manifest_is_one_sentence_and_no_retry(cloud: LocalCloud) -> None:
    status, printed = backfilling.finish(backfilling.start(cloud, "--manifest", "gs://uploads/nowhere.csv"))
    assert (status, printed) == (1, "SettingsError: gs://uploads/nowhere.csv does not exist\n")


def test_a_killed_task_starts_again_and_every_object_is_written_once(
    cloud: LocalCloud, model: str, tmp_path: Path
) -> None:
    old = backfilling.Archive(cloud)
    for number in range(24):
        old.put(f"pile/{number:02d}.jpg", photo(seed=number))
    old.put("pile/note.jpg", b"not an image")
    old.put("pile/locked.jpg", photo())
    never = Fault(status=400, operation="download", object="pile/locked.jpg", message="Encrypted.", times=1000)
    cloud.store.faults.add(never)
    arguments = ("--bucket", cloud.upload_bucket, "--prefix", "pile/")
    task = backfilling.start(cloud, *arguments, MODEL=model, CONCURRENCY="2")
    old.wait_for_results(4)
    task.send_signal(signal.SIGKILL)
    backfilling.finish(task)
    status, printed = backfilling.finish(backfilling.start(cloud, *arguments, MODEL=model, CONCURRENCY="2"))
    assert status == 0, printed
    audit = old.audit()
    assert (audit.with_an_outcome, audit.results, audit.results_written_twice) == (26, 24, 0)
    assert audit.objects_with_two_keys == 0
    assert old.codes("pile/locked.jpg") == {"source_unreadable"}
    assert 26 <= audit.messages <= 26 + 8  # again: what was in work, and what was not remembered yet
