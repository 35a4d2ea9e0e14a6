"""How far our BiRefNet is from the reference implementation, on deterministic weights (tests/data/birefnet/rule.py).

`python -m tests.parity` prints a row for every golden file and both tile orders: the largest difference over the
largest logit, in float32, of the network as trained and of its inference form, and the keys that are missing or
unexpected compared with the published checkpoints.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.models.birefnet import BiRefNet
from shared.models.birefnet.fast import FastBiRefNet
from shared.models.birefnet.loading import build_network
from shared.models.birefnet.swin import relative_position_index
from shared.models.birefnet.tiles import TILE_GRIDS, from_legacy, to_legacy
from tests.data.birefnet import rule

FOLDER = Path(__file__).parent / "data" / "birefnet"
VARIANTS = ("pvt_v2_b0", "swin_v1_t", "swin_v1_l")
ORDERS = ("current", "legacy")
TOLERANCE = 1e-4  # of the largest logit, float32


@dataclass(frozen=True, slots=True)
class Golden:
    """Logits of the reference implementation, computed in float64 and rounded to float32."""

    name: str
    variant: str
    order: str  # tile order that the reference was run with
    logits: NDArray[np.float32]  # (B, 1, H, W)

    def image(self) -> Tensor:
        batch, _, height, width = self.logits.shape
        return rule.make_input(height, width, batch)


def goldens() -> Iterator[Golden]:
    """Every golden file, variant by variant."""
    for variant in VARIANTS:
        for path in sorted(FOLDER.glob(f"golden_{variant}_*.npz")):
            with np.load(path) as file:
                logits = file["logits64" if "logits64" in file else "logits"]
            order = "legacy" if path.stem.endswith("legacyorder") else "current"
            yield Golden(path.stem.removeprefix("golden_"), variant, order, logits)


def manifest(variant: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every key of the published checkpoints of this backbone."""
    entries = json.loads((FOLDER / f"keys_{variant}.json").read_text())
    return {key: (tuple(shape), dtype) for key, (shape, dtype) in entries.items()}


@cache
def filled(variant: str) -> dict[str, Tensor]:
    """The deterministic checkpoint of this backbone."""
    return {key: _entry(key, shape, dtype) for key, (shape, dtype) in manifest(variant).items()}


def _entry(key: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    value = rule.fill_tensor(key, torch.empty(shape, dtype=getattr(torch, dtype), device="meta"))
    if value is not None:
        return value
    if key.endswith("relative_position_index"):
        return relative_position_index(round(shape[0] ** 0.5))
    return torch.zeros(shape, dtype=getattr(torch, dtype))


def stored_in(state: dict[str, Tensor], order: str, *, meant: str) -> dict[str, Tensor]:
    """The checkpoint rewritten for another tile order: `meant` is the order whose logits it gives unchanged."""
    if order == meant:
        return state
    convert = from_legacy if meant == "legacy" else to_legacy
    keys = [f"decoder.ipt_blk{block}.conv1.weight" for block in TILE_GRIDS]
    return state | {key: convert(state[key]) for key in keys}


@cache
def network(variant: str, order: str = "current", meant: str = "current") -> BiRefNet:
    """Ours, opened from the deterministic checkpoint stored in one tile order."""
    return build_network(stored_in(filled(variant), order, meant=meant), patch_order=order)


@torch.inference_mode()
def max_relative(ours: Callable[[Tensor], Tensor], golden: Golden) -> float:
    """Largest difference over the largest logit."""
    difference = np.abs(ours(golden.image()).numpy() - golden.logits).max()
    return float(difference / np.abs(golden.logits).max())


def state_sha256(state: dict[str, Tensor]) -> str:
    """Hash over keys, shapes, dtypes and bytes, keys sorted."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].contiguous()
        for part in (key, str(tuple(tensor.shape)), str(tensor.dtype)):
            digest.update(part.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    torch.set_num_threads(2)
    heads = ("as trained", "inference form", "missing", "unexpected")
    print(f"{'golden file':<34}{'stored order':<14}" + "".join(f"{head:>16}" for head in heads))
    for golden in goldens():
        for order in ORDERS:
            ours = network(golden.variant, order, golden.order)
            keys, published = set(ours.state_dict()), set(manifest(golden.variant))
            errors = [max_relative(form, golden) for form in (ours, FastBiRefNet(ours))]
            row = f"{golden.name:<34}{order:<14}{errors[0]:>16.1e}{errors[1]:>16.1e}"
            print(f"{row}{len(published - keys):>16}{len(keys - published):>16}", flush=True)
        network.cache_clear()


if __name__ == "__main__":
    main()
