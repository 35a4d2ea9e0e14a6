"""Results that wait for a store that takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.unstored import UnstoredResult, UnstoredResults
from shared.records import EncodedImage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def result(size: int) -> UnstoredResult:
    return UnstoredResult((EncodedImage(data=bytes(size), content_type="image/png", width=1, height=1),))


def test_a_result_is_taken_once():
    kept, one = UnstoredResults(), result(9)
    kept.put("a", one)
    assert kept.take("b") is None
    assert kept.take("a") is one
    assert kept.take("a") is None


def test_the_oldest_go_when_all_together_are_too_large():
    kept = UnstoredResults(max_bytes=100)
    for key in "abc":
        kept.put(key, result(40))
    assert [kept.take(key) is not None for key in "abc"] == [False, True, True]


def test_the_same_key_counts_once():
    kept = UnstoredResults(max_bytes=100)
    kept.put("a", result(60))
    kept.put("b", result(40))
    kept.put("a", result(60))
    assert kept.take("b") is not None


def test_a_result_that_nobody_comes_for_goes_after_a_while():
    clock = Clock()
    kept = UnstoredResults(keep_s=10, clock=clock)
    kept.put("a", result(9))
    clock.now += 10
    kept.put("b", result(9))
    clock.now += 1
    assert kept.take("a") is None
    assert kept.take("b") is not None


@pytest.mark.parametrize("size", [100, 101])
def test_a_result_larger_than_the_bound_is_not_kept(size):
    kept = UnstoredResults(max_bytes=100)
    kept.put("a", result(size))
    assert (kept.take("a") is not None) == (size <= 100)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 120)), max_size=30))
def test_never_more_bytes_than_the_bound(puts):
    kept = UnstoredResults(max_bytes=100)
    for key, size in puts:
        kept.put(key, result(size))
    found = [kept.take(key) for key in "abcdef"]
    assert sum(one.size for one in found if one) <= 100
