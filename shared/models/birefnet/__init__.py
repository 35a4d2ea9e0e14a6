"""BiRefNet: our implementation of the architecture, its loading and its use on images."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from shared.errors import GpuUnavailable, WeightsError
from shared.models.birefnet.config import BiRefNetConfig
from shared.models.birefnet.loading import build_network
from shared.models.birefnet.network import BiRefNet
from shared.models.birefnet.segmenter import LIMITS, BiRefNetSegmenter
from shared.models.birefnet.tiles import detect_patch_order
from shared.models.device import require_gpu
from shared.models.weights import WeightsFile, find_weights, open_weights
from shared.records import ModelInfo

__all__ = [
    "BiRefNet",
    "BiRefNetConfig",
    "BiRefNetSegmenter",
    "build_network",
    "detect_patch_order",
    "load",
    "require_gpu",
]

DTYPES = ("float32", "float16", "bfloat16")

LOG = logging.getLogger(__name__)


def load(
    name: str,
    *,
    revision: str = "",
    device: str = "auto",
    dtype: str = "auto",
    size: tuple[int, int] | None = None,
    patch_order: str = "auto",
    folder: Path | None = None,
) -> BiRefNetSegmenter:
    """A segmenter from "embedded", a Hugging Face id, or a local file or folder.

    device: auto (a GPU if there is one), cuda, cpu.
    dtype: auto (float16 on a GPU, float32 on a CPU), float32, float16, bfloat16.
    size: width and height of the network's input, multiples of 32; None = the checkpoint's own.
    patch_order: auto (read from the weights), current, legacy.
    folder: where downloads are kept; None = the cache.
    Raises WeightsError, GpuUnavailable, ValueError.
    """
    device = _device(device)
    dtype = _dtype(dtype, device)
    file = find_weights(name, revision=revision, dtype=dtype, folder=folder)
    config = _config(file)
    told = file.checkpoint or config
    network = build_network(
        open_weights(file.path),
        config,
        patch_order=patch_order,
        expected_order=told.patch_order if told else None,
        device=device,
        dtype=getattr(torch, dtype),
    )
    if device == "cuda" and dtype != "float32":
        # the deformable convolutions stay in float32; their products need no more digits than the rest has
        torch.set_float32_matmul_precision("high")
    segmenter = BiRefNetSegmenter(
        network=network.requires_grad_(False),
        size=_size(size, file, network.config),
        mean=tuple(network.config.image_mean or ()),
        deviation=tuple(network.config.image_std or ()),
        info=ModelInfo(id=file.id, revision=file.revision, sha256=file.sha256, device=device, dtype=dtype),
        limits=replace(LIMITS, trained_on_alpha=bool(file.checkpoint and file.checkpoint.trained_on_alpha)),
    )
    LOG.info("model %s %s on %s in %s at %dx%d", file.id, file.sha256[:12], device, dtype, *segmenter.size)
    return segmenter


def _device(asked: str) -> str:
    if asked not in ("auto", "cuda", "cpu"):
        raise ValueError(f"device is {asked!r}; known: auto, cuda, cpu")
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise GpuUnavailable("device is cuda, but there is no GPU that this PyTorch can use")
    return "cuda" if available and asked != "cpu" else "cpu"


def _dtype(asked: str, device: str) -> str:
    if asked == "auto":
        return "float16" if device == "cuda" else "float32"
    if asked not in DTYPES:
        raise ValueError(f"dtype is {asked!r}; known: auto, {', '.join(DTYPES)}")
    return asked


def _config(file: WeightsFile) -> BiRefNetConfig | None:
    """The configuration beside the weights, if it is one of ours; published ones hold no sizes."""
    if file.config is None:
        return None
    try:
        fields = json.loads(file.config.read_text())
        ours = fields.get("model_type") == BiRefNetConfig.model_type and "backbone" in fields
        return BiRefNetConfig.from_dict(fields) if ours else None
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file.config}: {error}") from error


def _size(asked: tuple[int, int] | None, file: WeightsFile, config: BiRefNetConfig) -> tuple[int, int]:
    own = file.checkpoint.image_size if file.checkpoint else config.image_size
    width, height = asked or own
    LIMITS.check_size(width, height)
    return width, height
