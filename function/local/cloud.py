"""The local cloud: an object store, topics and an Eventarc stand-in in this process."""

import os
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from function.local.eventarc.delivery import Eventarc, RetryPolicy, Transport
from function.local.pubsub.topic import LocalTopics
from function.local.storage.store import LocalStore

PROJECT = "local"
LOCAL_NAMES = {  # settings that a local cloud decides, with its names for buckets and topic
    "GOOGLE_CLOUD_PROJECT": PROJECT,
    "UPLOAD_BUCKETS": "uploads",
    "OUTPUT_BUCKET": "cutouts",
    "COMPLETION_TOPIC": f"projects/{PROJECT}/topics/completions",
}


class LocalCloud:
    """Store, topics and Eventarc in this process, on free loopback ports.

    spill_folder: takes objects above 4 MiB, which are kept in memory otherwise.
    """

    def __init__(
        self,
        *,
        upload_bucket: str = LOCAL_NAMES["UPLOAD_BUCKETS"],
        output_bucket: str = LOCAL_NAMES["OUTPUT_BUCKET"],
        topic: str = LOCAL_NAMES["COMPLETION_TOPIC"],
        spill_folder: Path | None = None,
        transport: Transport = Transport.EVENTARC,
        retry: RetryPolicy | None = None,
        concurrency: int = 4,
        duplicates: int = 0,
    ) -> None:
        self.upload_bucket, self.output_bucket = upload_bucket, output_bucket
        self.topic = topic
        self.store = LocalStore(spill_folder)
        self.topics = LocalTopics()
        self.eventarc = Eventarc(
            self.store,
            [upload_bucket],
            transport=transport,
            retry=retry,
            concurrency=concurrency,
            duplicates=duplicates,
            project=PROJECT,
        )

    def __enter__(self) -> "LocalCloud":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all three, with both buckets and the topic in place."""
        self.store.start()
        self.store.create_bucket(self.upload_bucket)
        self.store.create_bucket(self.output_bucket)
        self.topics.start()
        self.topics.create_topic(self.topic)
        self.eventarc.start()

    def stop(self) -> None:
        self.eventarc.stop()
        self.topics.stop()
        self.store.stop()

    def client(self) -> storage.Client:
        """Google's client, connected to this store."""
        client = storage.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": self.store.url}
        )
        client._http.trust_env = False  # a proxy cannot reach loopback addresses
        return client

    def environment(self) -> dict[str, str]:
        """The environment variables with which the server runs against this cloud."""
        direct = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1")))
        return {
            "NO_PROXY": direct,  # the clients would ask a proxy even for loopback addresses
            "no_proxy": direct,
            "STORAGE_EMULATOR_HOST": self.store.url,
            "PUBSUB_EMULATOR_HOST": self.topics.address,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "UPLOAD_BUCKETS": self.upload_bucket,
            "OUTPUT_BUCKET": self.output_bucket,
            "COMPLETION_TOPIC": self.topic,
        }
