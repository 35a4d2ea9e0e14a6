"""Downloaded bytes: limited in number and time, checked against their checksum, unpacked."""

import base64
import io
import time
import zlib

import google_crc32c

from shared.errors import CorruptImage, StorageUnavailable, UploadTooLarge

GZIP_MAGIC = b"\x1f\x8b"


class Sink:
    """Takes a download, never more than `limit` bytes of it and nothing after `end` (time.monotonic())."""

    def __init__(self, limit: int, end: float, uri: str) -> None:
        self._limit, self._end, self._uri = limit, end, uri
        self._data = io.BytesIO()
        self._checksum = google_crc32c.Checksum()

    def write(self, block: bytes) -> int:
        if self._data.tell() + len(block) > self._limit:
            raise UploadTooLarge(f"{self._uri} has more than {self._limit} bytes")
        if time.monotonic() > self._end:
            raise StorageUnavailable(f"{self._uri}: the download took too long")
        self._checksum.update(block)
        return self._data.write(block)

    def verified(self, expected: str | None) -> bytes:
        """All bytes. StorageUnavailable if their CRC32C is not the expected one (base64; None = not known)."""
        if expected is not None and base64.b64encode(self._checksum.digest()).decode() != expected:
            raise StorageUnavailable(f"{self._uri}: the downloaded bytes do not have the stored checksum {expected}")
        return self._data.getvalue()  # shares the buffer: no second copy of a large upload


def unpacked(data: bytes, max_bytes: int, uri: str) -> bytes:
    """Content of an object that is stored as gzip. UploadTooLarge above max_bytes, CorruptImage if it is damaged."""
    if not data.startswith(GZIP_MAGIC):
        return data  # uploaders set the header on plain images too
    plain = bytearray()
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            plain += unpacker.decompress(data, max_bytes + 1 - len(plain))
        except zlib.error as error:
            raise CorruptImage(f"{uri} is stored as gzip and cannot be unpacked: {error}") from error
        if len(plain) > max_bytes:
            raise UploadTooLarge(f"{uri} has more than {max_bytes} bytes when unpacked")
        if not unpacker.eof:
            raise CorruptImage(f"{uri} is stored as gzip and cut short")
        data = unpacker.unused_data
    return bytes(plain)
