"""Limits of networks: sizes that they take, precisions in which they run."""

import pytest

from shared.models.device import native_half_precision
from shared.models.limits import Limits

LIMITS = Limits(multiple=32, half_precision=frozenset({"bfloat16"}))


@pytest.mark.parametrize("size", [(32, 64), (1024, 1024)])
def test_multiples_are_taken(size: tuple[int, int]) -> None:
    LIMITS.check_size(*size)


@pytest.mark.parametrize("size", [(0, 32), (33, 64), (64, 48)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected multiples of 32"):
        LIMITS.check_size(*size)


@pytest.mark.parametrize(("side", "rounded"), [(31, 32), (63, 32), (64, 64), (100, 96)])
def test_a_side_is_rounded_down_to_at_least_one_multiple(side: int, rounded: int) -> None:
    assert LIMITS.rounded_down(side) == rounded


@pytest.mark.parametrize(
    ("asked", "device", "native", "dtype"),
    [
        ("bfloat16", "cuda", (), "bfloat16"),
        ("float16", "cuda", (), "float32"),  # the network's results do not hold in it
        ("bfloat16", "cpu", (), "float32"),
        ("bfloat16", "cpu", ("bfloat16",), "bfloat16"),
        ("float32", "cpu", ("bfloat16",), "float32"),
    ],
)
def test_half_precision_runs_only_where_network_and_machine_have_it(
    asked: str, device: str, native: tuple[str, ...], dtype: str
) -> None:
    assert LIMITS.dtype(asked, device, native=frozenset(native)) == dtype


def test_the_cpu_says_what_it_has() -> None:
    assert native_half_precision() <= {"bfloat16"}
