"""How long the server takes to be ready: python -m tests.benchmarks.startup [--model M] [--runs N] [--before REVISION]

Ready is from the start of the process to 200 from /startup, with the weights loaded and one image cut; processor time
is that of all its processes. The second table is one process that takes the server's steps one by one. With `--before`,
that revision of this repository is checked out beside this one and started in turn with it, in the same environment.
"""

import argparse
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests
from rich.table import Table

from function.local import LocalCloud
from function.local.run.outcomes import console

ROOT = Path(__file__).parents[2]
STEPS = {
    "torch": "import torch",
    "network": "import shared.models.birefnet",
    "Cloud Storage, Pub/Sub": "import function.cloud",
    "HTTP server, framework": "import gunicorn.app.wsgiapp, gunicorn.workers.gthread, functions_framework",
    "the rest of the service": "import function.main as service",
    "weights": "service.cutter()",
    "handler": "service.deliveries()",
    "first image": "service.wiring.warm_up(service.cutter(), service.settings().options)",
}


class Start(NamedTuple):
    ready: float  # seconds
    processor: float  # seconds of processor time, user and system


def start(tree: Path, environment: Mapping[str, str]) -> Start:
    """Start the server of the code in `tree` as the container does, wait until it is ready, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    used = _children()
    began = time.monotonic()
    command = [sys.executable, "-m", "gunicorn", "-c", "function/server.py"]
    variables = os.environ | environment | {"PORT": str(port)}
    server = subprocess.Popen(command, cwd=tree, env=variables, stderr=subprocess.PIPE)
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.get(f"http://127.0.0.1:{port}/startup", timeout=600) if _listening(server, port) else None
        ready = time.monotonic() - began
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate()
    if server.returncode:
        raise RuntimeError(f"the server ended with {server.returncode}: {errors.decode()[-1000:]}")
    return Start(ready, _children() - used)


def _listening(server: subprocess.Popen[bytes], port: int) -> bool:
    """Whether the socket is open before the server ends; what is asked on it is answered when the server is ready."""
    while server.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.01)
    return False


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def steps(environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds of each step of a start, taken one after the other in a process of its own."""
    code = "import time\nmarks = [time.monotonic()]\n"
    code += "".join(f"{step}\nmarks.append(time.monotonic())\n" for step in STEPS.values())
    code += "print(*(b - a for a, b in zip(marks, marks[1:])))\nservice.cutter().stop()\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return dict(zip(STEPS, map(float, done.stdout.splitlines()[-1].split()), strict=True))


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The tree of another revision, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def compare(model: str, runs: int, before: str) -> dict[str, float]:
    """Print both tables; the ratios."""
    with LocalCloud() as cloud:
        environment = {**cloud.environment(), "MODEL": model}
        ours: list[Start] = []
        theirs: list[Start] = []
        if before:
            with checked_out(before) as tree:
                for _ in range(runs):  # in turn, so that both meet the same load
                    theirs.append(start(tree, environment))
                    ours.append(start(ROOT, environment))
        else:
            ours = [start(ROOT, environment) for _ in range(runs)]
        split = [steps(environment) for _ in range(runs)]
    table = Table("start, s", "ready (median)", "ready (best)", "processor time")
    for name, measured in ((before, theirs), ("this tree", ours)):
        if measured:
            ready = [run.ready for run in measured]
            processor = statistics.median(run.processor for run in measured)
            table.add_row(name, f"{statistics.median(ready):.2f}", f"{min(ready):.2f}", f"{processor:.2f}")
    console().print(table)
    table = Table("step", "s")
    for step in STEPS:
        table.add_row(step, f"{statistics.median(run[step] for run in split):.2f}")
    console().print(table)
    if not theirs:
        return {}
    medians = [statistics.median(run.ready for run in measured) for measured in (theirs, ours)]
    return {"start-before-after": medians[0] / medians[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--before", default="", metavar="REVISION")
    given = parser.parse_args()
    for name, ratio in compare(given.model, given.runs, given.before).items():
        print(f"ratio {name} {ratio:.2f}")


if __name__ == "__main__":
    main()
