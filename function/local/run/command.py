"""python -m function.local [--out DIR] [--outcomes FILE] [--set NAME=VALUE ...] [--option NAME=VALUE ...] PATH ...

Takes files or folders through the whole service on this machine: a local object store and topic, the real server.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from function.local import LocalCloud, RetryPolicy, ServerFailed, ServerProcess
from function.local.run.files import LocalFile, NothingToUpload, collect
from function.local.run.outcomes import console, line, summary, table
from function.local.run.run import LocalRun, Outcome
from function.local.run.watch import watch
from function.settings import Settings
from shared.errors import SettingsError

READY_WITHIN_S = 900  # a large checkpoint may have to be fetched first
RETRY = RetryPolicy(max_attempts=20, ack_deadline_s=3600)  # images take long on a CPU
DELIVERIES = 4  # at a time


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 = every upload got an outcome, 1 = not, 130 = interrupted."""
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: the server does not outlive this
    try:
        return _run(args)
    except (NothingToUpload, SettingsError, ServerFailed, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 0 if args.serve else 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m function.local",
        description="Cut out images through the whole service, on this machine: store, events, server, messages.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image, other file, or folder of them")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for results (out)")
    parser.add_argument("--outcomes", type=Path, metavar="FILE", help="takes one completion message per line, as JSON")
    parser.add_argument("--log", type=Path, metavar="FILE", help="takes the server's log")
    parser.add_argument("--serve", action="store_true", help="keep watching the paths for new and changed files")
    for name, what in (
        ("set", "a setting of the server, such as MODEL=ZhengPeng7/BiRefNet-portrait"),
        ("option", "an option of every upload, such as format=webp"),
    ):
        parser.add_argument(
            f"--{name}", type=_pair, action="append", default=[], metavar="NAME=VALUE", help=f"{what}; repeatable"
        )
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    files = [] if args.serve else collect(args.paths, leave_out=args.out)
    with _service(args) as run:
        if args.serve:
            return _serve(args, run)
        outcomes = _follow(run, files)
    done = {outcome.file for outcome in outcomes}
    left = [file for file in files if file not in done]
    shown = console()
    shown.print(table(outcomes, args.out))
    shown.print(summary(outcomes, left, time.monotonic() - started))
    for file in left:
        print(f"no outcome: {file.path}", file=sys.stderr)
    return 1 if left else 0


@contextmanager
def _service(args: argparse.Namespace) -> Iterator[LocalRun]:
    """Everything around the files: store, topic, events and the server, stopped in order at the end."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cutdrop-")))
        chosen = {"MODEL": "embedded"} | dict(args.set)
        cloud = LocalCloud(spill_folder=scratch, retry=RETRY, concurrency=DELIVERIES)
        settings = Settings.from_env({**os.environ, **cloud.environment(), **chosen})
        stack.enter_context(cloud)
        log = args.log or scratch / "server.log"
        server = ServerProcess({**cloud.environment(), **chosen}, log=log, ready_within_s=READY_WITHIN_S)
        with console(stderr=True).status(f"starting the server, model {settings.model}"):
            stack.enter_context(server)
        cloud.eventarc.connect(server.url, f"{server.url}/dead-letter")
        outcomes = stack.enter_context(args.outcomes.open("w", encoding="utf-8")) if args.outcomes else None
        metadata = {f"cutdrop-{name}": value for name, value in args.option}
        yield LocalRun(cloud, out=args.out, outcomes=outcomes, metadata=metadata, alive=server.check)


def _follow(run: LocalRun, files: Sequence[LocalFile]) -> list[Outcome]:
    """Every outcome, behind a progress bar."""
    columns = (TextColumn("cutting out"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes = []
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(files))
        for outcome in run(files):
            outcomes.append(outcome)
            progress.advance(task)
    return outcomes


def _serve(args: argparse.Namespace, run: LocalRun) -> int:
    """Until interrupted: upload what is new or changed, tell every outcome in a line."""
    print(f"watching {', '.join(map(str, args.paths))}; results in {args.out}; Ctrl-C ends it", flush=True)
    for outcome in run(watch(args.paths, leave_out=args.out)):
        print(line(outcome, args.out), flush=True)
    return 0
