"""What a backfill processes: a bucket's listing or a manifest, in shards, and what that takes."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
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
    def items(self, after: str) -> Iterator[Item]:
        """What comes after this cursor ('' = everything), always in the same order."""


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
    """A CSV file of bucket,name,generation; a first line of those words is a heading."""

    text: str

    def items(self, after: str) -> Iterator[Item]:
        for number, fields in enumerate(csv.reader(self.text.splitlines()), start=1):
            cursor = f"{number:012d}"
            if not fields or cursor <= after or (number == 1 and fields[0] == "bucket"):
                continue
            if len(fields) < 3 or not fields[2].strip().isdecimal():
                raise SettingsError(f"line {number} of the manifest is not bucket,name,generation")
            # size and type are left out: the handler looks them up, and with them the object's own options
            yield Item(cursor, Upload(bucket=fields[0].strip(), name=fields[1], generation=int(fields[2])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an estimate is computed from."""

    seconds_per_image: float
    tasks: int
    task_hour: float  # price of one task (GPU, processors and memory) for an hour


def estimate(items: Iterable[Item], prices: Prices) -> str:
    """How many, how long, how much. The cold start of each task is not counted."""
    count = size = 0
    for item in items:
        count += 1
        size += item.upload.size
    hours = count * prices.seconds_per_image / 3600
    return (
        f"{count} objects, {size / 1e9:.2f} GB: at {prices.seconds_per_image:g} s an image {hours:.2f} task hours, "
        f"{hours / prices.tasks:.2f} h with {prices.tasks} tasks, {hours * prices.task_hour:.2f} at "
        f"{prices.task_hour:g} a task hour"
    )
