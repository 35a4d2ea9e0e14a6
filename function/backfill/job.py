"""Objects that were in a bucket before the service: the same handler, over a listing or a manifest.

    python -m function.backfill --bucket BUCKET [--prefix P]         one task, or the task that Cloud Run says this is
    python -m function.backfill --manifest FILE.csv                  lines of bucket,name,generation
    python -m function.backfill --bucket BUCKET --dry-run            counts; estimates time and cost

Each task takes the objects whose name hashes to its index. It stores in the output bucket up to where every object has
its outcome. A task that was stopped (by its time limit, by SIGTERM, by a crash) continues from there when Cloud Run
starts it again. Objects that were being processed then are processed again, and found done: the handler is idempotent.

Exit status: 0 = every object of the shard has its outcome; 75 = stopped before its end, start again; 1 = cannot start.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from function import logs
from function.backfill.archive import GcsArchive
from function.backfill.task import UNFINISHED, Task
from function.backfill.worklist import BucketListing, Manifest, Prices, Shard, WorkList, estimate
from function.settings import Settings
from shared.errors import CutdropError, RetryLater, SettingsError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bucket", help="every live object of this bucket")
    source.add_argument("--manifest", help="a CSV file of bucket,name,generation: a path or gs://bucket/name")
    parser.add_argument("--prefix", default="", help="with --bucket: only names that begin with this")
    parser.add_argument("--job", default=os.environ.get("CLOUD_RUN_EXECUTION", "backfill"), help="remember under this")
    parser.add_argument(
        "--minutes", type=float, default=50.0, help="begin no further object after this; GPU tasks end at 60"
    )
    parser.add_argument("--dry-run", action="store_true", help="count and estimate; process nothing")
    parser.add_argument("--seconds-per-image", type=float, default=0.5, help="for the estimate")
    parser.add_argument("--tasks", type=int, default=1, help="for the estimate")
    parser.add_argument("--task-hour", type=float, default=1.55, help="for the estimate: price of a task for an hour")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_level)
        archive = GcsArchive.connect(settings.output_bucket, concurrency=1)
        work = _work_list(given, settings, archive)
        if given.dry_run:
            prices = Prices(seconds_per_image=given.seconds_per_image, tasks=given.tasks, task_hour=given.task_hour)
            print(estimate(work, prices))
            return 0
        return _run(given, settings, archive, work)
    except CutdropError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNFINISHED if isinstance(error, RetryLater) else 1


def _run(given: argparse.Namespace, settings: Settings, archive: GcsArchive, work: WorkList) -> int:
    shard = Shard(int(os.environ.get("CLOUD_RUN_TASK_INDEX", "0")), int(os.environ.get("CLOUD_RUN_TASK_COUNT", "1")))
    from function import wiring  # seconds of imports that a dry run does not need

    cutter = wiring.build_cutter(settings)
    drained = threading.Event()
    maker = wiring.build_maker(settings, cutter, wiring.build_decoder(settings))
    handler = wiring.build_handler(settings, maker, stopping=drained.is_set)
    memory = _ObjectMemory(archive, f"{settings.output_prefix}.backfill/{given.job}/{work.identity()}/{shard}.json")
    task = Task(handler, work, shard, memory, threads=settings.concurrency, seconds=given.minutes * 60)

    def on_sigterm(_number: int, _frame: object) -> None:
        task.stop()
        threading.Timer(6.0, drained.set).start()  # Cloud Run kills 10 s after SIGTERM

    signal.signal(signal.SIGTERM, on_sigterm)
    return task.run()


def _work_list(given: argparse.Namespace, settings: Settings, archive: GcsArchive) -> WorkList:
    """SettingsError if it cannot be read, or names a bucket whose objects the handler would ignore."""
    work = BucketListing(archive, given.bucket, given.prefix) if given.bucket else _manifest(given.manifest, archive)
    for bucket in sorted(work.buckets()):
        if not settings.takes_uploads_from(bucket):
            raise SettingsError(f"bucket {bucket}: UPLOAD_BUCKETS does not list it, or results are written to it")
    return work


def _manifest(place: str, archive: GcsArchive) -> Manifest:
    """From a path or gs://bucket/name."""
    try:
        if place.startswith("gs://"):
            bucket, _, name = place.removeprefix("gs://").partition("/")
            text = archive.read_text(name, bucket=bucket)
        else:
            text = Path(place).read_bytes().decode()  # read_text would change line ends inside names
    except OSError as error:
        raise SettingsError(f"{place}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{place} is not UTF-8 text") from error
    if text is None:
        raise SettingsError(f"{place} does not exist")
    return Manifest(text=text)


@dataclass(frozen=True, slots=True)
class _ObjectMemory:
    """A task's state as an object in the output bucket."""

    archive: GcsArchive
    name: str

    def recall(self) -> Mapping[str, object]:
        text = self.archive.read_text(self.name)
        if text is None:
            return {}
        state = json.loads(text)
        return state if isinstance(state, dict) else {}

    def remember(self, state: Mapping[str, object]) -> None:
        self.archive.write_text(self.name, json.dumps(state))
