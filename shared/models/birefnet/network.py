"""BiRefNet: one backbone on two scales, a squeeze over all stages, a decoder that refers back to the image.

Zheng et al. 2024, "Bilateral Reference for High-Resolution Dichotomous Image Segmentation" (arXiv:2401.03407).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import init

from shared.models.birefnet.config import STRIDE, BiRefNetConfig
from shared.models.birefnet.decoder import (
    Decoder,
    DecoderBlock,
    DecoderOutput,
    DeformableConv,
    ZeroConv2d,
    resize,
)
from shared.models.birefnet.efficientnet import EfficientNetLite
from shared.models.birefnet.pvt import PyramidVisionTransformer
from shared.models.birefnet.swin import SwinTransformer, WindowAttention


class BiRefNet(nn.Module):
    """Salient object as logits.

    Input (B, 3, H, W): RGB normalised by the configuration's `image_mean` and `image_std`, H and W multiples of 32.
    Output (B, 1, H, W): logits, the sigmoid of which is the probability of the subject.
    """

    def __init__(self, config: BiRefNetConfig) -> None:
        super().__init__()
        self.config = config
        self.bb = build_backbone(config)
        widths = [2 * width for width in config.widths]
        inside = (config.decoder_channels, config.aspp_channels, config.aspp_kernels)
        self.squeeze_module = nn.Sequential(DecoderBlock(sum(widths), widths[3], *inside))
        self.decoder = Decoder(widths, *inside, config.gradient_channels)
        self.apply(initial_weights)

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(image).logits

    def decode(self, image: Tensor, *, side_outputs: bool = False) -> DecoderOutput:
        """The logits, and with `side_outputs` the coarser masks and gradients that training supervises.

        Raises ValueError for an input that is not (B, 3, H, W) with H and W multiples of 32.
        """
        check_input(image)
        output: DecoderOutput = self.decoder(image, self.encode(image), side_outputs=side_outputs)
        return output

    def skip_zeros(self) -> "BiRefNet":
        """This network, which from now on leaves out what its weights make zero: the same result with less work."""
        for module in self.modules():
            if isinstance(module, DeformableConv | Decoder):
                module.skip_zeros()
        return self

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of both scales, finest first; the coarsest has seen all of them and the squeeze."""
        half = resize(image, [side // 2 for side in image.shape[-2:]])
        pairs = zip(self.bb(image), self.bb(half), strict=True)
        features = [torch.cat([full, resize(small, full.shape[-2:])], 1) for full, small in pairs]
        coarse = features[3].shape[-2:]
        context = torch.cat([resize(feature, coarse) for feature in features], 1)
        return [*features[:3], self.squeeze_module(context)]


def check_input(image: Tensor) -> None:
    """Raises ValueError for an input that is not (B, 3, H, W) with H and W multiples of 32."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"the network takes (B, 3, H, W), got {tuple(image.shape)}")
    if any(side == 0 or side % STRIDE for side in image.shape[-2:]):
        raise ValueError(f"height and width must be multiples of {STRIDE}, got {tuple(image.shape[-2:])}")


@torch.no_grad()
def initial_weights(module: nn.Module) -> None:
    """Fill one layer's weights as training starts with them."""
    if isinstance(module, WindowAttention):
        init.trunc_normal_(module.relative_position_bias_table, std=0.02)
    elif isinstance(module, nn.Linear):
        init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, ZeroConv2d):
        init.zeros_(module.weight)
    elif isinstance(module, nn.Conv2d):
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        init.zeros_(module.bias)


def build_backbone(config: BiRefNetConfig) -> nn.Module:
    """The encoder that the configuration names, with random weights."""
    if config.block_widths is not None:
        return EfficientNetLite(config.block_widths, config.block_depths or ())
    if config.embed_dims is not None:
        return PyramidVisionTransformer(
            config.embed_dims,
            config.depths or (),
            config.num_heads or (),
            config.mlp_ratios or (),
            config.sr_ratios or (),
        )
    return SwinTransformer(config.embed_dim or 0, config.depths or (), config.num_heads or (), config.window_size or 0)
