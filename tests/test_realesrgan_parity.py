"""Our enlarger against the `realesrgan` distribution: same weights, same picture."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.models.realesrgan import load
from tests.realesrgan_oracle import fill

HERE = Path(__file__).parent
RECORDED = HERE / "data" / "realesrgan" / "oracle.npz"  # written by tests/realesrgan_oracle.py
ORACLE_PYTHON = HERE.parent / ".venv-oracle" / "bin" / "python"  # made by `make oracle`
NETWORKS = {"x2plus": 2, "x4plus": 4, "general-x4v3": 4}


def largest_difference(oracle: np.lib.npyio.NpzFile, name: str, folder: Path, tile: int) -> int:
    """Levels of 255 between the oracle's picture and ours."""
    shapes = {}
    for line in oracle[f"{name} keys"]:
        key, shape = str(line).split(" ")
        shapes[key] = tuple(int(side) for side in shape.split(",") if side)
    checkpoint = folder / f"{name}.pth"
    torch.save({"params_ema": fill(shapes)}, checkpoint)
    ours = load(str(checkpoint), folder=folder, tile=tile).enlarge(oracle["picture"], scale=NETWORKS[name])
    return int(np.abs(ours.astype(int) - oracle[name]).max())


@pytest.mark.parametrize("tile", [64, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_our_enlarger_gives_what_realesrgan_gave_with_the_same_weights(name: str, tile: int, tmp_path: Path) -> None:
    difference = largest_difference(np.load(RECORDED), name, tmp_path, tile)
    print(f"{name}, tiles of {tile}: largest difference {difference}/255")
    assert difference <= 1


@pytest.mark.skipif(not ORACLE_PYTHON.exists(), reason="`make oracle` has not been run")
def test_the_record_is_what_realesrgan_gives_today(tmp_path: Path) -> None:
    today = tmp_path / "today.npz"
    subprocess.run([ORACLE_PYTHON, HERE / "realesrgan_oracle.py", today], check=True)
    recorded, fresh = np.load(RECORDED), np.load(today)
    for name in NETWORKS:
        assert np.abs(recorded[name].astype(int) - fresh[name]).max() <= 1
        assert (recorded[f"{name} keys"] == fresh[f"{name} keys"]).all()
