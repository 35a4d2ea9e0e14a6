"""What a backfill processes: a bucket's listing or a manifest, in shards, and what that takes."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from shared.errors import SettingsError
from shared.records import Upload


@dataclass(frozen=True, slots=True)
class Item:
    """One object to process. cursor: its position in the work list; later objects have larger ones."""

    cursor: str
    upload: Upload


class WorkList(Protocol):
    """What a job processes."""

    def items(self, after: str) -> Iterator[Item]:
        """What comes after this cursor ('' = everything), always in the same order."""

    def buckets(self) -> set[str]:
        """Every bucket that it names."""

    def identity(self) -> str:
        """Equal for equal lists, 16 hexadecimal digits: cursors of another list mean nothing in this one."""

    def unknown(self) -> str:
        """What an estimate from it cannot know."""


class Archive(Protocol):
    """A bucket's live objects."""

    def uploads(self, bucket: str, *, prefix: str, after: str) -> Iterator[Upload]:
        """In the order of their names, from the first one after `after` on."""


@dataclass(frozen=True, slots=True)
class BucketListing:
    """A bucket in the order of its names."""

    archive: Archive
    bucket: str
    prefix: str

    def items(self, after: str) -> Iterator[Item]:
        for upload in self.archive.uploads(self.bucket, prefix=self.prefix, after=after):
            yield Item(upload.name, upload)

    def buckets(self) -> set[str]:
        return {self.bucket}

    def identity(self) -> str:
        return _identity("listing", self.bucket, self.prefix)

    def unknown(self) -> str:
        return "which of them have their result already"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of a work list. Names hash to the same part in every run, on every machine."""

    index: int = 0
    count: int = 1

    def holds(self, upload: Upload) -> bool:
        digest = hashlib.sha256(f"{upload.bucket}/{upload.name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A CSV file of bucket,name,generation, with any line ends; a first line of those words is a heading."""

    text: str

    def items(self, after: str) -> Iterator[Item]:
        """SettingsError at a line that is none of the three."""
        # newline="": only CR, LF and CRLF end a line, not the other separators that str.splitlines knows
        lines = csv.reader(io.StringIO(self.text.removeprefix("\N{BYTE ORDER MARK}"), newline=""))
        for number, fields in enumerate(lines, start=1):
            cursor = f"{number:012d}"
            if not fields or cursor <= after or (number == 1 and fields[0].strip() == "bucket"):
                continue
            if len(fields) < 3 or not re.fullmatch(r"[0-9]{1,19}", fields[2].strip()):
                raise SettingsError(f"line {lines.line_num} of the manifest is not bucket,name,generation")
            # size and type are left out: the handler looks them up, and with them the object's own options
            yield Item(cursor, Upload(bucket=fields[0].strip(), name=fields[1], generation=int(fields[2])))

    def buckets(self) -> set[str]:
        return {item.upload.bucket for item in self.items("")}

    def identity(self) -> str:
        return _identity("manifest", self.text)

    def unknown(self) -> str:
        return "sizes, which objects still exist, and which have their result already"


def _identity(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an estimate is computed from."""

    seconds_per_image: float
    tasks: int
    task_hour: float  # price of one task (GPU, processors and memory) for an hour


def estimate(work: WorkList, prices: Prices) -> str:
    """How many, how long, how much, and what is not known. The cold start of each task is not counted."""
    count = size = 0
    for item in work.items(""):
        count += 1
        size += item.upload.size
    hours = count * prices.seconds_per_image / 3600
    return (
        f"{count} objects{f', {size / 1e9:.2f} GB' if size else ''}: at {prices.seconds_per_image:g} s an image "
        f"{hours:.2f} task hours, {hours / prices.tasks:.2f} h with {prices.tasks} tasks, "
        f"{hours * prices.task_hour:.2f} at {prices.task_hour:g} a task hour; not known: {work.unknown()}"
    )
