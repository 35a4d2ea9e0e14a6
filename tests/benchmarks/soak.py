"""Uploads through the real server while everything around it fails, and an audit of what came out.

    python -m tests.benchmarks.soak [--uploads 200] [--seed 1] [--kills 6] [--poison 50]

One seed gives one plan: which upload is what image, delivered twice, overwritten, deleted, met by which fault of the
store or of the topic, and after which upload the server gets SIGKILL or SIGTERM. The model is a small random one: its
cutouts do not matter, only that equal images give equal files. The reader of GIF files is one that loops, crashes or
grows if a file asks for it (tests/hostile_decoders.py). Exit status 1 if an upload is lost or wrong, or if the server
ended by itself.
"""

import argparse
import io
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from PIL import Image

from function.local import LocalCloud, PublishedMessage, RetryPolicy, ServerProcess
from function.local.storage.faults import Effect, Fault
from function.local.storage.objects import Finalized
from tests.conftest import photo, save_tiny_model
from tests.hostile_decoders import CRASH, GROW, GROW_SLOWLY, LOOP
from tests.images import scans

HOSTILE_SERVER = "tests/hostile_server.py"
RETRY = RetryPolicy(first_backoff_s=0.1, longest_backoff_s=2.0, max_attempts=100)
WINDOW = 10  # uploads that are put while deliveries are held, then delivered in one order or the other
IMAGES = 12  # different images
STORE_FAULTS = (Effect.STATUS, Effect.RESET, Effect.LOSE_RESPONSE, Effect.DELAY)


def asking_for(behaviour: bytes) -> bytes:
    """A GIF for the broken reader."""
    file = io.BytesIO()
    Image.new("P", (96, 64)).save(file, "GIF", comment=behaviour)
    return file.getvalue()


