"""python -m function.local [--out DIR] [--outcomes FILE] [--set NAME=VALUE ...] [--option NAME=VALUE ...] PATH ...
python -m function.local --page [--port N] [--set NAME=VALUE ...] [--option NAME=VALUE ...] [PATH ...]

Sends files or folders through the whole service on this machine: a local object store and topic, the real server.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from function.local.run.checks import Refused, check_files, check_settings, check_targets
from function.local.run.fetch import fetch_missing
from function.local.run.files import LocalFile
from function.local.run.outcomes import console, line, summary, table
from function.local.run.page import show_page
from function.local.run.progress import RunProgress
from function.local.run.results import ResultFolder
from function.local.run.runner import FileOutcome, LocalRun
from function.local.run.watch import watch
from function.local.server_process import ServerFailed
from function.local.service import running_service

DONE, NOT_DONE, REFUSED, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_STATUS = (
    "exit status: 0 every file has an outcome; 1 not, or the service failed; 2 the command line cannot work, nothing "
    "was started; 3 with --strict, an outcome is a failure; 130 interrupted"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status, as EXIT_STATUS describes."""
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    if not (args.paths or args.page):
        parser.error("the following arguments are required: PATH")
    try:
        return _checked_run(args)
    except Refused as error:
        print(f"cutdrop: {error}", file=sys.stderr)
        return REFUSED
    except (ServerFailed, OSError) as error:
        print(f"cutdrop: the service failed: {error}", file=sys.stderr)
        return NOT_DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return DONE if args.serve or args.page else INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m function.local",
        description="Cut out images through the whole service, on this machine: store, events, server, messages.",
        epilog=EXIT_STATUS,
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="image, other file, or folder of them")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for results (out)")
    parser.add_argument("--outcomes", type=Path, metavar="FILE", help="takes one completion message per line, as JSON")
    parser.add_argument("--log", type=Path, metavar="FILE", help="takes the server's log")
    parser.add_argument("--overwrite", action="store_true", help="replace files of earlier runs instead of numbering")
    parser.add_argument("--images-only", action="store_true", help="leave out files in folders that are no images")
    parser.add_argument("--strict", action="store_true", help="exit with 3 if an upload failed")
    parser.add_argument("--serve", action="store_true", help="keep watching the paths for new and changed files")
    parser.add_argument("--page", action="store_true", help="show a page in the browser that takes pictures")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port of the page on 127.0.0.1 (a free one)")
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


def _checked_run(args: argparse.Namespace) -> int:
    """Check all that can be checked, then start."""
    started = time.monotonic()
    if args.page and (args.serve or args.outcomes):
        raise Refused(f"--page: {'--serve' if args.serve else '--outcomes'} belongs to a run without a page")
    checked = check_settings(args.set, args.option, os.environ)
    check_targets(out=args.out, outcomes=args.outcomes, log=args.log, overwrite=args.overwrite)
    endless = args.serve or args.page
    files = check_files(args.paths, checked.settings, out=args.out, images_only=args.images_only, endless=endless)
    for warning in checked.warnings:
        print(f"cutdrop: {warning}", file=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that the server is stopped too
    fetch_missing(checked.settings, checked.environment)
    if args.page:
        show_page(checked, args.paths, images_only=args.images_only, port=args.port, log=args.log)
        return DONE
    with ExitStack() as stack:
        with console(stderr=True).status(f"starting the server, model {checked.settings.model}"):
            service = stack.enter_context(running_service(checked.environment, log=args.log))
        outcomes = stack.enter_context(args.outcomes.open("w", encoding="utf-8")) if args.outcomes else None
        run = LocalRun(
            service.cloud,
            folder=ResultFolder(args.out, overwrite=args.overwrite),
            outcomes=outcomes,
            metadata=checked.metadata,
            check_server=service.server.check,
        )
        if args.serve:
            return _serve(args, run)
        return _report(args, files, *_follow(run, files), started)


def _follow(run: LocalRun, files: Sequence[LocalFile]) -> tuple[list[FileOutcome], bool]:
    """Every outcome, behind a progress display; and whether the run was interrupted."""
    outcomes: list[FileOutcome] = []
    try:
        with RunProgress(len(files), console(stderr=True)) as progress:
            for outcome in run(files):
                if outcome is not None:
                    outcomes.append(outcome)
                progress.show(len(outcomes), run.left[0].name if run.left else "")
    except KeyboardInterrupt:
        return outcomes, True
    return outcomes, False


def _report(
    args: argparse.Namespace,
    files: Sequence[LocalFile],
    outcomes: Sequence[FileOutcome],
    interrupted: bool,
    started: float,
) -> int:
    done = {outcome.file for outcome in outcomes}
    left = [file for file in files if file not in done]
    shown = console()
    rows = table(outcomes, args.out)
    if rows.row_count:
        shown.print(rows)
    spent = time.monotonic() - started
    print(summary(outcomes, left, spent, folder=args.out, overwrite=args.overwrite), flush=True)
    for file in left:
        print(f"no outcome: {file.path}", file=sys.stderr)
    if interrupted:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if left:
        return NOT_DONE
    failed = any(outcome.message.status == "failed" for outcome in outcomes)
    return SOME_FAILED if args.strict and failed else DONE


def _serve(args: argparse.Namespace, run: LocalRun) -> int:
    """Until interrupted: upload what is new or changed, print every outcome on a line."""
    print(f"watching {', '.join(map(str, args.paths))}; results in {args.out}; Ctrl-C ends it", flush=True)
    for outcome in run(watch(args.paths, leave_out=args.out, images_only=args.images_only)):
        if outcome is not None:
            print(line(outcome, args.out), flush=True)
    return DONE
