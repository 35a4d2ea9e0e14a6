"""What decoding costs beside its pixels: python -m tests.benchmarks.decoding [memory] [overhead] [hostile]

memory: peak of each format, measured in a process of its own, against the estimate by which uploads share memory.
overhead: the decoder processes against decoding in place, alone and with many at once; memory of an idle process.
hostile: damaged files of every kind, made from a seed: the slowest, the hungriest, and how they end.
"""

import argparse
import collections
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.table import Table

from function.local.run.outcomes import console
from shared.decoder_pool import DecoderPool
from shared.decoding import decode, inspect, read
from shared.errors import RejectedUpload
from shared.memory import decoding_bytes
from tests.benchmarks.large_files import MB, large_files

LIMIT = 10**9  # pixels
RUNS = 7
SEED = 8


def status(field: str, pid: int | str = "self") -> float:
    """MB. VmRSS = now, VmHWM = the peak, RssAnon = not shared with others."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / MB


def peak_of(file: Path) -> dict[str, float]:
    """One file decoded in this process."""
    data = file.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    image = read(inspect(data, max_pixels=LIMIT))
    result = image.rgb.nbytes + (image.alpha.nbytes if image.alpha is not None else 0)
    return {"peak": status("VmHWM") - before, "result": result / MB}


def memory_table(megapixels: float) -> Table:
    table = Table("file", "MB", "result MB", "peak MB", "of the result", "estimate MB", "peak of it", box=None)
    table.title = f"{megapixels:g} megapixels"
    with tempfile.TemporaryDirectory() as folder:
        for name, data in large_files(megapixels):
            file = Path(folder) / "file"
            file.write_bytes(data)
            command = [sys.executable, "-m", "tests.benchmarks.decoding", "--peak-of", str(file)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            estimate = decoding_bytes(inspect(data, max_pixels=LIMIT), len(data)) / MB - len(data) / MB
            table.add_row(
                name,
                f"{len(data) / MB:.1f}",
                f"{told['result']:.0f}",
                f"{told['peak']:.0f}",
                f"{told['peak'] / told['result']:.2f} x",
                f"{estimate:.0f}",
                f"{told['peak'] / estimate:.0%}",
            )
    return table


def best_ms(call, data: bytes) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        call(data, max_pixels=LIMIT)
        times.append((time.perf_counter() - began) * 1000)
    return min(times)


def overhead_table(sizes: list[float]) -> Table:
    table = Table("file", "megapixels", "in place ms", "process ms", "more ms", "allowed ms", box=None)
    pool = DecoderPool(1)
    pool(next(large_files(0.01, ("jpeg",)))[1], max_pixels=LIMIT)
    for megapixels in sizes:
        for name, data in large_files(megapixels, ("jpeg", "png", "webp")):
            here, there = best_ms(decode, data), best_ms(pool, data)
            numbers = (here, there, there - here, 10 + here / 10)
            table.add_row(name, f"{megapixels:g}", *(f"{number:.1f}" for number in numbers))
    pool.stop()
    return table


def throughput_table(megapixels: float) -> Table:
    table = Table("uploads at once", "in place /s", "processes /s", "gain", box=None)
    table.title = f"JPEG and PNG of {megapixels:g} megapixels by turns, {os.cpu_count()} CPUs"
    files = [data for _, data in large_files(megapixels, ("jpeg", "png"))] * 12
    for threads in (4, 12):
        pool = started(min(threads, len(os.sched_getaffinity(0))), files[0])
        rates = []
        for call in (decode, pool):
            began = time.perf_counter()
            with ThreadPoolExecutor(threads) as workers:
                list(workers.map(lambda data, call=call: call(data, max_pixels=LIMIT).width, files))
            rates.append(len(files) / (time.perf_counter() - began))
        pool.stop()
        table.add_row(str(threads), f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{rates[1] / rates[0]:.2f} x")
    return table


IDLE = """
import json, sys, time
from shared.decoder_pool import DecoderPool
pool = DecoderPool(2)
began = time.perf_counter()
pool.start()
returned = time.perf_counter()
pool(sys.stdin.buffer.read(), max_pixels=10**9)
first = time.perf_counter()
lines = open(f"/proc/{pool.pids[0]}/status").read().splitlines()
pairs = [line.split(":") for line in lines if "RSS" in line or "RssAnon" in line]
held = {name: int(text.split()[0]) / 1000 for name, text in pairs}
print(json.dumps({"returned": returned - began, "first": first - began, **held}))
pool.stop()
"""


def idle_line() -> str:
    """Of a program that imports nothing else: a decoder process imports the main module of the program as well."""
    data = next(large_files(0.01, ("jpeg",)))[1]
    done = subprocess.run([sys.executable, "-c", IDLE], input=data, check=True, capture_output=True)
    told = json.loads(done.stdout)
    return (
        f"start() returns after {told['returned'] * 1000:.1f} ms, the first picture is there after "
        f"{told['first'] * 1000:.0f} ms; an idle process holds {told['VmRSS']:.0f} MB, {told['RssAnon']:.0f} MB of it "
        "anonymous and mostly shared with the fork server"
    )


def started(processes: int, data: bytes) -> DecoderPool:
    """A pool all of whose processes have decoded something."""
    pool = DecoderPool(processes)
    while len(pool.pids) < processes:
        with ThreadPoolExecutor(processes * 2) as threads:
            list(threads.map(lambda _: pool(data, max_pixels=LIMIT).width, range(processes * 4)))
    return pool


def damaged(count: int):
    """Files of every kind with bytes changed, cut out, repeated or cut off, the same ones every time."""
    random = np.random.default_rng(SEED)
    whole = list(large_files(0.3))
    for number in range(count):
        name, data = whole[number % len(whole)]
        changed = bytearray(data)
        for _ in range(random.integers(1, 12)):
            header = random.random() < 0.7
            at = int(random.integers(0, min(len(changed), 600) if header else len(changed)))
            action = random.integers(0, 4)
            if action == 0:
                changed[at] = int(random.integers(0, 256))
            elif action == 1:
                changed[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"])
            elif action == 2:
                del changed[at : at + int(random.integers(1, 40))]
            else:
                changed[at:at] = changed[at : at + int(random.integers(1, 4000))]
        yield name, bytes(changed)


def hostile_table(count: int) -> Table:
    """Time and memory of each file are those of its decoder process."""
    table = Table("outcome", "files", "slowest ms", "hungriest MB", "of which format", box=None)
    pool = DecoderPool(1, timeout_s=20)
    pool(next(large_files(0.01, ("jpeg",)))[1], max_pixels=LIMIT)
    outcomes: dict[str, list[tuple[float, float, str]]] = collections.defaultdict(list)
    for name, data in damaged(count):
        pid = pool.pids[0]
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        idle, began = status("VmRSS", pid), time.perf_counter()
        try:
            estimate = decoding_bytes(inspect(data, max_pixels=50 * MB), len(data))
            pool(data, max_pixels=50 * MB, memory=estimate)
            outcome = "a picture"
        except RejectedUpload as error:
            outcome = error.code
        spent = (time.perf_counter() - began) * 1000
        held = status("VmHWM", pid) - idle if pool.pids == [pid] else 0.0
        outcomes[outcome].append((spent, held, name))
        if pool.pids != [pid]:
            outcomes[outcome + ", its process ended"].append((spent, held, name))
            pool(next(large_files(0.01, ("jpeg",)))[1], max_pixels=LIMIT)
    pool.stop()
    for outcome, files in sorted(outcomes.items()):
        slowest, hungriest = max(files), max(files, key=lambda file: file[1])
        names = f"{slowest[2]}, {hungriest[2]}"
        table.add_row(outcome, str(len(files)), f"{slowest[0]:.0f}", f"{hungriest[1]:.0f}", names)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["memory", "overhead", "hostile"])
    parser.add_argument("--megapixels", type=float, nargs="*", default=[])
    parser.add_argument("--files", type=int, default=1000, help="damaged files")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak_of:
        print(json.dumps(peak_of(given.peak_of)))
        return
    if "memory" in given.what:
        for megapixels in given.megapixels or [12, 48]:
            console().print(memory_table(megapixels))
    if "overhead" in given.what:
        console().print(idle_line())
        console().print(overhead_table(given.megapixels or [0.5, 2, 12, 48]))
        console().print(throughput_table(2))
    if "hostile" in given.what:
        console().print(hostile_table(given.files))
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        console().print(f"seconds of CPU in decoder processes: {spent.ru_utime + spent.ru_stime:.1f}")


if __name__ == "__main__":
    main()
