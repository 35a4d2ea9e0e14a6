"""Cloud Storage and Pub/Sub as this service uses them. Only this module and `archive` import the vendor's clients.

Both adapters are made in the worker process, after the server forked: `connect` opens the client. The clients' errors
are translated here into this product's, the most specific first; every wait ends well before the request's time budget.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

import requests
import urllib3
from google.api_core import exceptions, retry
from google.api_core.timeout import ConstantTimeout
from google.auth import exceptions as auth_exceptions
from google.cloud import pubsub_v1, storage
from google.cloud.pubsub_v1.publisher.exceptions import MessageTooLargeError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from function.refusals import Refusal
from function.transfer import Sink, unpacked
from shared.errors import (
    CutdropError,
    OutputRefused,
    PreconditionFailed,
    PublisherUnavailable,
    SourceUnreadable,
    StorageUnavailable,
    UploadMissing,
)
from shared.messages import serialise
from shared.records import EncodedImage, StoredObject, Upload
from shared.subscriber.messages import CompletionMessage

TIMEOUT_S = (5.0, 20.0)  # to connect; between two pieces of an answer
STORAGE_DEADLINE_S = 45.0  # after which a storage request is not tried again
SHORT_TIMEOUT_S = (2.0, 5.0)  # the same for a request that the service can do without
DOWNLOAD_DEADLINE_S = 120.0  # after which a download is given up, however steadily it trickles
PUBLISH_DEADLINE_S = 30.0  # after which a message counts as not taken
PUBLISH_ATTEMPT_S = 10.0  # one attempt of it

# Everything that the storage client lets out when a request, its transport or its credentials fail.
STORAGE_ERRORS = (
    exceptions.GoogleAPIError,
    auth_exceptions.GoogleAuthError,
    DataCorruption,
    InvalidResponse,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
PUBLISH_RETRIED = (
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
)
PUBLISH_ERRORS = (
    exceptions.GoogleAPIError,
    auth_exceptions.GoogleAuthError,
    MessageTooLargeError,
    TimeoutError,
    RuntimeError,  # the client is stopped
    AssertionError,  # another thread's message failed a moment ago and the client has not cleared its batch yet
)


def storage_client(concurrency: int) -> storage.Client:
    """A client for `concurrency` threads, or for the emulator that STORAGE_EMULATOR_HOST names."""
    # Else the client asks for each bucket's metadata in the background: the service has no permission for that.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    client = storage.Client()
    adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=concurrency)
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, adapter)
    return client


class GcsObjectStore:
    """Uploads are read from any bucket, at their generation; results are kept in `output_bucket`.

    deadline_s: after which a failing request is not tried again. download_s: the longest download.
    """

    def __init__(
        self,
        client: storage.Client,
        output_bucket: str,
        *,
        deadline_s: float = STORAGE_DEADLINE_S,
        download_s: float = DOWNLOAD_DEADLINE_S,
    ) -> None:
        self._client = client
        self._output_bucket = output_bucket
        self._download_s = download_s
        self._retry = DEFAULT_RETRY.with_timeout(deadline_s).with_delay(initial=0.2, maximum=5.0, multiplier=2.0)

    @classmethod
    def connect(cls, output_bucket: str, *, concurrency: int, deadline_s: float = STORAGE_DEADLINE_S) -> Self:
        """Open a client whose connection pool serves `concurrency` threads without opening connections anew."""
        return cls(storage_client(concurrency), output_bucket, deadline_s=deadline_s)

    def close(self) -> None:
        """Close the connections; the store is of no use afterwards."""
        self._client.close()

    def read(self, upload: Upload, *, max_bytes: int) -> bytes:
        """All bytes of exactly this generation, without their transfer encoding, checked against the store's checksum.

        UploadMissing if the generation is gone, SourceUnreadable if the store will never give it, UploadTooLarge above
        max_bytes (never held in memory), CorruptImage if the object claims to be gzip and cannot be unpacked.
        """
        blob = self._client.bucket(upload.bucket).blob(upload.name, generation=upload.generation)
        sink = Sink(max_bytes, time.monotonic() + self._download_s, upload.uri)
        with storage_errors(upload.uri, missing=UploadMissing, refused=SourceUnreadable):
            # Our own checksum: the client checks none of a download that it had to resume.
            blob.download_to_file(sink, raw_download=True, checksum=None, timeout=TIMEOUT_S, retry=self._retry)
        data = sink.verified(blob.crc32c)
        return unpacked(data, max_bytes, upload.uri) if blob.content_encoding == "gzip" else data

    def look_up(self, upload: Upload) -> Upload:
        """The same generation with size, content type and metadata filled in. UploadMissing if it is gone."""
        blob = self._get(upload.bucket, upload.name, upload.generation, refused=SourceUnreadable)
        if blob is None:
            raise UploadMissing(f"{upload.uri}#{upload.generation}")
        return replace(
            upload, size=blob.size or 0, content_type=blob.content_type or "", metadata=dict(blob.metadata or {})
        )

    def live_generation(self, bucket: str, name: str) -> int | None:
        """The generation that is live under this name now; None if there is none."""
        blob = self._get(bucket, name, refused=SourceUnreadable)
        return None if blob is None else int(blob.generation)

    def find(self, name: str) -> StoredObject | None:
        """What the output bucket holds under this name; None if nothing."""
        blob = self._get(self._output_bucket, name, refused=OutputRefused)
        return None if blob is None else _stored(blob)

    def write(
        self, name: str, image: EncodedImage, metadata: Mapping[str, str], *, if_generation_match: int
    ) -> StoredObject:
        """Store a result over exactly the generation that was seen (0 = none). PreconditionFailed on any other.

        A lost answer is asked for again, and that second request may be the one that fails: PreconditionFailed says
        only that something else is there now, perhaps this very result. OutputRefused if the store will never take it.
        """
        blob = self._client.bucket(self._output_bucket).blob(name)
        blob.metadata = dict(metadata)
        with storage_errors(f"gs://{self._output_bucket}/{name}", refused=OutputRefused):
            blob.upload_from_string(
                image.data,
                content_type=image.content_type,
                if_generation_match=if_generation_match,
                checksum="crc32c",
                timeout=TIMEOUT_S,
                retry=self._retry,
            )
        return _stored(blob)

    def read_text(self, name: str, *, bucket: str = "") -> str | None:
        """A small object's text; None if there is none. bucket: '' = the output bucket."""
        blob = self._client.bucket(bucket or self._output_bucket).blob(name)
        try:
            with storage_errors(f"gs://{blob.bucket.name}/{name}", missing=UploadMissing):
                return str(blob.download_as_text(encoding="utf-8", timeout=TIMEOUT_S, retry=self._retry))
        except UploadMissing:
            return None

    def write_text(self, name: str, text: str, *, best_effort: bool = False) -> None:
        """Store a small text in the output bucket, over what is there. best_effort: try once, give up soon."""
        blob = self._client.bucket(self._output_bucket).blob(name)
        timeout, again = (SHORT_TIMEOUT_S, None) if best_effort else (TIMEOUT_S, self._retry)
        with storage_errors(f"gs://{self._output_bucket}/{name}"):
            blob.upload_from_string(text, content_type="application/json", timeout=timeout, retry=again)

    def _get(
        self, bucket: str, name: str, generation: int | None = None, *, refused: type[CutdropError]
    ) -> storage.Blob | None:
        """An object's metadata; None if there is no such object."""
        blob = self._client.bucket(bucket).blob(name, generation=generation)
        try:
            with storage_errors(f"gs://{bucket}/{name}", missing=UploadMissing, refused=refused):
                blob.reload(timeout=TIMEOUT_S, retry=self._retry)
        except UploadMissing:
            return None
        return blob


