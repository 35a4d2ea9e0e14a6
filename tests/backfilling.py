"""Backfill tasks as processes against the local cloud, and the audit of what they did."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from function.local import LocalCloud
from function.local.storage.objects import Finalized

ROOT = Path(__file__).parent.parent


class Archive:
    """A bucket of old uploads beside the local cloud, and every result that was ever written."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        client = storage.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.store.url}
        )
        self.uploads, self.results = client.bucket(cloud.upload_bucket), client.bucket(cloud.output_bucket)
        self.written: Counter[str] = Counter()
        self.names: set[str] = set()
        self._arrived = threading.Condition()
        cloud.store.subscribe(self._note)

    def put(self, name: str, data: bytes) -> int:
        blob = self.uploads.blob(name)
        blob.upload_from_string(data, content_type="image/jpeg")
        self.names.add(name)
        return int(blob.generation)

    def _note(self, event: Finalized) -> None:
        if event.object.bucket == self.cloud.output_bucket and not event.object.name.startswith(".backfill/"):
            with self._arrived:
                self.written[event.object.name] += 1
                self._arrived.notify_all()

    def wait_for_results(self, count: int, timeout: float = 120) -> None:
        with self._arrived:
            if not self._arrived.wait_for(lambda: sum(self.written.values()) >= count, timeout):
                raise TimeoutError(f"{sum(self.written.values())} results instead of {count}")

    def codes(self, name: str) -> set[str]:
        """Of every message about an object."""
        told = (json.loads(message.data) for message in self.cloud.topics.messages)
        return {data["code"] for data in told if data["source"]["name"] == name}

    def audit(self) -> "Audit":
        subjects = [m.attributes["ce-subject"].removeprefix("objects/") for m in self.cloud.topics.messages]
        keys: dict[str, set[str]] = {}
        for message in self.cloud.topics.messages:
            data = json.loads(message.data)
            keys.setdefault(data["source"]["name"], set()).add(data["key"])
        return Audit(
            objects=len(self.names),
            with_an_outcome=len(self.names & set(subjects)),
            results=len(self.written),
            results_written_twice=sum(times > 1 for times in self.written.values()),
            messages=len(subjects),
            objects_with_two_keys=sum(len(found) > 1 for found in keys.values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Was every object processed, and none twice?"""

    objects: int
    with_an_outcome: int
    results: int
    results_written_twice: int
    messages: int  # one per object, and one more for each that was in work when a task was killed
    objects_with_two_keys: int

    def __str__(self) -> str:
        return "\n".join(f"{name.replace('_', ' '):24} {getattr(self, name)}" for name in self.__dataclass_fields__)


def start(cloud: LocalCloud, *arguments: str, index: int = 0, count: int = 1, **settings: str) -> subprocess.Popen[str]:
    """One task, as Cloud Run starts it."""
    environment = os.environ | cloud.environment() | settings
    environment |= {"CLOUD_RUN_TASK_INDEX": str(index), "CLOUD_RUN_TASK_COUNT": str(count), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "function.backfill", *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(task: subprocess.Popen[str], timeout: float = 600) -> tuple[int, str]:
    """Exit status and what the task printed."""
    printed, _ = task.communicate(timeout=timeout)
    return task.returncode, printed
