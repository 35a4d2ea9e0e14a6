"""Files in, outcomes out: uploads with the official client, follows the topic, fetches the results."""

import mimetypes
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from function.local import LocalCloud, PublishedMessage
from function.local.run.files import LocalFile
from function.local.run.pictures import before_after
from shared.errors import RejectedUpload
from shared.messages import CompletionMessage, parse

MOST_AT_ONCE = 32  # uploads without an outcome: bounds what the local store holds
PAUSE_S = 0.05  # between two looks at the topic
END = object()  # of the files


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file."""

    file: LocalFile
    message: CompletionMessage
    result: Path | None = None


class LocalRun:
    """Takes files through a local cloud that a server is connected to.

    out: folder for results, each with a picture of before and after. outcomes: takes one message per line, as JSON.
    metadata: custom metadata of every upload. alive: raises when the server is gone.
    patience_s: how long no outcome may come before what is left is given up.
    """

    def __init__(
        self,
        cloud: LocalCloud,
        *,
        out: Path,
        outcomes: TextIO | None = None,
        metadata: Mapping[str, str] | None = None,
        alive: Callable[[], None] = lambda: None,
        patience_s: float = 900,
    ) -> None:
        self._cloud, self._out, self._outcomes = cloud, out.resolve(), outcomes
        self._metadata, self._alive, self._patience_s = dict(metadata or {}), alive, patience_s
        client = storage.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.store.url}
        )
        client._http.trust_env = False  # a proxy is of no use on loopback
        self._uploads, self._results = client.bucket(cloud.upload_bucket), client.bucket(cloud.output_bucket)
        self._waiting: dict[tuple[str, str], LocalFile] = {}  # object name and generation -> file
        self._read = 0  # messages looked at

    def __call__(self, files: Iterable[LocalFile | None]) -> Iterator[Outcome]:
        """The outcome of each file, as they come; a None among the files means that there is nothing to upload now.

        Ends early where no outcome came for `patience_s`; see `left`.
        """
        queue, last = iter(files), time.monotonic()
        while self._fill(queue) or self._waiting:
            for outcome in self.arrived():
                yield outcome
                last = time.monotonic()
            if not self._waiting:
                last = time.monotonic()
            if time.monotonic() - last > self._patience_s:
                return
            self._alive()
            time.sleep(PAUSE_S)

    @property
    def left(self) -> list[LocalFile]:
        """Files that were uploaded and have no outcome yet."""
        return list(self._waiting.values())

    def upload(self, file: LocalFile) -> None:
        blob = self._uploads.blob(file.name)
        blob.metadata = self._metadata
        blob.upload_from_filename(file.path, content_type=mimetypes.guess_type(file.name)[0])
        self._waiting[file.name, str(blob.generation)] = file

    def arrived(self) -> Iterator[Outcome]:
        """Outcomes that came since the last call; repeated messages are one outcome."""
        messages = self._cloud.topics.messages[self._read :]
        self._read += len(messages)
        for published in messages:
            message = parse(published.data, published.attributes)
            file = self._waiting.pop((message.source.name, message.source.generation), None)
            if file is not None:
                yield self._settle(file, message, published)

    def _fill(self, queue: Iterator[LocalFile | None]) -> bool:
        """Upload files until MOST_AT_ONCE wait for their outcome; whether there may be more."""
        while len(self._waiting) < MOST_AT_ONCE:
            file = next(queue, END)
            if file is END:
                return False
            if not isinstance(file, LocalFile):
                return True
            self.upload(file)
        return True

    def _settle(self, file: LocalFile, message: CompletionMessage, published: PublishedMessage) -> Outcome:
        if self._outcomes is not None:
            self._outcomes.write(published.data.decode() + "\n")
            self._outcomes.flush()
        result = self._fetch(file, message) if message.outputs else None
        with suppress(NotFound, PreconditionFailed):  # replaced meanwhile: the newer one has its own outcome
            self._uploads.blob(file.name).delete(if_generation_match=int(message.source.generation))
        return Outcome(file=file, message=message, result=result)

    def _fetch(self, file: LocalFile, message: CompletionMessage) -> Path | None:
        """The result's path below `out`, stored and taken out of the bucket; None where a newer one replaced it."""
        output = message.outputs[0]
        path = (self._out / output.name).resolve()
        if not path.is_relative_to(self._out):
            raise ValueError(f"{output.name} would be written outside {self._out}")
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = self._results.blob(output.name, generation=int(output.generation))
        try:
            blob.download_to_filename(path)
            blob.delete()
        except NotFound:
            return None
        if output.content_type.startswith("image/"):
            with suppress(RejectedUpload, OSError):  # the file may have changed or gone since it was uploaded
                before_after(file.path, path, path.with_name(f"{path.stem}.before-after.png"))
        return path
