"""The network's rewritings: python -m tests.benchmarks.network [--backbones B ...] [--size S] [--runs N]

Times of one image on the CPU, deterministic weights, all forms in turn in one process: the plain form as the reference
implementation computes it, the trainable network, the inference form, and the inference form without one rewriting at
a time. `error` is the largest difference from the plain form over its largest logit.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.table import Table
from torch import Tensor

from function.local.run.outcomes import console
from shared.models.birefnet import fast_aspp
from shared.models.birefnet.fast import FastBiRefNet
from shared.models.birefnet.network import BiRefNet
from tests.birefnet_reference import Reference
from tests.data.birefnet import rule
from tests.parity import filled, network

Form = Callable[[Tensor], Tensor]
NAMES = {"swin_v1_t": "t", "swin_v1_l": "l", "pvt_v2_b0": "b0"}


def forms(backbone: str) -> dict[str, Form]:
    """Every form of the network with its name; the first is the one that the others are compared with."""
    trainable = network(backbone)
    plain_backbone = FastBiRefNet(trainable)
    plain_backbone.use_backbone(trainable.bb)
    return {
        "plain form": Reference(filled(backbone)),
        "trainable network": trainable,
        "inference form": FastBiRefNet(trainable),
        "- backbone as trained": plain_backbone,
        "- sampling by PyTorch": WithoutCompiledSampling(trainable),
    }


class WithoutCompiledSampling:
    def __init__(self, trainable: BiRefNet) -> None:
        self.fast = FastBiRefNet(trainable)

    def __call__(self, image: Tensor) -> Tensor:
        with fast_aspp.without_compiled_sampling():
            return self.fast(image)


def measure(backbone: str, size: int, runs: int) -> dict[str, float]:
    """Print the table of one backbone; the ratio of the plain form to the inference form."""
    image = rule.make_input(size, size, 1)
    compared = forms(backbone)
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    results: dict[str, Tensor] = {}
    with torch.inference_mode():
        for _ in range(runs):
            for name, form in compared.items():
                began = time.monotonic()
                results[name] = form(image)
                seconds[name].append(time.monotonic() - began)
    first = next(iter(compared))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    table = Table(f"{backbone}, {size} x {size}, {torch.get_num_threads()} thread(s)", "s", "plain / this", "error")
    for name, median in medians.items():
        error = float((results[name] - results[first]).abs().max() / results[first].abs().max())
        table.add_row(name, f"{median:.2f}", f"{medians[first] / median:.2f}", f"{error:.1e}")
    console().print(table)
    return {f"network-plain-ours-{NAMES[backbone]}": medians[first] / medians["inference form"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["swin_v1_t", "swin_v1_l"])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    for backbone in given.backbones:
        for name, ratio in measure(backbone, given.size, given.runs).items():
            print(f"ratio {name} {ratio:.2f}", flush=True)
        network.cache_clear()
        filled.cache_clear()


if __name__ == "__main__":
    main()