POISON = {  # name -> its bytes and the codes that may come of it
    "no-image": (b"not an image at all", {"unsupported_media"}),
    "cut-short": (photo()[:-200], {"corrupt_image"}),
    "empty": (b"", {"unsupported_media"}),
    "header-only": (photo()[:40], {"corrupt_image", "unsupported_media"}),
    "scan-bomb": (scans(1000), {"image_too_complex"}),
    "looping": (asking_for(LOOP), {"image_too_complex"}),
    "crashing": (asking_for(CRASH), {"corrupt_image"}),
    "growing": (asking_for(GROW), {"image_too_complex"}),
    "growing-slowly": (asking_for(GROW_SLOWLY), {"image_too_complex"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One upload of the plan."""

    name: str
    image: int
    poison: str = ""
    duplicated: bool = False
    then: str = ""  # "overwrite" | "delete", while the upload is being processed
    store_fault: Effect | None = None
    operation: str = ""  # that the fault hits
    publish_fault: str = ""  # "refused" | "unavailable" | "lost"
    server_gets: signal.Signals | None = None  # after this upload


def plan(uploads: int, seed: int, signals: int, poison_one_in: int = 50) -> list[Step]:
    """The same steps for the same seed. Every kind of poison is as frequent as the others."""
    source = random.Random(seed)
    poisons = itertools.cycle(source.sample(sorted(POISON), len(POISON)))
    signalled = set(source.sample(range(uploads), min(signals, uploads)))
    steps = []
    for number in range(uploads):
        poison = next(poisons) if source.random() < 1 / poison_one_in else ""
        then = "" if poison else source.choices(("", "overwrite", "delete"), (0.92, 0.05, 0.03))[0]
        fault = source.choice(STORE_FAULTS) if source.random() < 0.10 else None
        places = ("insert",) if fault is Effect.LOSE_RESPONSE else ("download", "insert", "get")
        kind = signal.SIGKILL if source.random() < 0.5 else signal.SIGTERM
        steps.append(
            Step(
                name=f"soak/{number:05d}",
                image=source.randrange(IMAGES),
                poison=poison,
                duplicated=source.random() < 0.20,
                then=then,
                store_fault=fault,
                operation=source.choice(places),
                publish_fault=source.choice(("refused", "unavailable", "lost")) if source.random() < 0.10 else "",
                server_gets=kind if number in signalled else None,
            )
        )
    return steps


@dataclass(slots=True, kw_only=True)
class Told:
    """What was put and what is known of it: one finalized generation."""

    step: Step
    finalized: float  # Unix seconds
    final: bool = True  # neither overwritten nor deleted
    messages: list[PublishedMessage] = field(default_factory=list)


class Soak:
    """One run."""

    def __init__(self, steps: Sequence[Step], folder: Path, *, seed: int) -> None:
        self.steps, self.source = steps, random.Random(seed)
        self.cloud = LocalCloud(retry=RETRY, concurrency=6)
        save_tiny_model(folder / "model")
        self.environment = {
            "MODEL": str(folder / "model"),
            "CONCURRENCY": "4",
            "DECODE_PROCESSES": "2",
            "DECODE_TIMEOUT_S": "2",
            "OMP_NUM_THREADS": "1",
        }
        self.log = folder / "server.log"
        self.generations: dict[tuple[str, str], Told] = {}
        self.signals: Counter[str] = Counter()
        self.written: dict[str, int] = {}

    def run(self) -> "Audit":
        with self.cloud as cloud:
            client = storage.Client(
                project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.store.url}
            )
            cloud.store.subscribe(self._note)
            environment = {**cloud.environment(), **self.environment}
            with client, ServerProcess(environment, log=self.log, config=HOSTILE_SERVER) as server:
                cloud.eventarc.connect(server.url, f"{server.url}/dead-letter")
                before = 0.0
                for first in range(0, len(self.steps), WINDOW):
                    self._window(self.steps[first : first + WINDOW], client.bucket(cloud.upload_bucket), server)
                    before = before or resident(server.pid)
                cloud.store.faults.clear()
                cloud.eventarc.wait(timeout=600)
                return self._audit(client.bucket(cloud.output_bucket), before, resident(server.pid))

    def _note(self, event: Finalized) -> None:
        if event.object.bucket == self.cloud.output_bucket:
            self.written[event.object.name] = self.written.get(event.object.name, 0) + 1

    def _window(self, steps: Sequence[Step], bucket: storage.Bucket, server: ServerProcess) -> None:
        self.cloud.eventarc.pause()
        for step in steps:
            self._put(step, bucket)
        self.cloud.eventarc.resume(newest_first=self.source.random() < 0.5)
        for step in steps:
            if step.then:
                self._change(step, bucket)
            if step.server_gets is not None:
                self._signal(step.server_gets, server)
        while self._acknowledged() < len(self.generations) - 3 * WINDOW:
            time.sleep(0.1)  # not more than a few windows ahead of the deliveries

    def _acknowledged(self) -> int:
        return len({attempt.message.id for attempt in self.cloud.eventarc.attempts if attempt.acknowledged})

    def _put(self, step: Step, bucket: storage.Bucket) -> None:
        cloud = self.cloud
        if step.store_fault is not None:
            place = f"{step.name}.jpg" if step.operation == "download" else f"{step.name}.png"
            delay = 2.0 if step.store_fault is Effect.DELAY else 0.0
            cloud.store.faults.add(
                Fault(effect=step.store_fault, operation=step.operation, object=place, delay_s=delay)
            )
        if step.then:  # so that the change comes while the upload is being processed
            cloud.store.faults.add(
                Fault(effect=Effect.DELAY, operation="download", object=f"{step.name}.jpg", delay_s=0.3)
            )
        if step.publish_fault == "lost":
            cloud.topics.lose_next_answer()
        elif step.publish_fault:
            refused = step.publish_fault == "refused"
            cloud.topics.fail_next(grpc.StatusCode.PERMISSION_DENIED if refused else grpc.StatusCode.UNAVAILABLE)
        cloud.eventarc.duplicates = int(step.duplicated)
        self._upload(step, bucket, photo(seed=step.image) if not step.poison else POISON[step.poison][0])
        cloud.eventarc.duplicates = 0

    def _upload(self, step: Step, bucket: storage.Bucket, data: bytes) -> None:
        blob = bucket.blob(f"{step.name}.jpg")
        blob.upload_from_string(data, content_type="image/jpeg")
        self.generations[blob.name, str(blob.generation)] = Told(step=step, finalized=time.time())

    def _change(self, step: Step, bucket: storage.Bucket) -> None:
        name = f"{step.name}.jpg"
        for (known, _), told in self.generations.items():
            told.final = told.final and known != name
        if step.then == "delete":
            bucket.blob(name).delete()
        else:
            self._upload(step, bucket, photo(seed=(step.image + 1) % IMAGES))

    def _signal(self, number: signal.Signals, server: ServerProcess) -> None:
        time.sleep(self.source.random() * 0.5)
        self.signals[number.name] += 1
        if number is signal.SIGKILL:
            os.killpg(server.pid, signal.SIGKILL)
        server.stop()
        server.start()

    def _audit(self, results: storage.Bucket, before: float, after: float) -> "Audit":
        dead_letters = len(self.cloud.eventarc.dead_letters)
        audit = Audit(rss_before=before, rss_after=after, signals=dict(self.signals), gave_up=dead_letters)
        for message in self.cloud.topics.messages:
            source = json.loads(message.data)["source"]
            self.generations[source["name"], source["generation"]].messages.append(message)
        checksums: dict[int, set[str]] = defaultdict(set)
        for (name, generation), told in self.generations.items():
            audit.judge(name, generation, told, results, checksums)
        audit.wrong += [
            f"image {image} has {len(found)} cutouts" for image, found in checksums.items() if len(found) > 1
        ]
        twice = [name for name, times in self.written.items() if times > 1 and not name.startswith(".")]
        changed = {f"{told.step.name}.png" for told in self.generations.values() if told.step.then == "overwrite"}
        audit.wrong += [f"{name} was written more than once" for name in twice if name not in changed]
        audit.restarts = self.log.read_text().count('"ready with') - 1 - sum(self.signals.values())
        audit.deliveries = len(self.cloud.eventarc.attempts)
        audit.redeliveries = sum(attempt.number > 1 for attempt in self.cloud.eventarc.attempts)
        return audit


@dataclass(slots=True, kw_only=True)
class Audit:
    """What came out. lost: generations without a message. wrong: everything else that breaks the promise."""

    rss_before: float  # MB, of server and decoders, after the first uploads
    rss_after: float
    signals: dict[str, int]
    gave_up: int
    restarts: int = 0  # of a server that ended without a signal of this run
    generations: int = 0
    deliveries: int = 0
    redeliveries: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # from finalized to the first message

    def judge(
        self, name: str, generation: str, told: Told, results: storage.Bucket, checksums: dict[int, set[str]]
    ) -> None:
        self.generations += 1
        if not told.messages:
            self.lost.append(f"{name}#{generation}")
            return
        self.seconds.append(told.messages[0].published.timestamp() - told.finalized)
        outcomes = [json.loads(message.data) for message in told.messages]
        kinds = {outcome["code"] or outcome["status"] for outcome in outcomes}
        self.codes.update(kinds)
        allowed = POISON[told.step.poison][1] if told.step.poison else {"completed"}
        if not told.final:
            allowed = allowed | {"superseded", "source_gone"}
        elif len({(message.data, *sorted(message.attributes.items())) for message in told.messages}) > 1:
            self.wrong.append(f"{name}#{generation}: messages differ")
        if kinds - allowed:
            self.wrong.append(f"{name}#{generation}: {', '.join(sorted(kinds - allowed))}")
        if told.final and outcomes[0]["status"] == "completed":
            output = outcomes[0]["outputs"][0]
            stored = results.get_blob(output["name"])
            if stored is None or (stored.crc32c, str(stored.generation)) != (output["crc32c"], output["generation"]):
                self.wrong.append(f"{name}#{generation}: the stored result is not the announced one")
            elif not told.step.poison and not told.step.then:
                checksums[told.step.image].add(stored.crc32c)

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0
        lines = {
            "generations": self.generations,
            "lost": len(self.lost),
            "wrong": len(self.wrong),
            "outcomes": ", ".join(f"{count} {kind}" for kind, count in sorted(self.codes.items())),
            "deliveries": self.deliveries,
            "redeliveries": self.redeliveries,
            "dead letters": self.gave_up,
            "server ended by": ", ".join(f"{count} x {name}" for name, count in sorted(self.signals.items()))
            or "nothing",
            "ended by itself": f"{self.restarts} times",
            "seconds to the message": f"p50 {statistics.median(ordered or [0.0]):.2f}, p99 {p99:.2f}",
            "resident memory": f"{self.rss_before:.0f} MB at first, {self.rss_after:.0f} MB at the end",
        }
        return "\n".join([f"{name:24} {value}" for name, value in lines.items()] + self.lost + self.wrong)


def resident(pid: int) -> float:
    """MB of a process and of all that it started."""
    children: dict[int, list[int]] = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        children[int(fields[1])].append(int(status.parent.name))
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        waiting += children[one]
        pages = Path(f"/proc/{one}/statm").read_text().split()[1]
        total += int(pages) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def soak(uploads: int, seed: int, signals: int, folder: Path, poison_one_in: int = 50) -> Audit:
    return Soak(plan(uploads, seed, signals, poison_one_in), folder, seed=seed).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=6, help="how often the server gets SIGKILL or SIGTERM")
    parser.add_argument("--poison", type=int, default=50, help="one upload in so many is a poison file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        audit = soak(given.uploads, given.seed, given.kills, Path(folder), given.poison)
        print(f"{'uploads, seed':24} {given.uploads}, {given.seed}\n{audit}")
        print(f"{'in all':24} {time.monotonic() - began:.0f} s")
    return 1 if audit.lost or audit.wrong or audit.restarts else 0


if __name__ == "__main__":
    sys.exit(main())
