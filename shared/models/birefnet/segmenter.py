"""Images in, probabilities out: the network with its preprocessing, on its device."""

import copy
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

LIMITS = Limits(multiple=STRIDE, half_precision=frozenset({"float16", "bfloat16"}))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BiRefNetSegmenter:
    """The probability of subject for each pixel of images at the network's own size. Thread-safe."""

    network: Callable[[Tensor], Tensor]  # normalised (B, 3, H, W) -> logits (B, 1, H, W)
    size: tuple[int, int]  # width and height of the input, pixels
    info: ModelInfo
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of red, green and blue in 0..1, as trained with; here ImageNet's
    deviation: tuple[float, ...] = (0.229, 0.224, 0.225)
    limits: Limits = LIMITS

    @property
    def trained_on_alpha(self) -> bool:
        return self.limits.trained_on_alpha

    def __call__(self, batch: Sequence[NDArray[np.uint8]], /) -> list[NDArray[np.float32]]:
        """Images in sRGB at `size`, uint8 HxWx3 -> probabilities, float32 HxW, 0..1; one forward for all of them.

        Out of GPU memory, each image goes alone. An image for which half precision gives values that are not numbers is
        computed once more in float32. Raises ValueError for images of another kind or size, OutOfGpuMemory,
        GpuUnavailable (this process can compute no more), and NetworkFailed if float32 gives no numbers either.
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
        logits = self.network(self._normalised(np.stack(batch), self.info.dtype)).float()
        masks = list(logits.sigmoid().squeeze(1).cpu().numpy())
        finite = torch.isfinite(logits).flatten(1).all(dim=1).tolist()
        for index, image in enumerate(batch):
            if not finite[index]:
                masks[index] = self._in_float32(image)
        return masks

    def _in_float32(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One image through a copy of the network in float32: rare, so the copy is not kept."""
        reason = "the network gives values that are not numbers for this image"
        if self.info.dtype == "float32" or not isinstance(self.network, torch.nn.Module):
            raise NetworkFailed(reason, detail=f"{self.info.id} in {self.info.dtype}")
        logits = copy.deepcopy(self.network).float()(self._normalised(image[None], "float32"))
        if not bool(torch.isfinite(logits).all()):
            raise NetworkFailed(reason, detail=f"{self.info.id} in {self.info.dtype} and in float32")
        mask: NDArray[np.float32] = logits.sigmoid()[0, 0].cpu().numpy()
        return mask

    def _normalised(self, images: NDArray[np.uint8], dtype: str) -> Tensor:
        device = self.info.device
        mean, deviation = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.deviation)
        )
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255  # stays channels-last
        return ((pixels - mean) / deviation).to(getattr(torch, dtype))
