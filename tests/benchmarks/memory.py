"""Peak memory and time of each size of upload, through the real server: python -m tests.benchmarks.memory [--model M]

Peak memory is what the worker process held at most (VmHWM), measured for each upload apart; "added" is what that
upload added. Times are the completion message's own.

--at-once N: N of the hungriest uploads (48 megapixels, 16 bits) at the same time instead, and the peak of the server
with its decoder processes. Give it a limit, by address space or by a group of processes (cgroup version 1 here):

    prlimit --as=8589934592 python -m tests.benchmarks.memory --at-once 12

    group=/sys/fs/cgroup/memory/cutdrop; mkdir $group; echo 8G > $group/memory.limit_in_bytes
    (echo $BASHPID > $group/cgroup.procs; exec python -m tests.benchmarks.memory --at-once 12)
"""

import argparse
import contextlib
import io
import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.table import Table

from function.local import RetryPolicy
from function.local.run.outcomes import console
from tests.benchmarks.large_files import large_files
from tests.service import Service, running

SIZES = ((800, 600), (1200, 1600), (3000, 4000), (1, 1), (20_000, 200), (8000, 6000))
HUNGRIEST = ("png 16 rgba", "tiff 16 rgb deflate", "tiff 16 rgba deflate", "avif 4:4:4 rgba")
STEPS = ("decode", "segment", "matte", "encode", "total")
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """The worker process's memory, in MB."""

    pid: int

    def start(self) -> None:
        """Forget the peak so far."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def read(self, field: str) -> float:
        """VmRSS = now, VmHWM = the peak."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024 / MB


def photograph(width: int, height: int) -> bytes:
    """A JPEG with a subject, soft edges and grain, as a camera writes it."""
    random = np.random.default_rng(0)
    coarse = random.integers(30, 140, (9, 9, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    axes = (max(1, width // 4), max(1, height // 3))
    cv2.ellipse(picture, (width // 2, height // 2), axes, 0, 0, 360, (210, 190, 90), -1, cv2.LINE_AA)
    grain = random.integers(0, 12, (min(height, 512), min(width, 512), 1), np.uint8)
    times = (-(-height // grain.shape[0]), -(-width // grain.shape[1]), 1)
    picture = cv2.add(picture, cv2.merge([np.tile(grain, times)[:height, :width]] * 3))
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def measure(service: Service, worker: Memory, width: int, height: int) -> list[str]:
    name, data = f"{width}x{height}.jpg", photograph(width, height)
    idle = worker.read("VmRSS")
    worker.start()
    service.upload(name, data)
    told = service.outcome(name, timeout=600)
    service.settled()
    peak = worker.read("VmHWM")
    size = told["outputs"][0]["bytes"] if told["outputs"] else 0
    spent = [f"{told['timings_ms'][step]:,.0f}" for step in STEPS]
    outcome = told["code"] or told["status"]
    return [
        f"{width}x{height}",
        outcome,
        f"{len(data) / MB:.2f}",
        f"{size / MB:.2f}",
        *spent,
        f"{peak:,.0f}",
        f"{peak - idle:,.0f}",
    ]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def held(pid: int) -> float:
    """MB of a process and its descendants; what they share counts once (PSS)."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):  # it may end while its memory is read
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{member}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    return total / MB


def peak_of_group() -> str:
    """What the kernel counted for this process's group of processes; empty without one."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kind, path = line.split(":", 2)
        for file in (f"/sys/fs/cgroup{path}/memory.peak", f"/sys/fs/cgroup/memory{path}/memory.max_usage_in_bytes"):
            if kind in ("", "memory") and Path(file).exists():
                return f"; by the kernel's count {int(Path(file).read_text()) / MB:,.0f} MB with store and files' pages"
    return ""


def at_once(service: Service, number: int) -> None:
    files = list(large_files(48, HUNGRIEST))
    measure(service, Memory(family(service.server.pid)[1]), 64, 64)
    idle, peak, workers = held(service.server.pid), 0.0, family(service.server.pid)[1]
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            with contextlib.suppress(OSError):
                peak = max(peak, held(service.server.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    names = [f"{place}-{files[place % len(files)][0]}".replace(" ", "-") for place in range(number)]
    for place, name in enumerate(names):
        service.upload(name, files[place % len(files)][1])
    table = Table("upload", "outcome", "answers", "total ms", box=None)
    for name in names:
        told = service.outcome(name, timeout=900)
        answers = ", ".join(str(status) for status in service.statuses(name))
        table.add_row(name, told["code"] or told["status"], answers, f"{told['timings_ms']['total']:,.0f}")
    done.set()
    watching.join()
    console().print(table)
    same = "the same worker" if family(service.server.pid)[1] == workers else "ANOTHER WORKER: the first one was killed"
    console().print(f"idle {idle:,.0f} MB, peak {peak:,.0f} MB with {number} at once{peak_of_group()}; {same}")
    for line in service.log():
        if line["message"].startswith("memory:"):
            console().print(line["message"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--at-once", type=int, default=0)
    given = parser.parse_args()
    if given.at_once:
        patient = RetryPolicy(first_backoff_s=1, longest_backoff_s=5, max_attempts=100)
        with (
            tempfile.TemporaryDirectory() as folder,
            running(Path(folder) / "log", given.model, retry=patient) as service,
        ):
            at_once(service, given.at_once)
        return
    model = given.model
    table = Table("pixels", "outcome", "upload MB", "result MB", *(f"{step} ms" for step in STEPS), box=None)
    table.add_column("peak MB")
    table.add_column("added MB")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "log", model) as service:
        worker = Memory(int(Path(f"/proc/{service.server.pid}/task/{service.server.pid}/children").read_text()))
        measure(service, worker, 64, 64)  # what every process pays once
        for width, height in SIZES:
            table.add_row(*measure(service, worker, width, height))
    console().print(table)


if __name__ == "__main__":
    main()
