"""The subscriber's library, installed alone where there is neither torch nor a client of Google's; and its examples."""

import base64
import csv
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from html import unescape
from importlib.metadata import files
from pathlib import Path

import pytest
from google.pubsub_v1 import types

from function.cloud import PubSubPublisher
from function.local import LocalTopics
from function.local.server_process import free_port
from shared.errors import FAILURE_CODES, NoSubject
from shared.messages import completed, failed, serialise
from shared.subscriber.message_types import REPLAYED_NOTE
from shared.subscriber.messages import Code, CompletionMessage, UnreadableMessage, parse_push
from shared.subscriber.once import BeingHandled, Once
from tests.conftest import photo
from tests.test_messages import UPLOAD, result

LIBRARY = Path(__file__).parents[1] / "shared" / "subscriber"
PYDANTIC = ("pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection")
ELSEWHERE = ("torch", "google", "numpy", "shared", "function", "flask")
TOPIC = "projects/local/topics/completions"
DONE = completed(result())
FAILED = failed(UPLOAD, "f" * 64, NoSubject("Nothing."))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The library as pip builds it, and pydantic: all that a subscriber's Python finds beside the standard library."""
    folder = tmp_path_factory.mktemp("subscriber")
    source, site = folder / "source", folder / "site"
    shutil.copytree(LIBRARY, source, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    for distribution in PYDANTIC:
        for name in {Path(file).parts[0] for file in files(distribution) or ()} - {"__pycache__"}:
            origin = next(Path(entry) / name for entry in sys.path if (Path(entry) / name).exists())
            (site / name).symlink_to(origin)
    return site


def python(installed: Path, *arguments: object, **how) -> subprocess.Popen[str]:
    """A Python that finds no package of this environment's but those."""
    command = [sys.executable, "-S", *map(str, arguments)]
    return subprocess.Popen(command, env={"PYTHONPATH": str(installed)}, cwd=installed, text=True, **how)


def pushed(message: CompletionMessage) -> bytes:
    """The body of a push request."""
    data, attributes = serialise(message)
    wrapped = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "1"}
    return json.dumps({"message": wrapped, "subscription": "projects/p/subscriptions/s"}).encode()


def replayed(message: CompletionMessage, moment: str) -> CompletionMessage:
    return replace(message, notes={REPLAYED_NOTE: moment})


READ = """
import importlib, sys
from importlib.util import find_spec
from cutdrop.messages import parse_push
from cutdrop.once import Once
for example in ("worker", "review", "thumbnails"):
    importlib.import_module(f"cutdrop.examples.{example}")
message = parse_push(sys.stdin.buffer.read())
with Once().handling(message.event_id) as first:
    print(message.source.name, message.output().uri, first)
print(*[name for name in sys.argv[1:] if find_spec(name)])
print(*sorted(path.name for path in importlib.resources.files("cutdrop").iterdir() if "completion" in path.name))
"""


def test_the_installed_library_reads_a_message_where_there_is_neither_torch_nor_a_client_of_googles(installed):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    read, found, schemas = (
        python(installed, "-c", READ, *ELSEWHERE, **pipes).communicate(pushed(DONE).decode())[0].splitlines()
    )
    assert read == "shoes/12.jpg gs://cutouts/shoes/12.png True"
    assert found == ""
    assert schemas == "completion.avsc completion.schema.json"


def test_the_library_has_the_version_of_the_product():
    for page in (LIBRARY, LIBRARY.parents[1]):
        assert re.search(r'^version = "0.1.0"$', (page / "pyproject.toml").read_text(), re.MULTILINE), page


def test_every_code_of_a_failure_is_a_word_of_the_enumeration_and_no_other():
    assert sorted(Code) == sorted(FAILURE_CODES)
    assert FAILED.failure is Code.NO_SUBJECT
    assert DONE.failure is None
    assert replace(FAILED, code="of_a_later_version").failure is None


def test_an_output_is_found_by_its_role():
    preview = replace(DONE.outputs[0], role="preview")
    message = replace(DONE, outputs=(DONE.outputs[0], preview))
    assert (message.output(), message.output("preview"), message.output("mask")) == (DONE.outputs[0], preview, None)
    assert FAILED.output() is None


