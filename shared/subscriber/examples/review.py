"""A queue of cutouts that a person should look at, with a page to decide on them.

    python -m cutdrop.examples.review --port 8080 --file review.sqlite3

Its subscription has the filter `attributes.review = "true"`, so that only results of little confidence come here.
"""

import sqlite3
import threading
from collections.abc import Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..messages import CompletionMessage
from .endpoint import PICTURES, Endpoint, arguments, serve

TABLE = "CREATE TABLE IF NOT EXISTS queue (id TEXT PRIMARY KEY, name TEXT, url TEXT, confidence REAL, verdict TEXT)"
VERDICTS = ("good", "bad")


class ReviewQueue:
    """Cutouts and what people decided, in an SQLite file. An event's id is the key: a repetition changes nothing."""

    def __init__(self, file: str | Path, pictures: str = PICTURES) -> None:
        """pictures: address of a stored object, with {bucket} and {name}."""
        self._pictures = pictures
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.execute(TABLE)

    def handle(self, message: CompletionMessage) -> None:
        """One delivery."""
        output = message.output()
        if output is None or not message.review:
            return
        url = self._pictures.format(bucket=output.bucket, name=quote(output.name, safe=""))
        row = (message.event_id, message.source.name, url, message.subject.confidence)
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO queue VALUES (?, ?, ?, ?, '')", row)

    def decide(self, form: Mapping[str, str]) -> None:
        """What a person decided: {"id", "verdict"}."""
        if form.get("verdict") in VERDICTS:
            with self._lock:
                change = "UPDATE queue SET verdict = ? WHERE id = ?"
                self._database.execute(change, (form["verdict"], form.get("id", "")))

    def page(self) -> str:
        """HTML: what waits, the least confident first."""
        with self._lock:
            query = "SELECT id, name, url, confidence FROM queue WHERE verdict = '' ORDER BY confidence"
            waiting = self._database.execute(query).fetchall()
        rows = "".join(
            f'<form method="post" action="/form"><img src="{escape(url)}" height="200" alt="">'
            f'<p>{escape(name)}: {confidence:.0%}</p><input type="hidden" name="id" value="{escape(event)}">'
            + "".join(f'<button name="verdict" value="{verdict}">{verdict}</button>' for verdict in VERDICTS)
            + "</form>"
            for event, name, url, confidence in waiting
        )
        return f"<!doctype html><title>Review</title><h1>{len(waiting)} to review</h1>{rows}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--file", type=Path, default=Path("review.sqlite3"))
    parser.add_argument("--pictures", default=PICTURES, help="address of a stored object, with {bucket} and {name}")
    given = parser.parse_args()
    queue = ReviewQueue(given.file, given.pictures)
    serve(Endpoint((given.host, given.port), queue.handle, page=queue.page, form=queue.decide))


if __name__ == "__main__":
    main()
