"""Google's own Pub/Sub emulator, a part of the Cloud SDK: `with GooglePubSub() as topics: topics.address`."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from function.local.server_process import free_port

SCRIPT = Path("platform/pubsub-emulator/bin/cloud-pubsub-emulator")
SDK_FOLDERS = ("/usr/lib/google-cloud-sdk", "/usr/local/google-cloud-sdk", "/opt/google-cloud-sdk")


@cache
def emulator_script() -> Path | None:
    """The emulator's start script; None if it or Java is missing."""
    gcloud = shutil.which("gcloud")
    beside_gcloud = [Path(gcloud).resolve().parents[1]] if gcloud else []
    folders = [*beside_gcloud, *map(Path, SDK_FOLDERS)]
    found = [folder / SCRIPT for folder in folders if (folder / SCRIPT).exists()]
    return found[0] if found and shutil.which("java") else None


def pulled(
    subscriber: pubsub_v1.SubscriberClient, subscription: str, count: int, within_s: float = 20
) -> list[types.ReceivedMessage]:
    """The next messages of a subscription, in the order in which they come. AssertionError if they do not."""
    received: list[types.ReceivedMessage] = []
    end = time.monotonic() + within_s
    while len(received) < count:
        assert time.monotonic() < end, f"{len(received)} of {count} messages within {within_s} s"
        received += subscriber.pull(subscription=subscription, max_messages=100, timeout=10).received_messages
    return received


class GooglePubSub:
    """The emulator as a child process on a free port."""

    def __init__(self, ready_within_s: float = 60) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._ready_within_s = ready_within_s

    def __enter__(self) -> "GooglePubSub":
        host, port = self.address.split(":")
        self._folder = tempfile.TemporaryDirectory()
        # The script itself, not gcloud's wrapper: killing that one leaves Java behind.
        self._process = subprocess.Popen(
            [str(emulator_script()), f"--host={host}", f"--port={port}"],
            cwd=self._folder.name,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def _wait(self) -> None:
        end = time.monotonic() + self._ready_within_s
        with grpc.insecure_channel(self.address) as channel:
            while True:
                try:
                    grpc.channel_ready_future(channel).result(timeout=0.5)
                    return
                except grpc.FutureTimeoutError:
                    if self._process.poll() is not None or time.monotonic() > end:
                        raise TimeoutError("Google's Pub/Sub emulator did not start") from None
