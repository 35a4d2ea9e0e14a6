"""Trains the embedded demo model on rendered scenes, and measures it on renders it never saw.

python -m shared.models.embedded.training.train --scenes FOLDER --minutes 90 [--resume] [--out FOLDER]
python -m shared.models.embedded.training.train --evaluate 500
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from safetensors.torch import load_file
from torch import Tensor, distributed

from shared.models.birefnet import BiRefNet, BiRefNetConfig
from shared.models.birefnet.loading import save_network
from shared.models.embedded.training.data import Samples, normalised, render_chunk
from shared.models.embedded.training.scenes import ASPECTS, HELD_OUT, Scene, render

HERE = Path(__file__).parent.parent  # where the served model is
VALIDATION = HELD_OUT + 500_000_000  # chooses the checkpoint; the figures of the card come from HELD_OUT on
# Side of the crops and share of the time: small first, the inference size last.
STAGES = ((64, 0.34), (128, 0.42), (256, 0.24))
BATCH_PIXELS = 12 * 128 * 128  # of each worker
PEAK_RATE, FLOOR_RATE, DECAY, WARM_UP = 2e-3, 2e-5, 0.05, 150
SAVE_SECONDS = 300
CHOICE_NOISE = 0.01  # two checkpoints this close on 60 renders cannot be told apart: the later one is kept
# The blocks with the most tiles learn slowly: else all neighbouring tiles end up with one smooth set of weights, which
# says little about the image and nothing about the order of the tiles.
TILE_WEIGHTS = ("decoder.ipt_blk5.conv1.weight", "decoder.ipt_blk4.conv1.weight")
TILE_PACE = 0.03


def small_config() -> BiRefNetConfig:
    """The embedded network: a narrow PVT v2, which learns from scratch in minutes where a narrow Swin does not."""
    return BiRefNetConfig(
        backbone="pvt_v2_b0",
        embed_dims=[24, 48, 96, 160],
        num_heads=[1, 2, 3, 5],
        mlp_ratios=[3, 3, 3, 3],
        depths=[1, 2, 2, 2],
        sr_ratios=[8, 4, 2, 1],
        decoder_channels=16,
        aspp_channels=32,
        aspp_kernels=[1, 3],
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
    def fresh(cls, device: torch.device) -> Run:
        model = BiRefNet(small_config()).to(device)
        _level_colours(model)
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            pace = TILE_PACE if name in TILE_WEIGHTS else 1.0
            groups.setdefault((DECAY if parameter.ndim > 1 else 0.0, pace), []).append(parameter)
        listed = [{"params": members, "weight_decay": d, "pace": pace} for (d, pace), members in groups.items()]
        return cls(model, copy.deepcopy(model).eval(), torch.optim.AdamW(listed, lr=PEAK_RATE))

    def save(self, path: Path) -> None:
        state: dict[str, object] = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        state |= {
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "minutes": self.minutes,
            "best": self.best,
        }
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


def loss_of(model: BiRefNet, image: Tensor, alpha: Tensor) -> Tensor:
    """Cross-entropy and soft IoU of the mask, L1 where alpha is soft or an edge is near, and the side outputs."""
    logits, masks, gradients = model.decode(image, side_outputs=True)
    edge = nnf.max_pool2d(alpha, 5, 1, 2) + nnf.max_pool2d(-alpha, 5, 1, 2)
    entropy = nnf.binary_cross_entropy_with_logits(logits, alpha, weight=1 + 2 * edge)
    guess = torch.sigmoid(logits)
    both = (guess * alpha).sum((1, 2, 3))
    overlap = (both + 1) / (guess.sum((1, 2, 3)) + alpha.sum((1, 2, 3)) - both + 1)
    total = entropy + (1 - overlap).mean() + ((guess - alpha).abs() * edge).mean()
    for mask in masks:
        small = nnf.interpolate(alpha, mask.shape[-2:], mode="area")
        total = total + 0.3 * nnf.binary_cross_entropy_with_logits(mask, small)
    for gradient in gradients:
        small = nnf.interpolate(edge, gradient.shape[-2:], mode="area")
        total = total + 0.1 * nnf.binary_cross_entropy_with_logits(gradient, small)
    return total


def rate_at(progress: float, step: int) -> float:
    """Learning rate: warm-up by steps, then a cosine over the share of the time that is spent."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return (FLOOR_RATE + (PEAK_RATE - FLOOR_RATE) * cosine) * min(1.0, (step + 1) / WARM_UP)


def train_step(run: Run, image: Tensor, alpha: Tensor, progress: float) -> float:
    """One step of the optimiser and of the running average; gives the loss."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate_at(progress, run.step) * group["pace"]
    run.model.train()
    loss = loss_of(run.model, image, alpha)
    run.optimiser.zero_grad()
    loss.backward()
    _share_gradients(run)
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 2.0)
    run.optimiser.step()
    keep = min(0.998, (run.step + 1) / (run.step + 20))
    with torch.no_grad():
        averages, values = run.average.state_dict(), run.model.state_dict()
        for key, value in values.items():
            if value.is_floating_point():
                averages[key].lerp_(value, 1 - keep)
            else:
                averages[key].copy_(value)
    run.step += 1
    return float(loss.detach())


def _share_gradients(run: Run) -> None:
    """Averages gradients, and the time spent, over the worker processes."""
    if not distributed.is_initialized():
        return
    parameters = [p for p in run.model.parameters() if p.grad is not None]
    clock = torch.tensor([run.minutes], device=parameters[0].device)
    flat = torch.cat([clock, *(p.grad.flatten() for p in parameters if p.grad is not None)])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    run.minutes = float(flat[0])
    for parameter, gradient in zip(parameters, flat[1:].split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)


def side_at(progress: float) -> int:
    """The crops' side at a share of the time."""
    bounds = np.cumsum([share for _, share in STAGES])
    return STAGES[min(int(np.searchsorted(bounds, progress, "right")), len(STAGES) - 1)][0]


