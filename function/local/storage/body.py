"""The bytes of one stored object, in memory or in an unnamed file, with the two checksums of Cloud Storage."""

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO

import google_crc32c

BLOCK = 1 << 20  # bytes per read and write
SPILL_ABOVE = 4 << 20  # bytes; larger bodies go to the spill folder, if there is one


class Body:
    """Append-only bytes. Checksums may be asked for once nothing more is appended.

    With `folder`, anything above SPILL_ABOVE lives in a file there that has no name and disappears with this object.
    """

    def __init__(self, data: bytes = b"", folder: Path | None = None) -> None:
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0
        self.discarded = False
        if data:
            self.append(data)

    def append(self, block: bytes) -> None:
        """Add bytes at the end."""
        self.size += len(block)
        if self._file is None and self._folder is not None and self.size > SPILL_ABOVE:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - lives as long as the body
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += block
        else:
            self._file.write(block)

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes [start, end) in blocks of at most BLOCK bytes; safe from many threads at once."""
        end = self.size if end is None else min(end, self.size)
        for at in range(start, end, BLOCK):
            yield self._read(at, min(at + BLOCK, end))

    def data(self, start: int = 0, end: int | None = None) -> bytes:
        """The bytes [start, end) in one piece."""
        return b"".join(self.blocks(start, end))

    def discard(self) -> None:
        """Free the bytes; size and checksums stay. The bytes cannot be read any more."""
        self.crc32c, self.md5  # noqa: B018 - computed while the bytes are there
        self.discarded = True
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()

    def _read(self, start: int, end: int) -> bytes:
        if self._file is None:
            return bytes(self._memory[start:end])
        return os.pread(self._file.fileno(), end - start, start)

    @cached_property
    def crc32c(self) -> str:
        """CRC32C (Castagnoli), big-endian, base64: the form of the JSON API."""
        checksum = google_crc32c.Checksum()
        for block in self.blocks():
            checksum.update(block)
        return base64.b64encode(checksum.digest()).decode()

    @cached_property
    def md5(self) -> str:
        """MD5, base64: the form of the JSON API."""
        checksum = hashlib.md5(usedforsecurity=False)
        for block in self.blocks():
            checksum.update(block)
        return base64.b64encode(checksum.digest()).decode()


def flipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes with one bit of the first block flipped."""
    remaining = iter(blocks)
    for block in remaining:
        yield bytes([block[0] ^ 1]) + block[1:]
        break
    yield from remaining
