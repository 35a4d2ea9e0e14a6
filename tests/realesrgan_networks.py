"""Real-ESRGAN networks with random weights, saved the way the published files are."""

import importlib
from pathlib import Path

import torch

RRDB = importlib.import_module("spandrel.architectures.ESRGAN.__arch.RRDB")
SRVGG = importlib.import_module("spandrel.architectures.Compact.__arch.SRVGG")


def x2plus_like(*, filters: int = 8, blocks: int = 1) -> torch.nn.Module:
    """Works on a half-size grid, as RealESRGAN_x2plus does."""
    return RRDB.RRDBNet(in_nc=12, num_filters=filters, num_blocks=blocks, scale=4, shuffle_factor=2)


def x4plus_like(*, filters: int = 8, blocks: int = 1) -> torch.nn.Module:
    return RRDB.RRDBNet(num_filters=filters, num_blocks=blocks, scale=4)


def general_x4_like() -> torch.nn.Module:
    return SRVGG.SRVGGNetCompact(num_feat=16, num_conv=4, upscale=4)


def save(network: torch.nn.Module, path: Path, *, seed: int = 0) -> Path:
    """Fill with weights whose output keeps the range of images, and save the state dict.

    The published files hold it under "params_ema"; so does this one.
    """
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        if value.ndim > 1:
            fan_in = value[0].numel()
            state[name] = torch.randn(value.shape, generator=generator) * (1.2 / fan_in) ** 0.5
        elif name.endswith("bias"):
            state[name] = torch.randn(value.shape, generator=generator) * 0.02
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"params_ema": state}, path)
    return path