@pytest.mark.parametrize("message", [DONE, FAILED, replayed(FAILED, "2026-11-22T12:00:00Z")])
def test_the_events_id_is_the_attribute_that_repeated_messages_share(message):
    assert parse_push(pushed(message)) == message
    assert message.event_id == serialise(message)[1]["ce-id"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b'{"message": 1}', b'{"message": {"data": "***"}}', b'{"message": {"attributes": 5}}',
     b'{"message": {"data": 5}}', b'{"message": {"data": "e30="}}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_what_is_no_pushed_completion_message_is_unreadable(body):
    with pytest.raises(UnreadableMessage):
        parse_push(body)


# Once


def handle(once: Once, event_id: str) -> bool:
    with once.handling(event_id) as first:
        return first


def test_a_message_is_handled_once_and_another_one_too(tmp_path):
    once = Once(tmp_path / "handled")
    assert [handle(once, event) for event in ("a", "a", "b", "a")] == [True, False, True, False]
    once.close()
    assert [handle(Once(tmp_path / "handled"), event) for event in ("a", "c")] == [False, True]


def test_a_message_whose_handling_failed_is_handled_again():
    once = Once()
    with pytest.raises(OSError, match="disk"), once.handling("a"):
        raise OSError("disk")
    assert handle(once, "a")


def test_a_second_delivery_during_the_first_is_sent_away_in_another_process_too(tmp_path):
    once, other = Once(tmp_path / "handled"), Once(tmp_path / "handled")
    with once.handling("a") as first:
        for place in (once, other):
            with pytest.raises(BeingHandled), place.handling("a"):
                pass
        assert handle(other, "b")
    assert (first, handle(other, "a")) == (True, False)


def test_of_many_deliveries_at_once_one_is_handled(tmp_path):
    places = [Once(tmp_path / "handled") for _ in range(3)]
    handled = []

    def deliver(number: int) -> None:
        try:
            with places[number % 3].handling("a") as first:
                if first:
                    handled.append(number)
        except BeingHandled:
            pass

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(deliver, range(60)))
    assert len(handled) == 1


def test_a_handler_that_was_killed_gives_way_after_its_lease_and_ids_are_forgotten_in_the_end():
    now = 1000.0
    once = Once(keep_s=3600, lease_s=60, clock=lambda: now)
    killed = once.handling("killed")
    killed.__enter__()  # and never left
    assert handle(once, "done")
    now += 59
    with pytest.raises(BeingHandled):
        handle(once, "killed")
    now += 2
    assert (handle(once, "killed"), handle(once, "done")) == (True, False)
    now += 3601
    assert handle(once, "done")


# The examples


@contextmanager
def example(installed: Path, name: str, folder: Path, *arguments: object, port: int = 0) -> Iterator["Example"]:
    running = Example(installed, name, folder, arguments, port or free_port())
    try:
        yield running
    finally:
        running.kill()


