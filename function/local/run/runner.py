"""Files in, outcomes out: uploads with the official client, reads the topic, fetches the results."""

import mimetypes
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from google.api_core.exceptions import NotFound, PreconditionFailed

from function.local.cloud import LocalCloud
from function.local.pubsub.topic import PublishedMessage
from function.local.run.files import LocalFile
from function.local.run.pictures import before_after
from function.local.run.results import ResultFolder
from shared.errors import RejectedUpload
from shared.subscriber.message_types import PRIMARY
from shared.subscriber.messages import CompletionMessage, Output, parse

MOST_AT_ONCE = 32  # uploads without an outcome: bounds what the local store holds
PAUSE_S = 0.05  # between two looks at the topic
END = object()  # of the files


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """The outcome of one file. results: the path of each output, by its role."""

    file: LocalFile
    message: CompletionMessage
    results: Mapping[str, Path] = field(default_factory=dict)


class LocalRun:
    """Sends files through a local cloud that a server is connected to.

    folder: takes the results, each with a comparison picture. outcomes: takes one message per line, as JSON.
    metadata: custom metadata of every upload. check_server: raises if the server has ended.
    patience_s: without any outcome for this long, the remaining files are given up.
    """

    def __init__(
        self,
        cloud: LocalCloud,
        *,
        folder: ResultFolder,
        outcomes: TextIO | None = None,
        metadata: Mapping[str, str] | None = None,
        check_server: Callable[[], None] = lambda: None,
        patience_s: float = 900,
    ) -> None:
        self._cloud, self._folder, self._outcomes = cloud, folder, outcomes
        self._metadata, self._check_server, self._patience_s = dict(metadata or {}), check_server, patience_s
        client = cloud.client()
        self._uploads, self._results = client.bucket(cloud.upload_bucket), client.bucket(cloud.output_bucket)
        self._waiting: dict[tuple[str, str], LocalFile] = {}  # object name and generation -> file
        self._read = 0  # messages read so far

    def __call__(self, files: Iterable[LocalFile | None]) -> Iterator[FileOutcome | None]:
        """The outcome of each file in the order of arrival, and None after each look at the topic.

        A None among the files means that there is nothing to upload at the moment. Ends early if no outcome comes for
        `patience_s`; see `left`.
        """
        queue, last = iter(files), time.monotonic()
        while self._upload_next(queue) or self._waiting:
            for outcome in self._arrived():
                yield outcome
                last = time.monotonic()
            yield None
            if not self._waiting:
                last = time.monotonic()
            if time.monotonic() - last > self._patience_s:
                return
            self._check_server()
            time.sleep(PAUSE_S)

    @property
    def left(self) -> list[LocalFile]:
        """Files that were uploaded and have no outcome yet, the oldest first."""
        return list(self._waiting.values())

    def _upload_next(self, queue: Iterator[LocalFile | None]) -> bool:
        """Upload until MOST_AT_ONCE wait for their outcome; False at the end of the files."""
        while len(self._waiting) < MOST_AT_ONCE:
            file = next(queue, END)
            if file is END:
                return False
            if not isinstance(file, LocalFile):
                return True
            self._upload(file)
        return True

    def _upload(self, file: LocalFile) -> None:
        blob = self._uploads.blob(file.name)
        blob.metadata = self._metadata
        blob.upload_from_filename(file.path, content_type=mimetypes.guess_type(file.name)[0])
        self._waiting[file.name, str(blob.generation)] = file

    def _arrived(self) -> Iterator[FileOutcome]:
        """Outcomes since the last call; a repeated message is no new outcome."""
        messages = self._cloud.topics.messages[self._read :]
        self._read += len(messages)
        for published in messages:
            message = parse(published.data, published.attributes)
            file = self._waiting.get((message.source.name, message.source.generation))
            if file is not None:
                outcome = self._finish(file, message, published)
                self._waiting.pop((message.source.name, message.source.generation))
                yield outcome

    def _finish(self, file: LocalFile, message: CompletionMessage, published: PublishedMessage) -> FileOutcome:
        """Write down the message, fetch the results, delete the upload."""
        if self._outcomes is not None:
            self._outcomes.write(published.data.decode() + "\n")
            self._outcomes.flush()
        fetched = {output.role: path for output in message.outputs if (path := self._fetch(output))}
        cutout = fetched.get(PRIMARY)
        if cutout and message.outputs[0].content_type.startswith("image/"):
            with suppress(RejectedUpload, OSError):  # the file may have changed or gone since it was uploaded
                self._folder.save_picture(cutout, lambda picture: before_after(file.path, cutout, picture))
        with suppress(NotFound, PreconditionFailed):  # replaced meanwhile: the newer one has its own outcome
            self._uploads.blob(file.name).delete(if_generation_match=int(message.source.generation))
        return FileOutcome(file=file, message=message, results=fetched)

    def _fetch(self, output: Output) -> Path | None:
        """The result's path in the folder; None if a newer result replaced it.

        Its object keeps its name for the whole run, as in the cloud: a later upload cannot take it.
        """
        blob = self._results.blob(output.name, generation=int(output.generation))
        try:
            path = self._folder.save(output.name, blob.download_to_filename)
        except NotFound:
            return None
        self._cloud.store.discard(output.bucket, output.name, int(output.generation))
        return path
