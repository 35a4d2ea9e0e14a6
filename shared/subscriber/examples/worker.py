"""A worker that handles every outcome once, however often it is delivered: here it adds a line to a file.

    python -m cutdrop.examples.worker --port 8080 --file outcomes.csv --handled handled.sqlite3

Put your own work in the place of `Worker.work`.
"""

import csv
import threading
from pathlib import Path

from ..messages import CompletionMessage
from ..once import Once
from .endpoint import Endpoint, arguments, serve


class Worker:
    """Handles outcomes, from any number of threads."""

    def __init__(self, once: Once, file: Path) -> None:
        self._once, self._file = once, file
        self._lock = threading.Lock()

    def handle(self, message: CompletionMessage) -> None:
        """One delivery."""
        with self._once.handling(message.event_id) as first:
            if first:
                self.work(message)

    def work(self, message: CompletionMessage) -> None:
        """What is done once for each outcome."""
        output = message.output()
        line = (message.source.name, message.status, output.uri if output else message.code)
        with self._lock, self._file.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(line)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--file", type=Path, default=Path("outcomes.csv"))
    parser.add_argument("--handled", type=Path, default=Path("handled.sqlite3"), help="remembers what was handled")
    given = parser.parse_args()
    serve(Endpoint((given.host, given.port), Worker(Once(given.handled), given.file).handle))


if __name__ == "__main__":
    main()
