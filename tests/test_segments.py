"""Shared memory: used again when its last array is gone, never before, and not kept without bound."""

import gc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.segments import GRAIN, Segments


def test_a_segment_is_used_again_when_the_last_view_of_its_array_is_gone():
    segments = Segments(keep=10 * GRAIN)
    first = segments.take(1000)
    array = segments.array(first, (10, 10))
    view = array[2:4, 3:]
    del array
    assert segments.take(1000) is not first
    del view
    gc.collect()
    assert segments.take(1000) is first


def test_no_more_than_the_bound_is_kept():
    segments = Segments(keep=3 * GRAIN)
    taken = [segments.take(GRAIN) for _ in range(10)]
    for segment in taken:
        segments.give_back(segment)
    assert segments.unused == 10 * GRAIN
    segments.take(100 * GRAIN)
    assert segments.unused <= 3 * GRAIN


def test_a_large_segment_is_left_for_large_pictures():
    segments = Segments(keep=100 * GRAIN)
    large = segments.take(50 * GRAIN)
    segments.give_back(large)
    assert segments.take(GRAIN) is not large
    assert segments.take(40 * GRAIN) is large


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3_000_000), st.booleans()), max_size=30))
def test_no_two_arrays_share_memory(wishes):
    segments = Segments(keep=5 * GRAIN)
    held = []
    for number, (size, forget) in enumerate(wishes):
        array = segments.array(segments.take(size), (size,))
        array[:] = number % 256
        held.append((number % 256, array))
        if forget:
            held.pop(len(held) // 2)
    assert all((array == number).all() for number, array in held)
    assert len({array.ctypes.data for _, array in held}) == len(held)


def test_an_array_is_of_bytes_and_of_the_shape_that_was_asked_for():
    segments = Segments(keep=0)
    array = segments.array(segments.take(600), (10, 20, 3))
    assert array.shape == (10, 20, 3)
    assert array.dtype == np.uint8
