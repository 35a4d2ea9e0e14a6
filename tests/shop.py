"""One service with its cloud but without a server and a network, for tests of its policy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from google.cloud import storage

from function.cloud import GcsObjectStore, PubSubPublisher
from function.handler import Handler
from function.local import LocalCloud
from function.making import ResultMaker
from function.settings import Settings
from shared.errors import NoSubject
from shared.events import parse_event
from shared.records import Cutout, ModelInfo
from shared.subject import measure
from shared.subscriber.messages import parse
from tests.conftest import photo


class Bright:
    """A cutter without a network: what is bright is subject. `meanwhile` happens while it works."""

    model = ModelInfo(id="bright", revision="1", sha256="ab" * 32, device="cpu", dtype="float32")

    def __init__(self):
        self.calls = 0
        self.confidence = 0.9
        self.meanwhile = lambda: None

    def weights_sha256(self, options):
        return self.model.sha256

    def cut(self, image, options):
        self.calls += 1
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        alpha = np.where(image.rgb.max(axis=2) > 128, np.uint8(255), np.uint8(0))
        if not alpha.any():
            raise NoSubject("Nothing in this image is bright.")
        notes = {"upscale": "skipped"} if options.esrgan_stage == "after" else {}
        times = {"segment": 1.0, "matte": 2.0, "upscale": 0.0}
        return Cutout(
            rgba=np.dstack([image.rgb, alpha]),
            subject=replace(measure(alpha), confidence=self.confidence),
            timings_ms=times,
            notes=notes,
        )


class Shop:
    """One service with its cloud: uploads go in by the official client, as its users' do."""

    def __init__(self, cloud, **settings):
        self.cloud = cloud
        self.client = storage.Client()
        self.store = GcsObjectStore.connect("cutouts", concurrency=2, deadline_s=0.5)
        self.publisher = PubSubPublisher.connect(cloud.topic, deadline_s=0.3)
        self.cutter = Bright()
        self.settings = Settings(output_bucket="cutouts", completion_topic=cloud.topic, **settings)
        self.time = 1_000_000.0
        self.answers = iter(())  # to "is this instance stopping?"; no, once they run out
        self.handler = self.open()

    def open(self, *, cutter=None, **changes):
        """An instance of the service; another one shares nothing with the first but the cloud."""
        parts: dict[str, Any] = {
            "store": self.store,
            "publisher": self.publisher,
            "maker": ResultMaker(cutter or self.cutter, self.settings),
            "settings": self.settings,
        }
        parts |= {"now": lambda: self.time, "stopping": lambda: next(self.answers, False)}
        return Handler(**parts | changes)

    def put(self, name, data=None, metadata=None, bucket="uploads"):
        """Upload a file and return what its event says."""
        blob = self.client.bucket(bucket).blob(name)
        blob.metadata = metadata
        blob.upload_from_string(photo() if data is None else data, content_type="image/jpeg")
        resource = {
            "bucket": bucket,
            "name": name,
            "generation": str(blob.generation),
            "size": str(blob.size),
            "contentType": "image/jpeg",
            "metadata": metadata,
            "timeCreated": "2026-05-04T10:00:00.000Z",
        }
        return parse_event({"type": "google.cloud.storage.object.v1.finalized"}, resource)

    def result(self, name):
        return self.client.bucket("cutouts").get_blob(name)

    @property
    def published(self):
        return [(message.data, dict(message.attributes)) for message in self.cloud.topics.messages]

    @property
    def said(self):
        return [parse(data, attributes) for data, attributes in self.published]

    @property
    def codes(self):
        return [message.code or message.status for message in self.said]

    def requests(self, operation):
        return [call for call in self.cloud.store.calls if call.operation == operation]

    def close(self):
        self.publisher.close()
        self.store.close()
        self.client.close()


@contextmanager
def opening(cloud: LocalCloud) -> Iterator[Callable[..., Shop]]:
    """A function that opens a shop with some settings; all are closed at the end."""
    with ExitStack() as open_shops:

        def open_shop(**settings: Any) -> Shop:
            shop = Shop(cloud, **settings)
            open_shops.callback(shop.close)
            return shop

        yield open_shop