class PubSubPublisher:
    """Completion messages to one topic, one at a time.

    topic: projects/PROJECT/topics/TOPIC. deadline_s: after which a message counts as not taken.
    """

    def __init__(
        self, client: pubsub_v1.PublisherClient, topic: str, *, deadline_s: float = PUBLISH_DEADLINE_S
    ) -> None:
        self._client = client
        self._topic = topic
        self._deadline_s = deadline_s
        self._retry = retry.Retry(
            predicate=retry.if_exception_type(*PUBLISH_RETRIED),
            initial=0.1,
            maximum=5.0,
            multiplier=2.0,
            timeout=deadline_s,
        )

    @classmethod
    def connect(cls, topic: str, *, deadline_s: float = PUBLISH_DEADLINE_S) -> "PubSubPublisher":
        """Open a client that sends each message at once: a batch would only add its waiting time."""
        at_once = pubsub_v1.types.BatchSettings(max_messages=1, max_latency=0)
        client = pubsub_v1.PublisherClient(batch_settings=at_once)
        return cls(client, topic, deadline_s=deadline_s)

    def close(self) -> None:
        """Send what is under way and close the channel; the publisher is of no use afterwards."""
        self._client.stop()
        self._client.transport.close()

    def publish(self, message: CompletionMessage) -> None:
        """Return only when the topic has taken the message. PublisherUnavailable otherwise."""
        data, attributes = serialise(message)
        attempt = ConstantTimeout(min(PUBLISH_ATTEMPT_S, self._deadline_s))
        try:
            future = self._client.publish(self._topic, data, retry=self._retry, timeout=attempt, **attributes)
            future.result(timeout=self._deadline_s + PUBLISH_ATTEMPT_S)
        except PUBLISH_ERRORS as error:
            raise PublisherUnavailable(f"{self._topic}: {_brief(error)}") from error


@contextmanager
def storage_errors(
    uri: str,
    *,
    missing: type[CutdropError] = StorageUnavailable,
    refused: type[CutdropError] = StorageUnavailable,
) -> Iterator[None]:
    """Translate the client's errors. missing: what 404 becomes; refused: what a refusal becomes that is final."""
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        refusal = _refusal(error)
        if refusal.final:
            raise refused(f"Cloud Storage refuses {uri}: {refusal}") from error
        if isinstance(error, exceptions.NotFound):
            raise missing(f"{uri}: {refusal}") from error
        if isinstance(error, exceptions.PreconditionFailed):
            raise PreconditionFailed(uri) from error
        raise StorageUnavailable(f"{uri}: {refusal}") from error
    except STORAGE_ERRORS as error:
        raise StorageUnavailable(f"{uri}: {_brief(error)}") from error


def _refusal(error: exceptions.GoogleAPICallError) -> Refusal:
    body = getattr(error.response, "text", None)
    return Refusal.of(int(error.code or 0), error.message if body is None else body)


def _brief(error: BaseException) -> str:
    """One line about an error: the client puts complete answers into its messages."""
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        error = error.cause
    if isinstance(error, InvalidResponse):
        return f"HTTP status {error.response.status_code}"
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first[:300]}" if first else type(error).__name__


def _stored(blob: storage.Blob) -> StoredObject:
    return StoredObject(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=int(blob.generation),
        content_type=blob.content_type or "",
        size=int(blob.size or 0),
        crc32c=blob.crc32c or "",
        created=blob.time_created or datetime.fromtimestamp(0, UTC),
        metadata=dict(blob.metadata or {}),
    )
