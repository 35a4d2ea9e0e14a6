"""Images in, probabilities out: the network with its preprocessing, on its device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import NetworkFailed
from shared.models.birefnet.config import STRIDE
from shared.models.device import first_that_fits
from shared.models.limits import Limits
from shared.records import ModelInfo

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1
DEVIATION = (0.229, 0.224, 0.225)
LIMITS = Limits(multiple=STRIDE, half_precision=frozenset({"float16", "bfloat16"}))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BiRefNetSegmenter:
    """The probability of subject for each pixel of images at the network's own size. Thread-safe."""

    network: Callable[[Tensor], Tensor]  # normalised (B, 3, H, W) -> logits (B, 1, H, W)
    size: tuple[int, int]  # width and height of the input, pixels
    info: ModelInfo
    limits: Limits = LIMITS

    @property
    def trained_on_alpha(self) -> bool:
        return self.limits.trained_on_alpha

    def __call__(self, batch: Sequence[NDArray[np.uint8]], /) -> list[NDArray[np.float32]]:
        """Images in sRGB at `size`, uint8 HxWx3 -> probabilities, float32 HxW, 0..1; one forward for all of them.

        Out of GPU memory, each image goes alone. Raises ValueError for images of another kind or size, OutOfGpuMemory,
        GpuUnavailable (this process can compute no more), and NetworkFailed if the network gives values that are
        not numbers.
        """
        if not batch:
            return []
        self._check(batch)
        width, height = self.size
        return first_that_fits(
            lambda: self._forward(batch),
            lambda: [self._forward([image])[0] for image in batch],
            what=f"one image of {width}x{height}",
        )

    def _check(self, batch: Sequence[NDArray[np.uint8]]) -> None:
        expected = (self.size[1], self.size[0], 3)
        for image in batch:
            if image.shape != expected or image.dtype != np.uint8:
                raise ValueError(f"the network takes {expected} uint8, got {image.shape} {image.dtype}")

    @torch.inference_mode()
    def _forward(self, batch: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        logits = self.network(self._normalised(np.stack(batch))).float()
        if not bool(torch.isfinite(logits).all()):
            raise NetworkFailed(f"{self.info.id} in {self.info.dtype} gave logits that are not numbers")
        return list(logits.sigmoid().squeeze(1).cpu().numpy())

    def _normalised(self, images: NDArray[np.uint8]) -> Tensor:
        device = self.info.device
        mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255  # stays channels-last
        return ((pixels - mean) / deviation).to(getattr(torch, self.info.dtype))
