"""Memory: what an upload needs is known from its header, what there is from the container, and nobody takes more."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared.decoding import inspect
from shared.errors import Busy, ImageTooLarge
from shared.memory import MemoryBudget, budget_for_uploads, decoding_bytes, held_memory, memory_limit, upload_bytes
from tests.images import encoded, exif, picture, png

GIB = 1 << 30


def machine(root: Path, *, total_kb: int = 16 << 20, group: str = "", files: dict[str, str] | None = None) -> Path:
    """A tree that looks like the parts of / that are read."""
    for name, text in {
        "proc/meminfo": f"MemTotal:       {total_kb} kB\nMemFree:  1 kB\n",
        "proc/self/cgroup": group,
        **(files or {}),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_a_group_the_machine_is_the_limit(tmp_path):
    assert memory_limit(machine(tmp_path)) == 16 * GIB


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/memory.max": f"{4 * GIB}\n"}, 4 * GIB),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": f"{3 * GIB}"}, 3 * GIB),
        ("0::/a/b\n", {"sys/fs/cgroup/memory.max": f"{5 * GIB}\n"}, 5 * GIB),  # the path is the host's
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, 16 * GIB),
        ("5:memory:/x\n0::/\n", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": f"{2 * GIB}\n"}, 2 * GIB),
        ("9:cpu,memory:/x\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{6 * GIB}\n"}, 6 * GIB),
        ("5:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 16 * GIB),
        ("0::/\n", {"sys/fs/cgroup/memory.max": f"{99 * GIB}\n"}, 16 * GIB),
    ],
)
def test_the_containers_limit_counts_in_both_versions_of_cgroups(tmp_path, group, files, expected):
    assert memory_limit(machine(tmp_path, group=group, files=files)) == expected


def test_this_machine_has_a_limit_and_this_process_holds_less():
    assert 0 < held_memory() < memory_limit()


def test_what_the_model_holds_is_not_given_to_uploads():
    assert budget_for_uploads(held=2 * GIB, limit=10 * GIB) == 7 * GIB
    assert budget_for_uploads(held=20 * GIB, limit=10 * GIB) == 0


def inspected(data):
    return inspect(data, max_pixels=10**9)


def test_deep_turned_and_enlarged_pictures_are_estimated_higher():
    rgb = picture(400, 300)
    plain = decoding_bytes(inspected(encoded(rgb, "JPEG")), 0)
    assert decoding_bytes(inspected(encoded(rgb, "JPEG", exif=exif(6))), 0) >= plain + 3 * 400 * 300
    assert decoding_bytes(inspected(encoded(rgb, "JPEG", progressive=True, subsampling=0)), 0) > plain
    assert decoding_bytes(inspected(encoded(rgb, "WEBP")), 0) > plain
    assert decoding_bytes(inspected(encoded(rgb, "AVIF")), 0) > decoding_bytes(inspected(encoded(rgb, "PNG")), 0)
    deep = inspected(png(rgb.astype(np.uint16) * 257, 16, 2))
    assert upload_bytes(deep, 0, scale=4) > 4 * upload_bytes(deep, 0) - 200_000_000
    assert upload_bytes(deep, 10_000_000) >= upload_bytes(deep, 0) + 10_000_000


def test_what_can_never_fit_is_rejected_with_the_numbers():
    with pytest.raises(ImageTooLarge, match=r"needs about 300 MB of memory; this service has 200 MB"):  # noqa: SIM117
        with MemoryBudget(200_000_000).reserved(300_000_000):
            pass


def test_what_does_not_fit_now_is_busy_after_the_wait():
    budget = MemoryBudget(100, wait_s=0.05)
    with budget.reserved(60), pytest.raises(Busy), budget.reserved(50):
        pass
    assert budget.used == 0
    with budget.reserved(100):
        assert budget.used == 100


def test_what_waits_goes_on_as_soon_as_there_is_room():
    budget = MemoryBudget(100, wait_s=30)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with budget.reserved(80):
            entered.set()
            leave.wait(30)

    def follow():
        with budget.reserved(50):
            return budget.used

    with ThreadPoolExecutor(2) as threads:
        holding = threads.submit(hold)
        entered.wait(30)
        following = threads.submit(follow)
        assert not following.done()
        leave.set()
        holding.result(30)
        assert following.result(30) == 50


def test_memory_is_given_back_after_a_failure():
    budget = MemoryBudget(100)
    with pytest.raises(KeyError), budget.reserved(100):
        raise KeyError
    assert budget.used == 0


def test_many_threads_never_hold_more_than_there_is():
    budget = MemoryBudget(100, wait_s=60)
    seen = []

    def work(size):
        with budget.reserved(size):
            seen.append(budget.used)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, [10 + 7 * number % 80 for number in range(300)]))
    assert len(seen) == 300
    assert max(seen) <= 100
    assert budget.used == 0


def test_a_large_upload_is_not_overtaken_for_ever_by_small_ones():
    budget = MemoryBudget(100, wait_s=30)
    order = []
    first_holds, release = threading.Event(), threading.Event()

    def hold():
        with budget.reserved(60):
            first_holds.set()
            release.wait(30)

    def enter(name, size):
        with budget.reserved(size):
            order.append(name)

    with ThreadPoolExecutor(3) as threads:
        threads.submit(hold)
        first_holds.wait(30)
        large = threads.submit(enter, "large", 90)
        while not budget.waiting:
            pass
        small = threads.submit(enter, "small", 20)
        while budget.waiting < 2:
            pass
        release.set()
        large.result(30), small.result(30)
    assert order == ["large", "small"]
