"""Which messages a subscriber has handled: Pub/Sub delivers each at least once, and its ce-id stays the same."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

KEEP_S = 31 * 24 * 3600.0  # the longest time for which a subscription keeps a message
LEASE_S = 600.0  # the longest acknowledgement deadline

TABLE = "CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY, since REAL NOT NULL, done INTEGER NOT NULL)"


class BeingHandled(Exception):
    """Another delivery of this message is being handled: it is to be delivered again later."""


class Once:
    """Remembers event ids in an SQLite file, which several threads and processes of one machine may share.

    A message whose handling ended with an error, or did not end because the process was killed, is handled again:
    what the handling does has to bear a repetition then, or be stored in one step.
    """

    def __init__(
        self,
        file: str | Path = ":memory:",
        *,
        keep_s: float = KEEP_S,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """keep_s: seconds after which an id is forgotten. lease_s: after which unfinished handling counts as killed."""
        self._keep_s, self._lease_s, self._clock = keep_s, lease_s, clock
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30)
        self._database.execute(TABLE)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def handling(self, event_id: str) -> Iterator[bool]:
        """A `with` block around the handling of one delivery: True if it is to be handled, False if it was already.

        The id counts as handled when the block ends without an exception. Raises BeingHandled.
        """
        if not self._claim(event_id):
            yield False
            return
        try:
            yield True
        except BaseException:
            self._change("DELETE FROM handled WHERE id = ?", event_id)
            raise
        self._change("UPDATE handled SET done = 1 WHERE id = ?", event_id)

    def _claim(self, event_id: str) -> bool:
        now = self._clock()
        with self._lock, self._transaction():
            self._database.execute(
                "DELETE FROM handled WHERE since < CASE done WHEN 1 THEN ? ELSE ? END",
                (now - self._keep_s, now - self._lease_s),
            )
            with closing(self._database.execute("SELECT done FROM handled WHERE id = ?", (event_id,))) as found:
                row = found.fetchone()
            if row == (0,):
                raise BeingHandled(event_id)
            if row is None:
                self._database.execute("INSERT INTO handled VALUES (?, ?, 0)", (event_id, now))
            return row is None

    def _change(self, statement: str, event_id: str) -> None:
        with self._lock, self._transaction():
            self._database.execute(statement, (event_id,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Immediate: a second process waits, and never sees an id that two have claimed."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._database.execute("COMMIT")
