"""A checkpoint's tensors -> a network: sizes read from the shapes, every key accounted for."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from shared.errors import WeightsError
from shared.models.birefnet.config import BACKBONES, BLOCK_STAGES, STAGES, BiRefNetConfig, published_sizes
from shared.models.birefnet.network import BiRefNet
from shared.models.birefnet.tiles import TILE_GRIDS, from_legacy, settle_patch_order
from shared.models.weights import CONFIG_FILE, HUB_FILE

HEAD_WIDTH = 32  # of published PVT weights; their shapes do not show the number of heads
TRAINING_ONLY = re.compile(r"decoder\.(conv_ms_spvn|gdt_convs_pred)_\d\.")
LISTED = 5  # names in an error message


def build_network(
    state: Mapping[str, Tensor],
    config: BiRefNetConfig | None = None,
    *,
    patch_order: str = "auto",
    expected_order: str | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> BiRefNet:
    """The network that these tensors belong to, in evaluation mode, with the current tile order.

    config: the sizes; None = read from the shapes. patch_order: how the tensors are ordered (auto, current, legacy).
    expected_order: the fallback and the cross-check of auto.
    Raises WeightsError for missing, unexpected or misshapen tensors; those that only training uses may be absent.
    """
    config = config or infer_config(state)
    with torch.device("meta"):
        network = BiRefNet(config)
    complete = _complete(network, state, device, dtype)
    telling = complete["decoder.ipt_blk5.conv1.weight"]
    if settle_patch_order(patch_order, telling, expected_order) == "legacy":
        complete.update(current_tile_order(complete))
    network.load_state_dict(complete, assign=True)
    network.config.patch_order = "current"
    return network.eval().skip_zeros()


def save_network(network: BiRefNet, folder: Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write model.safetensors and config.json, which `load` and `from_pretrained` open; the first one's path.

    dtype: of the stored weights; None = their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    tensors = {k: v.to("cpu", dtype if v.is_floating_point() else None).contiguous() for k, v in state.items()}
    save_file(tensors, folder / HUB_FILE, {"format": "pt"})
    (folder / HUB_FILE).chmod(0o644)  # safetensors writes files that only their owner may read
    (folder / CONFIG_FILE).write_text(json.dumps(network.config.to_dict(), indent=2) + "\n")
    return folder / HUB_FILE


def _complete(network: BiRefNet, state: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not TRAINING_ONLY.match(key)]
    problems = [
        (missing, "missing"),
        ([key for key in state if key not in expected], "unexpected"),
        ([key for key in state if key in expected and state[key].shape != expected[key].shape], "of another shape"),
        ([key for key in state if key in expected and not _same_kind(state[key], expected[key])], "of another dtype"),
    ]
    found = [f"{len(keys)} {kind} ({', '.join(keys[:LISTED])})" for keys, kind in problems if keys]
    if found:
        raise WeightsError(f"not the tensors of this network: {'; '.join(found)}")
    complete = {}
    for key, tensor in expected.items():
        value = state.get(key, torch.zeros(tensor.shape)) if TRAINING_ONLY.match(key) else state[key]
        layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
        kind = dtype if tensor.is_floating_point() else tensor.dtype
        complete[key] = value.to(device, kind, memory_format=layout)
    return complete


def _same_kind(one: Tensor, other: Tensor) -> bool:
    return one.is_floating_point() == other.is_floating_point()


def current_tile_order(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` that depend on the tile order, converted from legacy to current."""
    keys = [f"decoder.ipt_blk{block}.conv1.weight" for block in TILE_GRIDS]
    return {key: from_legacy(state[key]).to(memory_format=torch.channels_last) for key in keys}


def infer_config(state: Mapping[str, Tensor]) -> BiRefNetConfig:
    """The sizes that a checkpoint's shapes show. Raises WeightsError if it is not a BiRefNet."""
    try:
        backbone = _backbone_sizes(state)
        return BiRefNetConfig(backbone=_name(backbone), **backbone, **_decoder_sizes(state))
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"not a BiRefNet checkpoint: {error}") from error


def _backbone_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    if "bb.patch_embed.proj.weight" in state:
        return _swin_sizes(state)
    return _efficientnet_sizes(state) if "bb.stem.weight" in state else _pvt_sizes(state)


def _name(sizes: Mapping[str, Any]) -> str:
    for name in BACKBONES:
        if published_sizes(name) == sizes:
            return name
    if "block_widths" in sizes:
        return "efficientnet_lite0"
    return "swin_v1_t" if "embed_dim" in sizes else "pvt_v2_b0"


def _swin_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    tables = [state[f"bb.layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(STAGES)]
    return {
        "embed_dim": state["bb.patch_embed.proj.weight"].shape[0],
        "depths": tuple(_count(state, rf"bb\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(STAGES)),
        "num_heads": tuple(table.shape[1] for table in tables),
        "window_size": (round(tables[0].shape[0] ** 0.5) + 1) // 2,
    }


def _pvt_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = range(1, STAGES + 1)
    widths = tuple(state[f"bb.norm{stage}.weight"].shape[0] for stage in stages)
    reductions = [state.get(f"bb.block{stage}.0.attn.sr.weight") for stage in stages]
    hidden = [state[f"bb.block{stage}.0.mlp.fc1.weight"].shape[0] for stage in stages]
    return {
        "embed_dims": widths,
        "depths": tuple(_count(state, rf"bb\.block{stage}\.(\d+)\.") for stage in stages),
        "num_heads": tuple(max(1, width // HEAD_WIDTH) for width in widths),
        "mlp_ratios": tuple(size // width for size, width in zip(hidden, widths, strict=True)),
        "sr_ratios": tuple(1 if weight is None else weight.shape[-1] for weight in reductions),
    }


def _efficientnet_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    depths = tuple(_count(state, rf"bb\.stages\.{stage}\.(\d+)\.") for stage in range(BLOCK_STAGES))
    widths = tuple(state[f"bb.stages.{stage}.0.project.weight"].shape[0] for stage in range(BLOCK_STAGES))
    return {"block_widths": widths, "block_depths": depths}


def _decoder_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    aspp = "squeeze_module.0.dec_att."
    branches = _count(state, re.escape(aspp) + r"aspp_deforms\.(\d+)\.")
    kernels = (state[f"{aspp}aspp_deforms.{i}.atrous_conv.regular_conv.weight"].shape[-1] for i in range(branches))
    return {
        "decoder_channels": state["squeeze_module.0.conv_in.weight"].shape[0],
        "aspp_channels": state[f"{aspp}aspp1.bn.weight"].shape[0],
        "aspp_kernels": tuple(kernels),
        "gradient_channels": state["decoder.gdt_convs_4.0.weight"].shape[0],
    }


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = (re.match(pattern, key) for key in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
