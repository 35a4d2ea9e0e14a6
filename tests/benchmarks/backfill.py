"""A backfill of many objects by several tasks, one of which is killed twice: was each object processed once?

python -m tests.benchmarks.backfill [--objects 1000] [--tasks 4] [--model embedded]
"""

import argparse
import os
import signal
import time

from function.local import LocalCloud
from tests.backfilling import Archive, finish, start
from tests.conftest import photo

KINDS = ("JPEG", "PNG", "WEBP")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--model", default=os.environ.get("MODEL", "embedded"))
    given = parser.parse_args()
    with LocalCloud() as cloud:
        archive = Archive(cloud)
        for number in range(given.objects):
            archive.put(f"{number % 10}/{number:05d}.jpg", photo(seed=number, kind=KINDS[number % 3]))
        began = time.monotonic()
        statuses = backfill(cloud, archive, given.objects, given.tasks, given.model)
        print(f"{given.objects} objects, {given.tasks} tasks: {time.monotonic() - began:.0f} s, statuses {statuses}")
        audit = archive.audit()
        print(audit)
    once = audit.with_an_outcome == audit.objects and not (audit.results_written_twice or audit.objects_with_two_keys)
    print("each object once" if once and not any(statuses) else "NOT each object once")
    return 0 if once and not any(statuses) else 1


def backfill(cloud: LocalCloud, archive: Archive, objects: int, count: int, model: str) -> list[int]:
    """Exit statuses of all tasks. The first task is killed at a tenth and at a third of the work, and started again."""
    arguments = ("--bucket", cloud.upload_bucket)
    tasks = [start(cloud, *arguments, index=index, count=count, MODEL=model) for index in range(count)]
    for share in (0.1, 0.33):
        archive.wait_for_results(int(objects * share), timeout=1800)
        tasks[0].send_signal(signal.SIGKILL)
        status, _ = finish(tasks[0])
        print(f"task 0 killed after {sum(archive.written.values())} results (status {status}), started again")
        tasks[0] = start(cloud, *arguments, index=0, count=count, MODEL=model)
    return [finish(task, timeout=3600)[0] for task in tasks]


if __name__ == "__main__":
    raise SystemExit(main())
