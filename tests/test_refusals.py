"""What of Cloud Storage's answers is final."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.refusals import Refusal


def document(reason: str, sentence: str) -> str:
    return json.dumps({"error": {"code": 400, "message": sentence, "errors": [{"reason": reason, "domain": "global"}]}})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", ""),
        ("<html>\nmore", "<html>"),
        ("[]", "[]"),
        ('{"error": 5}', '{"error": 5}'),
        ('{"error": {"message": "m\\nmore", "errors": []}}', "m"),
    ],
)
def test_any_body_gives_a_sentence_of_one_line(body, sentence):
    assert Refusal.of(503, body) == Refusal(503, "", sentence)


@given(st.integers(100, 599), st.text(max_size=400))
def test_only_four_statuses_can_be_final(status, body):
    refusal = Refusal.of(status, body)
    assert not refusal.final or status in (400, 403, 404, 412)
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 400


@pytest.mark.parametrize(
    ("status", "reason", "sentence"),
    [
        (403, "forbidden", "sa@x does not have storage.objects.create access"),
        (403, "cloudKmsPermissionDenied", "Permission denied on Cloud KMS key."),
        (404, "notFound", "No such object: uploads/a.jpg"),
        (412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."),
        (400, "invalid", 'Provided CRC32C "x" doesn\'t match calculated CRC32C "y".'),
        (400, "uploadBrokenConnection", "The client broke the connection."),
        (401, "required", "Login Required"),
        (429, "rateLimitExceeded", "under active Temporary hold"),
    ],
)
def test_what_another_try_or_a_repair_may_change_is_not_final(status, reason, sentence):
    assert not Refusal.of(status, document(reason, sentence)).final


def test_the_reason_and_the_stores_own_sentence_are_quoted():
    assert str(Refusal.of(403, document("forbidden", "No."))) == "No. [HTTP 403 (forbidden)]"
    assert str(Refusal.of(400, "No.")) == "No. [HTTP 400]"
