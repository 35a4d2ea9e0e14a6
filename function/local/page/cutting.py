"""Takes the queued cuts one after the other through the service: upload, event, message, results."""

import html
import json
import mimetypes
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.cloud import storage
from requests import RequestException

from function.local.cloud import LocalCloud
from function.local.page.gallery import Cut, Gallery, Picture, Retry, State
from function.local.page.servers import Servers
from function.local.pubsub.topic import PublishedMessage
from function.local.server_process import ServerFailed
from function.local.service import LocalService
from function.plan import OPTION_PREFIX

AT_ONCE = 2  # cuts in work: one decodes while the other is in the network
LOOK_EVERY_S = 0.25  # between two looks at deliveries and at the server while an outcome is awaited


class Cutting:
    """`with Cutting(gallery, servers, folder): ...`; folder: takes the results."""

    def __init__(self, gallery: Gallery, servers: Servers, folder: Path) -> None:
        self._gallery, self._servers, self._folder = gallery, servers, folder
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"cutting-{n}", daemon=True) for n in range(AT_ONCE)]

    def __enter__(self) -> "Cutting":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Start nothing more; what is in work has no outcome."""
        self._stopped.set()
        self._gallery.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _work(self) -> None:
        while taken := self._gallery.take():
            picture, cut = taken
            try:
                with self._servers.using(cut.variant.model) as service:
                    self._cut(service, picture, cut)
            except (ServerFailed, GoogleAPIError, RequestException, OSError) as error:
                if not self._stopped.is_set():
                    self._gallery.change(cut.id, state=State.FAILED, reason=f"The service failed: {error}")

    def _cut(self, service: LocalService, picture: Picture, cut: Cut) -> None:
        cloud, name = service.cloud, f"{cut.id}/{picture.name}"
        client = cloud.client()
        seen = len(cloud.topics.messages)
        blob = client.bucket(cloud.upload_bucket).blob(name)
        blob.metadata = {f"{OPTION_PREFIX}{key.replace('_', '-')}": text for key, text in cut.variant.options.items()}
        blob.upload_from_filename(picture.file, content_type=mimetypes.guess_type(picture.name)[0])
        self._gallery.change(cut.id, state=State.WORKING)
        published = self._outcome(service, cut, name, seen)
        if published is not None:
            self._finish(cloud, client, cut, published)
        with suppress(NotFound, PreconditionFailed):
            blob.delete(if_generation_match=blob.generation)

    def _outcome(self, service: LocalService, cut: Cut, name: str, seen: int) -> PublishedMessage | None:
        """The first message about an upload since `seen`; None if the page stops or the picture is removed first."""

        def found(messages: Sequence[PublishedMessage]) -> PublishedMessage | None:
            new = (message for message in messages[seen:] if message.attributes["ce-subject"] == f"objects/{name}")
            return next(new, None)

        retries: tuple[Retry, ...] = ()
        while not self._stopped.is_set() and self._gallery.has(cut.id):
            with suppress(TimeoutError):
                return found(service.cloud.topics.wait_for(lambda messages: found(messages) is not None, LOOK_EVERY_S))
            service.server.check()
            if retries != (retries := _retries(service.cloud, name)):
                self._gallery.change(cut.id, retries=retries)
        return None

    def _finish(self, cloud: LocalCloud, client: storage.Client, cut: Cut, published: PublishedMessage) -> None:
        """Fetch the results, then show the outcome."""
        message: dict[str, Any] = json.loads(published.data)
        results = []
        for number, output in enumerate(message["outputs"]):
            blob = client.bucket(output["bucket"]).blob(output["name"], generation=int(output["generation"]))
            results.append(self._folder / f"{cut.id}-{number}{Path(output['name']).suffix}")
            blob.download_to_filename(results[-1])
            blob.delete()
        shown = self._gallery.change(
            cut.id,
            state=State.COMPLETED if message["status"] == "completed" else State.FAILED,
            retries=_retries(cloud, message["source"]["name"]),
            message=message,
            attributes=dict(published.attributes),
            results=tuple(results),
            code=message["code"],
            reason=message["reason"],
        )
        if not shown:
            for result in results:
                result.unlink(missing_ok=True)


def _retries(cloud: LocalCloud, name: str) -> tuple[Retry, ...]:
    """The deliveries about an upload that were not acknowledged."""
    return tuple(
        Retry(attempt=attempt.number, status=attempt.status, answer=attempt.problem or _sentence(attempt.answer))
        for attempt in tuple(cloud.eventarc.attempts)
        if not attempt.acknowledged and attempt.message.attributes["ce-subject"] == f"objects/{name}"
    )


def _sentence(answer: str) -> str:
    """What the page of an HTTP error says in its paragraph: `busy: ...`."""
    paragraph = re.search(r"<p>(.*?)</p>", answer, re.DOTALL)
    return html.unescape(paragraph[1] if paragraph else answer).strip()
