"""Which refusals of Cloud Storage are final: an answer's status, reason and sentence decide.

https://cloud.google.com/storage/docs/json_api/v1/status-codes. Holds answer 403 with the reason of a missing
permission, and media requests answer with a sentence alone: only the sentence tells those from others.
"""

import json
import re
from dataclasses import dataclass

FINAL_REASONS = frozenset({"objectUnderActiveHold", "retentionPolicyNotMet", "orgPolicyConstraintFailed"})
FINAL_SENTENCES = re.compile(
    r"under active [\w-]+ hold|retention (policy|expir)|customer-supplied encryption key|specified bucket does not",
    re.IGNORECASE,
)
# 400, although the request was right: the bytes changed on their way, or the connection broke.
TRANSFER_FAULTS = re.compile(r"doesn't match calculated|uploadBrokenConnection", re.IGNORECASE)
LONGEST_SENTENCE = 300  # characters


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of Cloud Storage outside 2xx."""

    status: int  # HTTP
    reason: str  # of the JSON API's error document; empty if the answer is a sentence alone
    sentence: str  # the store's own, one line

    @classmethod
    def of(cls, status: int, body: str) -> "Refusal":
        """From an answer's status and body: the JSON API's error document, or plain text."""
        try:
            error = json.loads(body)["error"]
            reason = str((error.get("errors") or [{}])[0].get("reason", ""))
            sentence = str(error["message"])
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            reason, sentence = "", body
        first = sentence.strip().partition("\n")[0]
        return cls(status, reason, first[:LONGEST_SENTENCE])

    @property
    def final(self) -> bool:
        """Whether the same request can never succeed, whatever is repaired in the service."""
        if self.status == 400:
            return not TRANSFER_FAULTS.search(f"{self.reason} {self.sentence}")
        if self.status in (403, 404, 412):
            return self.reason in FINAL_REASONS or bool(FINAL_SENTENCES.search(self.sentence))
        return False

    def __str__(self) -> str:
        named = f" ({self.reason})" if self.reason else ""
        return f"{self.sentence or 'no reason given'} [HTTP {self.status}{named}]"
