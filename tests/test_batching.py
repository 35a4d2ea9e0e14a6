"""Micro-batches: every caller gets its own answer, whatever happens to its neighbours."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.batching import MicroBatcher
from shared.errors import Busy, ShuttingDown


class Network:
    """Doubles numbers; can be held; remembers its batches."""

    def __init__(self):
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Semaphore(0)
        self.batches = []

    def __call__(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self.free.wait(20)
        if any(item < 0 for item in items):
            raise ValueError(f"bad item among {len(items)}")
        return [2 * item for item in items]


@contextmanager
def batching(run, *, threads=8, **limits):
    """A batcher and a pool of threads that call it; both end with the `with` block, also if the test fails."""
    batcher = MicroBatcher[int, int](run, **limits)
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield batcher, pool
        finally:
            batcher.stop()


def held(network, batcher, pool):
    """One item inside the network, held there."""
    network.free.clear()
    first = pool.submit(batcher, 0)
    assert network.entered.acquire(timeout=20)
    return first


def queued(batcher, pool, items):
    """Items that wait behind it, in this order."""
    futures = []
    for item in items:
        before = len(batcher._queue)
        futures.append(pool.submit(batcher, item))
        while len(batcher._queue) == before:
            time.sleep(0.0005)
    return futures


@settings(max_examples=15, deadline=None)
@given(
    callers=st.lists(st.lists(st.integers(-3, 100), max_size=6), min_size=1, max_size=8),
    max_batch=st.integers(1, 5),
    max_wait_ms=st.sampled_from([0.0, 1.0]),
)
def test_every_caller_gets_what_it_would_get_alone_in_its_own_order(callers, max_batch, max_wait_ms):
    network = Network()

    def outcome(batcher, item):
        try:
            return batcher(item)
        except ValueError:
            return "bad"

    limits = {"max_batch": max_batch, "max_wait_ms": max_wait_ms}
    with batching(network, threads=len(callers), **limits) as (batcher, pool):
        answers = list(pool.map(lambda items: [outcome(batcher, item) for item in items], callers))
    assert answers == [["bad" if item < 0 else 2 * item for item in items] for items in callers]
    assert max((len(batch) for batch in network.batches), default=0) <= max_batch


def test_an_idle_worker_starts_a_single_item_without_waiting_for_company():
    with batching(Network(), max_batch=8, max_wait_ms=3_600_000, threads=1) as (batcher, pool):
        assert pool.submit(lambda: [batcher(item) for item in range(50)]).result(timeout=20) == list(range(0, 100, 2))


def test_what_comes_while_a_batch_runs_goes_together_and_in_order():
    network = Network()
    with batching(network, max_batch=4, max_wait_ms=0) as (batcher, pool):
        first = held(network, batcher, pool)
        others = queued(batcher, pool, range(1, 7))
        network.free.set()
        assert [future.result(20) for future in (first, *others)] == [0, 2, 4, 6, 8, 10, 12]
    assert network.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_bad_item_fails_alone():
    network = Network()
    with batching(network, max_batch=4, max_wait_ms=0) as (batcher, pool):
        held(network, batcher, pool)
        one, bad, three = queued(batcher, pool, [1, -2, 3])
        network.free.set()
        assert (one.result(20), three.result(20)) == (2, 6)
        with pytest.raises(ValueError, match="bad item among 1"):
            bad.result(20)
        assert batcher(5) == 10
    assert network.batches == [[0], [1, -2, 3], [1], [-2], [3], [5]]


def test_a_network_that_answers_too_little_is_an_error_for_everyone():
    batcher = MicroBatcher[int, int](lambda items: [], max_batch=2)
    with pytest.raises(RuntimeError, match="1 items gave 0 results"):
        batcher(1)
    batcher.stop()


def test_a_full_queue_is_busy():
    network = Network()
    with batching(network, max_batch=1, max_queue=2) as (batcher, pool):
        first = held(network, batcher, pool)
        waiting = queued(batcher, pool, [1, 2])
        with pytest.raises(Busy):
            batcher(3)
        network.free.set()
        assert [future.result(20) for future in (first, *waiting)] == [0, 2, 4]


def test_stopping_refuses_what_has_not_started_and_finishes_what_has():
    network = Network()
    with batching(network, max_batch=1) as (batcher, pool):
        first = held(network, batcher, pool)
        waiting = queued(batcher, pool, [1, 2])
        stopping = pool.submit(batcher.stop)
        for future in waiting:
            with pytest.raises(ShuttingDown):
                future.result(20)
        assert not stopping.done()
        network.free.set()
        assert first.result(20) == 0
        stopping.result(20)
    with pytest.raises(ShuttingDown):
        batcher(4)
    batcher.stop()


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_ms": -1}])
def test_senseless_limits_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        MicroBatcher(Network(), **wrong)
