"""Failures that were announced go through the service again, and each gets a new outcome.

    python -m function.replay                                        gave_up, of the last 7 days
    python -m function.replay --since 3d --code gave_up --code output_refused
    python -m function.replay --since 2026-11-20T08:00:00Z --dry-run  counts only

The failures are the completion topic's own messages, which a subscription keeps for 31 days (REPLAY_FAILURES). Their
events go to a topic that the service is subscribed to (REPLAY_TOPIC). The new message has `replayed` in its notes and
an id of its own. An upload that has its result by now is announced again; one that was deleted fails as `source_gone`.

Exit status: 0 = every event is sent; 75 = Pub/Sub was not available, start again; 1 = cannot start.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from function.replay.failures import AnnouncedFailures, ServiceEvents
from shared.errors import CutdropError, SettingsError
from shared.subscriber.messages import CompletionMessage

UNFINISHED = 75
LONGEST = timedelta(days=31)  # that the subscription keeps a message
UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def newest_failures(messages: Iterable[CompletionMessage], codes: Collection[str]) -> list[CompletionMessage]:
    """The last failure of each upload, if its code is one of these."""
    last = {(told.source.bucket, told.source.name, told.source.generation): told for told in messages}
    return [told for told in last.values() if told.status == "failed" and told.code in codes]


def moment(text: str, *, now: datetime) -> datetime:
    """`3d`, `12h`, `30m` before now, or a moment in RFC 3339 with its offset. ValueError for anything else."""
    if match := re.fullmatch(r"([0-9]{1,5})([dhm])", text):
        found = now - timedelta(**{UNITS[match[2]]: int(match[1])})
    else:
        found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no offset: end it in Z for UTC")
    if not now - LONGEST <= found <= now:
        raise ValueError(f"{text} is not within the last {LONGEST.days} days")
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", default="7d", help="3d, 12h, 30m, or a moment such as 2026-11-20T08:00:00Z")
    parser.add_argument("--code", action="append", help="failures with this code; may be repeated; default gave_up")
    parser.add_argument("--dry-run", action="store_true", help="count; send nothing")
    parser.add_argument("--patience-s", type=float, default=10.0, help="without a failure for so long, there is none")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    now = datetime.now(UTC)
    try:
        since = moment(given.since, now=now)
        failures = AnnouncedFailures(_named("REPLAY_FAILURES"), pull_s=given.patience_s)
        found = newest_failures(failures.since(since), given.code or ["gave_up"])
        if not given.dry_run:
            events = ServiceEvents(_named("REPLAY_TOPIC"))
            replayed = now.isoformat(timespec="seconds").replace("+00:00", "Z")
            for failure in found:
                events.send(failure, replayed=replayed)
    except ValueError as error:
        print(f"--since: {error}", file=sys.stderr)
        return 1
    except CutdropError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1 if isinstance(error, SettingsError) else UNFINISHED
    counts = Counter(failure.code for failure in found)
    said = ", ".join(f"{count} {code}" for code, count in sorted(counts.items())) or "no such failure"
    print(f"{said} since {since.isoformat(timespec='seconds')}" + ("" if given.dry_run else ", sent again"))
    return 0


def _named(name: str) -> str:
    if value := os.environ.get(name, "").strip():
        return value
    raise SettingsError(f"{name} is missing")
