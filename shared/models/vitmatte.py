"""ViTMatte (Yao et al., "Boosting Image Matting with Pretrained Plain Vision Transformers", 2023) on crops of the band.

The network is transformers' own class; no code comes with the weights. It sees squares of the upload's full resolution
and only those that touch the unknown band, so memory is bounded whatever the upload's size.
"""

import json
import math
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

from shared.errors import NetworkFailed, WeightsError
from shared.models.checkpoints import VITMATTE
from shared.models.device import first_that_fits
from shared.models.limits import Limits
from shared.models.tiling import Tile, squares
from shared.models.weights import find_weights, open_weights

CROP = 512  # pixels: side of a square that the network sees
LIMITS = Limits(
    multiple=32, half_precision=frozenset({"float16", "bfloat16"}), trained_side=CROP, trained_on_alpha=True
)
MARGIN = 64  # pixels of context on each side of a square
WIDENING = 3.0  # pixels of a 1024 x 1024 image by which the unknown band is widened; grows with the image
CROPS_PER_BATCH = 4  # on a GPU
UNKNOWN, FOREGROUND = 0.5, 1.0  # the trimap's values; background is 0


def load(
    name: str = VITMATTE.id,
    *,
    revision: str = "",
    sha256: str = "",
    folder: Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> "VitMatte":
    """A matting network from a Hugging Face id or a local folder (model.safetensors and config.json).

    The published checkpoint has its sha256 (find_weights), any other must have the one that is given.
    `folder` holds the downloads. Raises WeightsError.
    """
    file = find_weights(name, revision=revision, folder=folder)
    if sha256 and file.sha256 != sha256:
        raise WeightsError(f"{file.path} has sha256 {file.sha256}, expected {sha256}: the file was altered")
    network = VitMatteForImageMatting(_config(file.config))
    try:
        network.load_state_dict(open_weights(file.path))
    except RuntimeError as error:
        raise WeightsError(f"{file.path} is not a checkpoint of this ViTMatte: {error}") from error
    return VitMatte(network, sha256=file.sha256, device=device, dtype=dtype)


def _config(path: Path | None) -> VitMatteConfig:
    """The configuration beside the weights; without one, that of the small network."""
    if path is None:
        return small_config()
    try:
        values = json.loads(path.read_text())
        config = VitMatteConfig.from_dict(values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a configuration of ViTMatte: {error}") from error
    if getattr(config.backbone_config, "model_type", "") != "vitdet" or config.backbone_config.num_channels != 4:
        raise WeightsError(f"{path} does not describe a plain ViTMatte")  # other backbones would be fetched by name
    return config


def small_config() -> VitMatteConfig:
    """ViTMatte-S: ViT-S/16 with four global and eight windowed blocks, over RGB and trimap."""
    backbone = VitDetConfig(
        num_channels=4,
        image_size=CROP,
        hidden_size=384,
        num_attention_heads=6,
        use_relative_position_embeddings=True,
        window_size=14,
        window_block_indices=[0, 1, 3, 4, 6, 7, 9, 10],
        residual_block_indices=[2, 5, 8, 11],
        out_features=["stage12"],
    )
    return VitMatteConfig(
        backbone_config=backbone,
        hidden_size=384,
        convstream_hidden_sizes=[48, 96, 192],  # the defaults, but as lists: the class refuses its own tuples
        fusion_hidden_sizes=[256, 128, 64, 32],
    )


class VitMatte:
    """Alpha of the unknown band, from a second network. Thread-safe: one image at a time is in the network."""

    def __init__(
        self,
        network: VitMatteForImageMatting,
        *,
        sha256: str,
        device: str = "cpu",
        dtype: str = "float32",
        crop: int = CROP,
        margin: int = MARGIN,
    ) -> None:
        """crop: pixels, a multiple as LIMITS says; margin: pixels of context on each side of it."""
        LIMITS.check_size(crop, crop)
        self.sha256 = sha256
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._network: Any = network.to(self._device, dtype=self._dtype).eval()
        self._crop, self._margin = crop, margin
        self._lock = threading.Lock()

    def __call__(self, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """rgb: uint8, HxWx3. alpha: uint8, HxW, soft in the unknown band. Gives refined alpha, uint8, HxW.

        Opaque and transparent pixels beyond the widened band stay. Raises OutOfGpuMemory, GpuUnavailable and
        NetworkFailed.
        """
        unknown = _unknown(alpha)
        refined = alpha.copy()
        cut = squares(unknown > 0, side=self._crop - 2 * self._margin, margin=self._margin)
        size = CROPS_PER_BATCH if self._device.type == "cuda" else 1
        for start in range(0, len(cut), size):
            batch = cut[start : start + size]
            crops = np.stack([_network_input(rgb, alpha, unknown, square) for square in batch])
            with self._lock:
                answers = self._run(crops)
            for square, answer in zip(batch, answers, strict=True):
                target = square.within(refined)
                inner = answer[self._margin :, self._margin :][: target.shape[0], : target.shape[1]]
                cv2.copyTo(inner, square.within(unknown), target)
        return refined

    def _run(self, crops: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Crops -> alpha of each, uint8."""
        return first_that_fits(
            lambda: self._forward(crops),
            lambda: np.concatenate([self._forward(crop[None]) for crop in crops]),
            what=f"a crop of {self._crop} pixels",
        )

    @torch.inference_mode()
    def _forward(self, crops: NDArray[np.float32]) -> NDArray[np.uint8]:
        pixels = torch.from_numpy(crops).to(self._device, dtype=self._dtype)
        alphas = self._network(pixel_values=pixels).alphas.float()
        if not bool(torch.isfinite(alphas).all()):
            raise NetworkFailed("ViTMatte gave values that are not numbers")
        answers: NDArray[np.uint8] = (alphas[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
        return answers


def _network_input(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], unknown: NDArray[np.uint8], square: Tile
) -> NDArray[np.float32]:
    """What the network sees of a square: float32, 4 x crop x crop: RGB in -1..1, trimap in 0..1."""
    trimap = np.where(square.crop(unknown) > 0, UNKNOWN, (square.crop(alpha) == 255) * FOREGROUND)
    image = square.crop(rgb).astype(np.float32) / 127.5 - 1
    return np.concatenate([image.transpose(2, 0, 1), trimap[None].astype(np.float32)])


def _unknown(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where the trimap is unknown: 255, else 0."""
    soft = cv2.inRange(alpha, 1, 254)
    reach = max(1, round(WIDENING * math.sqrt(alpha.size) / 1024))
    unknown: NDArray[np.uint8] = cv2.dilate(soft, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return unknown
