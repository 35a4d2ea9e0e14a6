"""The figure that says how good a cutout probably is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.confidence import SIDE, confidence, evidence


def disc(side: int = 128, *, inside: float = 0.98, outside: float = 0.02, x: float = 0.5) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    return np.where((rows - 0.5) ** 2 + (columns - x) ** 2 < 0.06, inside, outside).astype(np.float32)


def test_a_decided_whole_subject_is_trusted_and_a_hesitant_one_is_not():
    assert confidence(disc()) > 0.8
    assert confidence(disc(inside=0.6, outside=0.4)) < 0.2


def test_a_subject_in_pieces_is_trusted_less():
    assert confidence(np.maximum(disc(x=0.2), disc(x=0.8))) < confidence(disc())


def test_nothing_above_one_half_is_unknown():
    assert confidence(np.full((40, 30), 0.4, np.float32)) == 0


def test_the_evidence_is_that_worked_by_hand():
    probability = np.zeros((2, 4), np.float32)
    probability[0, :3] = 1.0, 0.0, 0.8
    both, sums = 1 + 0.64, 1.8
    assert evidence(probability) == pytest.approx((both / (2 * sums - both), 0.5))


def test_the_size_of_the_network_changes_little():
    assert confidence(disc(4 * SIDE, inside=0.85)) == pytest.approx(confidence(disc(SIDE, inside=0.85)), abs=0.02)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_it_is_a_probability_for_any_map(height: int, width: int, seed: int):
    probability = np.random.default_rng(seed).random((height, width), np.float32)
    found = confidence(probability)
    assert 0 <= found <= 1
    assert (found > 0) == bool((probability > 0.5).any())