class Example:
    """One example as a process of its own."""

    def __init__(self, installed: Path, name: str, folder: Path, arguments, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}/"
        command = ("-m", f"cutdrop.examples.{name}", "--port", port, *arguments)
        with (folder / f"{name}.log").open("a") as log:
            self._process = python(installed, *command, stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, (folder / f"{name}.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def page(self) -> str:
        return urllib.request.urlopen(self.url, timeout=10).read().decode()

    def post(self, path: str, body: bytes) -> int:
        try:
            return urllib.request.urlopen(urllib.parse.urljoin(self.url, path), body, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def topics(monkeypatch) -> Iterator[LocalTopics]:
    with LocalTopics() as topics:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", topics.address)
        topics.create_topic(TOPIC)
        yield topics


def publish(*messages: CompletionMessage) -> None:
    publisher = PubSubPublisher.connect(TOPIC)
    for message in messages:
        publisher.publish(message)
    publisher.close()


def push(topics: LocalTopics, endpoint: str, text_filter: str = "") -> str:
    """A new push subscription."""
    name = f"projects/local/subscriptions/s{uuid.uuid4().hex}"
    pushing = types.PushConfig(push_endpoint=endpoint)
    topics.create_subscription(types.Subscription(name=name, topic=TOPIC, filter=text_filter, push_config=pushing))
    return name


def eventually(holds, within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def about(name: str, **changes) -> CompletionMessage:
    source = replace(DONE.source, name=name, generation=changes.pop("generation", "1"))
    return replace(DONE, key=uuid.uuid4().hex, source=source, **changes)


def test_the_worker_handles_every_outcome_once_although_it_is_killed_between_two_deliveries(
    installed, tmp_path, topics
):
    file, port = tmp_path / "outcomes.csv", free_port()
    files = ("--file", file, "--handled", tmp_path / "handled.sqlite3")

    def lines() -> list[list[str]]:
        return list(csv.reader(file.open(newline=""))) if file.exists() else []

    first, failure, last = (
        about("a, b.jpg"),
        replace(FAILED, source=replace(FAILED.source, name="c.jpg")),
        about("d.jpg"),
    )
    with example(installed, "worker", tmp_path, *files, port=port) as worker:
        push(topics, worker.url)
        publish(first, first, failure, first)
        eventually(lambda: len(lines()) == 2)
        assert worker.post("/", b"no message at all") == 204
    publish(first, last)
    with example(installed, "worker", tmp_path, *files, port=port):
        eventually(lambda: len(lines()) == 3)
    expected = [["a, b.jpg", "completed", "gs://cutouts/shoes/12.png"], ["c.jpg", "failed", "no_subject"]]
    assert sorted(lines()) == [*expected, ["d.jpg", "completed", "gs://cutouts/shoes/12.png"]]


def test_a_delivery_that_the_worker_cannot_handle_now_comes_again(installed, tmp_path, topics):
    folder = tmp_path / "later"
    with example(installed, "worker", tmp_path, "--file", folder / "outcomes.csv") as worker:
        assert worker.post("/", pushed(DONE)) == 503
        folder.mkdir()
        assert worker.post("/", pushed(DONE)) == 204
        assert worker.post("/", pushed(DONE)) == 204
    assert len((folder / "outcomes.csv").read_text().splitlines()) == 1


def test_the_review_queue_shows_what_little_is_known_of_until_a_person_decides(installed, tmp_path, topics):
    doubtful = about("<b>.jpg", review=True, subject=replace(DONE.subject, confidence=0.2))
    worse = about("worse.jpg", review=True, subject=replace(DONE.subject, confidence=0.1))
    with example(installed, "review", tmp_path, "--file", tmp_path / "review.sqlite3") as queue:
        push(topics, queue.url, 'attributes.review = "true"')
        publish(about("certain.jpg"), doubtful, worse, doubtful)
        eventually(lambda: "2 to review" in queue.page())
        page = queue.page()
        assert "certain.jpg" not in page
        assert page.index("worse.jpg: 10%") < page.index("&lt;b&gt;.jpg: 20%")
        assert "https://storage.cloud.google.com/cutouts/shoes%2F12.png" in page
        queue.post("/form", f"id={doubtful.event_id}&verdict=good".encode())
        assert queue.post("/", pushed(doubtful)) == 204
        assert "1 to review" in queue.page()
        assert "&lt;b&gt;" not in queue.page()


def test_an_upload_through_the_service_reaches_the_thumbnails_and_its_picture_is_the_stored_preview(
    installed, tmp_path, service
):
    pictures = f"{service.cloud.store.url}/download/storage/v1/b/{{bucket}}/o/{{name}}?alt=media"
    name = "thumbnails/a b.jpg"
    with ExitStack() as stack:
        page = stack.enter_context(example(installed, "thumbnails", tmp_path, "--pictures", pictures))
        subscription = push(service.cloud.topics, page.url, 'attributes.status = "completed"')
        stack.callback(service.cloud.topics.delete_subscription, subscription)
        service.upload(name, photo(), outputs="preview: size=32x32 format=webp")
        eventually(lambda: name in page.page())
        shown = re.search(r'<img src="([^"]+)"', page.page())
        assert shown
        with urllib.request.urlopen(unescape(shown[1]), timeout=10) as picture:
            assert picture.read() == service.results.blob("thumbnails/a b.preview.webp").download_as_bytes()
        newer = about(name, generation=str(2**62), outputs=(replace(DONE.outputs[0], name="newer.png"),))
        for message in (newer, about(name, generation="5")):
            assert page.post("/", pushed(message)) == 204
        assert page.page().count("<img") == 1
        assert "newer.png" in page.page()
