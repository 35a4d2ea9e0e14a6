"""The real server against a local cloud, and what tests ask of it."""

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from PIL import Image

from function.local import LocalCloud, PublishedMessage, RetryPolicy, ServerProcess
from function.local.storage.objects import Finalized

FAST = RetryPolicy(first_backoff_s=0.05, longest_backoff_s=0.2, max_attempts=5)


class Service:
    """One running server with its cloud. Tests share it, each under object names of its own."""

    def __init__(self, cloud: LocalCloud, server: ServerProcess) -> None:
        self.cloud, self.server = cloud, server
        client = storage.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.store.url}
        )
        client._http.trust_env = False  # a proxy is of no use on loopback
        self.uploads, self.results = client.bucket(cloud.upload_bucket), client.bucket(cloud.output_bucket)
        self.finalized: list[Finalized] = []
        cloud.store.subscribe(self.finalized.append)

    def upload(self, name: str, data: bytes, **metadata: str) -> str:
        """The new generation, as text."""
        blob = self.uploads.blob(name)
        blob.metadata = {f"cutdrop-{key.replace('_', '-')}": value for key, value in metadata.items()}
        blob.upload_from_string(data, content_type="image/jpeg")
        return str(blob.generation)

    def published(self, name: str) -> list[PublishedMessage]:
        return [message for message in self.cloud.topics.messages if about(message) == name]

    def outcome(self, name: str, *, generation: str = "", timeout: float = 30) -> dict:
        """The data of the first message about an upload, waited for."""

        def telling(messages) -> list[dict]:
            told = [json.loads(message.data) for message in messages if about(message) == name]
            return [data for data in told if generation in ("", data["source"]["generation"])]

        return telling(self.cloud.topics.wait_for(lambda messages: bool(telling(messages)), timeout))[0]

    def settled(self) -> None:
        """Return when every event is acknowledged or a dead letter."""
        self.cloud.eventarc.wait(timeout=60)

    def statuses(self, name: str) -> list[int]:
        """What the server answered to the deliveries about an upload, in order."""
        attempts = self.cloud.eventarc.attempts
        return [attempt.status for attempt in attempts if attempt.message.attributes["ce-subject"] == f"objects/{name}"]

    def generations(self, result: str) -> int:
        """How many generations of a result were ever written."""
        written = [event.object for event in self.finalized if event.object.bucket == self.cloud.output_bucket]
        return sum(item.name == result for item in written)

    def image(self, result: str) -> Image.Image:
        return Image.open(io.BytesIO(self.results.blob(result).download_as_bytes()))

    def post(self, path: str, **request: Any) -> requests.Response:
        return requests.post(f"{self.server.url}{path}", timeout=60, **request)

    def wait_for_log(self, text: str, timeout: float = 30) -> None:
        """Return once the server has logged this."""
        end = time.monotonic() + timeout
        while not any(text in line["message"] for line in self.log()):
            if time.monotonic() > end:
                raise TimeoutError(f"the server did not log {text!r} within {timeout} s")
            time.sleep(0.02)

    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.server.log_text().splitlines() if line.startswith("{")]


def about(message: PublishedMessage) -> str:
    return message.attributes.get("ce-subject", "").removeprefix("objects/")  # empty: of another topic


@contextmanager
def running(log: Path, model: str, *, retry: RetryPolicy = FAST, **settings: str) -> Iterator[Service]:
    """A server of its own, with a cloud of its own."""
    with LocalCloud(retry=retry) as cloud:
        environment = {**cloud.environment(), "MODEL": model, **settings}
        with ServerProcess(environment, log=log) as server:
            cloud.eventarc.connect(server.url, f"{server.url}/dead-letter")
            yield Service(cloud, server)
