"""How many uploads are processed at a time, and none after the end was announced."""

import time

import pytest

from function.admission import Admission
from shared.errors import Busy, ShuttingDown


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_more_than_the_slots_is_busy_until_a_slot_is_free():
    admission = Admission(2)
    with admission.slot():
        with admission.slot(), pytest.raises(Busy), admission.slot():
            pass
        with admission.slot():
            pass


def test_busy_is_said_at_once():
    admission = Admission(1)
    with admission.slot():
        began = time.monotonic()
        with pytest.raises(Busy), admission.slot():
            pass
        assert time.monotonic() - began < 1


def test_a_failed_upload_gives_its_slot_back():
    admission = Admission(1)
    with pytest.raises(ZeroDivisionError), admission.slot():
        raise ZeroDivisionError
    with admission.slot():
        pass


def test_nothing_enters_after_closing():
    admission = Admission(1)
    admission.close()
    with pytest.raises(ShuttingDown), admission.slot():
        pass


def test_work_under_way_may_go_on_for_a_while_after_closing():
    clock = Clock()
    admission = Admission(1, finish_within_s=6, clock=clock)
    with admission.slot():
        assert not admission.stopping()
        admission.close()
        clock.now += 5.9
        assert not admission.stopping()
        clock.now += 0.1
        assert admission.stopping()


def test_a_second_signal_does_not_prolong_the_time():
    clock = Clock()
    admission = Admission(1, finish_within_s=6, clock=clock)
    admission.close()
    clock.now += 5
    admission.close()
    clock.now += 1
    assert admission.stopping()
