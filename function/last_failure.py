"""Why an upload's last delivery failed, stored in the output bucket for the one that has to give up.

A dead letter carries nothing of the answers to its deliveries, and reaches any instance: so each failed delivery
leaves its code and reason as a small object. A process that is killed, or a store that takes nothing, leaves none.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass

from function.ports import ObjectStore
from shared.errors import Busy, CutdropError, RetryLater, ShuttingDown
from shared.records import Upload

FOLDER = ".attempts/"  # under OUTPUT_PREFIX
INTERNAL_ERROR = "internal_error"  # code of a fault of this program
NOT_ABOUT_THE_UPLOAD = (Busy, ShuttingDown)
LONGEST_REASON = 300  # characters

LOG = logging.getLogger("cutdrop")


@dataclass(frozen=True, slots=True)
class Failure:
    """How a delivery failed that may be repeated."""

    code: str
    reason: str


class LastFailures:
    """The last failure of each upload."""

    def __init__(self, store: ObjectStore, output_prefix: str) -> None:
        self._store = store
        self._folder = output_prefix + FOLDER

    def store(self, upload: Upload, error: Exception) -> None:
        """Store how this delivery failed. Never fails: the delivery's own error is what counts."""
        if isinstance(error, NOT_ABOUT_THE_UPLOAD):
            return
        failure = Failure(INTERNAL_ERROR, type(error).__name__)
        if isinstance(error, RetryLater):
            failure = Failure(error.code, str(error)[:LONGEST_REASON])
        try:
            self._store.write_text(self._name(upload), json.dumps(asdict(failure)), best_effort=True)
        except CutdropError as unwritten:
            LOG.warning("%s: the failure cannot be stored: %s", upload.uri, unwritten)

    def find(self, upload: Upload) -> Failure | None:
        """How the last delivery failed; None if nothing is known. StorageUnavailable."""
        text = self._store.read_text(self._name(upload))
        try:
            told = json.loads(text or "")
            return Failure(str(told["code"]), str(told["reason"]))
        except (ValueError, TypeError, KeyError):
            return None

    def _name(self, upload: Upload) -> str:
        digest = hashlib.sha256(f"{upload.uri}#{upload.generation}".encode()).hexdigest()
        return f"{self._folder}{digest}.json"
