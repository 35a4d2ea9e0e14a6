"""Cloud Storage as a backfill uses it: also listings."""

from collections.abc import Iterator

from google.cloud import storage

from function.cloud import TIMEOUT_S, GcsObjectStore, storage_errors
from shared.records import Upload


class GcsArchive(GcsObjectStore):
    """The object store, with the listing of a bucket."""

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
