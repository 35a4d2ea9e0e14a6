"""Cloud Storage as a backfill uses it: listings, and small texts in the output bucket."""

from collections.abc import Iterator

from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from function.cloud import STORAGE_DEADLINE_S, TIMEOUT_S, storage_client, storage_errors
from shared.errors import UploadMissing
from shared.records import Upload


class GcsArchive:
    """What a backfill needs beside uploads and results: listings, and small texts in the output bucket."""

    def __init__(self, client: storage.Client, output_bucket: str) -> None:
        self._client = client
        self._output_bucket = output_bucket
        self._retry = DEFAULT_RETRY.with_timeout(STORAGE_DEADLINE_S)

    @classmethod
    def connect(cls, output_bucket: str) -> "GcsArchive":
        return cls(storage_client(1), output_bucket)

    def uploads(self, bucket: str, *, prefix: str, after: str) -> Iterator[Upload]:
        """Live objects in the order of their names, from the first one after `after` on, page by page."""
        with storage_errors(f"gs://{bucket}"):
            for blob in self._client.list_blobs(
                bucket,
                prefix=prefix or None,
                start_offset=after or None,
                fields="items(name,generation,size,contentType,metadata,timeCreated),nextPageToken",
                timeout=TIMEOUT_S,
                retry=self._retry,
            ):
                if blob.name != after:  # the offset itself is listed too
                    yield _upload(bucket, blob)

    def read_text(self, name: str, *, bucket: str = "") -> str | None:
        """A small object's text; None if there is none. bucket: '' = the output bucket."""
        blob = self._client.bucket(bucket or self._output_bucket).blob(name)
        try:
            with storage_errors(f"gs://{blob.bucket.name}/{name}", missing=UploadMissing):
                return str(blob.download_as_text(encoding="utf-8", timeout=TIMEOUT_S, retry=self._retry))
        except UploadMissing:
            return None

    def write_text(self, name: str, text: str) -> None:
        """Into the output bucket, over whatever is there."""
        blob = self._client.bucket(self._output_bucket).blob(name)
        with storage_errors(f"gs://{self._output_bucket}/{name}"):
            blob.upload_from_string(text, content_type="application/json", timeout=TIMEOUT_S, retry=self._retry)


def _upload(bucket: str, blob: storage.Blob) -> Upload:
    return Upload(
        bucket=bucket,
        name=blob.name,
        generation=int(blob.generation),
        size=int(blob.size or 0),
        content_type=blob.content_type or "",
        metadata=dict(blob.metadata or {}),
        event_time=blob.time_created.isoformat().replace("+00:00", "Z") if blob.time_created else "",
    )
