"""Which failures a replay takes, and from when on."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.replay.job import moment, newest_failures
from shared.subscriber.messages import CompletionMessage, Source

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("3d", timedelta(days=3)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("2026-11-25T11:00:00Z", timedelta(hours=1)),
        ("2026-11-25T12:00:00+02:00", timedelta(hours=2)),
    ],
)
def test_a_moment_is_a_time_ago_or_a_time_with_its_offset(text, ago):
    assert moment(text, now=NOW) == NOW - ago


@pytest.mark.parametrize("text", ["", "yesterday", "3w", "2026-11-25T11:00:00", "32d", "2026-11-25T13:00:00Z"])
def test_what_is_no_moment_of_the_last_31_days_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        moment(text, now=NOW)


def told(name: str, code: str) -> CompletionMessage:
    status = "failed" if code else "completed"
    return CompletionMessage(status=status, code=code, source=Source(bucket="b", name=name, generation="1"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "gave_up", "corrupt_image"]))))
def test_each_upload_is_sent_once_and_only_if_its_last_word_is_such_a_failure(outcomes):
    found = newest_failures([told(name, code) for name, code in outcomes], ["gave_up"])
    last = dict(outcomes)
    assert sorted(failure.source.name for failure in found) == sorted(
        n for n, code in last.items() if code == "gave_up"
    )