def batch_at(side: int) -> int:
    """Crops of a worker in one step."""
    return min(24, max(4, BATCH_PIXELS // side**2))


def train(run: Run, options: argparse.Namespace) -> None:
    """Goes on until the minutes are spent; the latest average that is no worse is in --out, all else in --state."""
    device = next(run.model.parameters()).device
    truth = list(held_out(VALIDATION, 60)) if options.rank == 0 else []
    samples, saved, losses = None, time.monotonic(), [0.0]
    while run.minutes < options.minutes:
        start = time.monotonic()
        progress = run.minutes / options.minutes
        if samples is None or samples.side != side_at(progress):
            samples = Samples(options.scenes, side_at(progress), device, 1000 * run.step + options.rank)
            run.best *= 0.98  # the figure of another size is no bar for this one
        losses = [*losses[-50:], train_step(run, *samples.batch(batch_at(samples.side)), progress)]
        run.minutes += (time.monotonic() - start) / 60
        if options.rank == 0 and (time.monotonic() - saved > SAVE_SECONDS or run.minutes >= options.minutes):
            overlap, error = evaluate(run.average, truth)
            print(f"{run.minutes:.1f} min step {run.step} side {samples.side} loss {np.mean(losses):.3f} "
                  f"IoU {overlap:.3f} MAE {error:.4f}", flush=True)  # fmt: skip
            if overlap >= run.best - CHOICE_NOISE:
                run.best = max(run.best, overlap)
                export(run.average, options.out)
            run.save(options.state)
            saved = time.monotonic()


def export(model: BiRefNet, out: Path) -> None:
    """Writes model.safetensors in float16 and config.json."""
    save_network(model, out, dtype=torch.float16)


def load(folder: Path) -> BiRefNet:
    """The exported network in float32, ready for inference."""
    model = BiRefNet(BiRefNetConfig.from_dict(json.loads((folder / "config.json").read_text())))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.float().eval()


@torch.inference_mode()
def predict(model: BiRefNet, image: np.ndarray) -> np.ndarray:
    """Probability of the subject, float32 [h, w], for an image uint8 [h, w, 3], as the cutter's network sees it."""
    width, height = model.config.image_size
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    device = next(model.parameters()).device
    pixels = torch.from_numpy(small).to(device).permute(2, 0, 1)[None].float() / 255
    mask = torch.sigmoid(model(normalised(pixels)))[0, 0].cpu().numpy()
    full = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)


def held_out(first: int, count: int) -> Iterable[Scene]:
    """Renders of about 320 x 320 pixels through a camera, of the seeds from `first` on."""
    for seed in range(first, first + count):
        aspect = ASPECTS[seed % len(ASPECTS)]
        yield render(seed, (round(320 * aspect**0.5), round(320 / aspect**0.5)), camera=True)


def evaluate(model: BiRefNet, scenes: Iterable[Scene]) -> tuple[float, float]:
    """Mean IoU at threshold 0.5 and mean absolute error."""
    overlaps, errors = [], []
    for scene in scenes:
        guess = predict(model, scene.image)
        both, either = (guess > 0.5) & (scene.alpha > 0.5), (guess > 0.5) | (scene.alpha > 0.5)
        overlaps.append(float(both.sum() / max(1, either.sum())))
        errors.append(float(np.abs(guess - scene.alpha).mean()))
    return float(np.mean(overlaps)), float(np.mean(errors))


def main() -> None:
    """Command line: trains, or evaluates what is there."""
    parser = argparse.ArgumentParser(description="Train or evaluate the embedded demo model.")
    parser.add_argument("--scenes", type=Path, default=Path("scenes"), help="folder of rendered chunks")
    parser.add_argument("--chunks", type=int, default=40, help="chunks to render first if the folder has none")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--workers", type=int, default=1, help="processes that share each step, each started by hand")
    parser.add_argument("--rank", type=int, default=0, help="this process among the workers, from 0")
    parser.add_argument("--state", type=Path, default=Path("training.pt"), help="what --resume goes on from")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--evaluate", type=int, default=0, metavar="N")
    options = parser.parse_args()
    if options.evaluate:
        overlap, error = evaluate(load(options.out), held_out(HELD_OUT, options.evaluate))
        print(f"{options.evaluate} held-out renders: mean IoU {overlap:.4f}, MAE {error:.4f}")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.scenes.mkdir(parents=True, exist_ok=True)
    for index in range(options.chunks if not any(options.scenes.glob("*.npy")) else 0):
        render_chunk(options.scenes, index, device)
    if options.workers > 1:
        # One thread per process: no barrier inside a layer waits for a core that another process holds.
        torch.set_num_threads(1)
        meeting = f"file://{options.state.resolve()}.meeting"
        distributed.init_process_group("gloo", init_method=meeting, rank=options.rank, world_size=options.workers)
    torch.manual_seed(0)
    run = Run.fresh(device)
    if options.resume:
        run.load(options.state)
    train(run, options)


if __name__ == "__main__":
    main()
