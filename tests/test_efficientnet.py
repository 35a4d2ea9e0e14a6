"""The EfficientNet-Lite backbone, its input's scale, and what is left out where weights are zero."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared.models.birefnet import BiRefNet, BiRefNetConfig, build_network, load
from shared.models.birefnet.decoder import DeformableConv
from shared.models.birefnet.efficientnet import EfficientNetLite, InvertedResidual, SameConv2d, normed, same_padding
from shared.models.birefnet.loading import infer_config, save_network
from tests.data.birefnet import rule

LITES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
PUBLISHED = {"efficientnet_lite0": 4.65, "efficientnet_lite1": 5.42, "efficientnet_lite2": 6.09}  # millions, whole


def tiny_config(**changes) -> BiRefNetConfig:
    sizes: dict[str, Any] = {
        "backbone": "efficientnet_lite0",
        "block_widths": (4, 6, 8, 8, 12, 12, 16),
        "block_depths": (1, 2, 1, 1, 2, 1, 1),
        "decoder_channels": 8,
        "aspp_channels": 8,
        "aspp_kernels": (3,),
        "gradient_channels": 4,
        "image_size": (96, 64),
    }
    return BiRefNetConfig(**(sizes | changes))


def tiny() -> BiRefNet:
    return rule.fill_(BiRefNet(tiny_config())).eval()


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


# The backbone


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_that_of_tensorflows_documentation(size: int, kernel: int, stride: int):
    remainder = size % stride
    total = max(kernel - stride, 0) if remainder == 0 else max(kernel - remainder, 0)
    assert same_padding(size, kernel, stride) == (total // 2, total - total // 2)


@pytest.mark.parametrize("size", [(12, 10), (9, 12), (7, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_convolution_sums_the_taps_that_lie_inside_its_input(size: tuple[int, int], stride: int, kernel: int):
    random = np.random.default_rng(0)
    conv = SameConv2d(1, 1, kernel, stride).requires_grad_(False)
    x, taps = random.standard_normal(size), random.standard_normal((kernel, kernel))
    conv.weight.copy_(torch.from_numpy(taps)[None, None])
    (top, _), (left, _) = (same_padding(side, kernel, stride) for side in size)
    expected = np.zeros((-(-size[0] // stride), -(-size[1] // stride)))
    for row, column in np.ndindex(expected.shape):
        for i, j in np.ndindex(taps.shape):
            y, z = row * stride + i - top, column * stride + j - left
            if 0 <= y < size[0] and 0 <= z < size[1]:
                expected[row, column] += taps[i, j] * x[y, z]
    found = conv(torch.from_numpy(x)[None, None].float())[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("lite", LITES)
def test_the_published_sizes_have_the_published_number_of_parameters(lite: str):
    config = BiRefNetConfig(backbone=lite)
    with torch.device("meta"):
        backbone = EfficientNetLite(config.block_widths or (), config.block_depths or ())
    head, classifier = 1280 * (config.widths[3] + 2), 1280 * 1000 + 1000
    own = sum(parameter.numel() for parameter in backbone.parameters())
    assert round((own + head + classifier) / 1e6, 2) == PUBLISHED[lite]


@pytest.mark.parametrize("side", [(64, 96), (32, 32), (48, 80)])
def test_the_four_maps_lie_at_strides_4_to_32_rounded_up(side: tuple[int, int]):
    config = tiny_config()
    maps = EfficientNetLite(config.block_widths or (), config.block_depths or ()).eval()(torch.zeros(1, 3, *side))
    strides = (4, 8, 16, 32)
    expected = [(1, w, -(-side[0] // s), -(-side[1] // s)) for w, s in zip(config.widths, strides, strict=True)]
    assert [tuple(found.shape) for found in maps] == expected


def test_a_block_adds_its_input_only_where_shapes_stay():
    torch.manual_seed(0)
    same, other = InvertedResidual(4, 4, 3, 1, 6).eval(), InvertedResidual(4, 4, 3, 2, 6).eval()
    x = torch.randn(1, 4, 8, 8)
    for block in (same, other):
        nn.init.zeros_(block.project.weight)
    torch.testing.assert_close(same(x), x)
    torch.testing.assert_close(other(x), torch.zeros(1, 4, 4, 4))


def test_a_norm_with_fixed_statistics_gives_the_same_folded_into_the_weights_gradients_included():
    torch.manual_seed(0)
    conv, norm = SameConv2d(4, 6, 3, 2), nn.BatchNorm2d(6, eps=1e-3).eval()
    for name, values in norm.state_dict().items():
        if name == "running_var":
            nn.init.uniform_(values, 0.1, 2.0)
        elif values.is_floating_point():
            nn.init.normal_(values)
    x = torch.randn(2, 4, 9, 10)
    results = [norm(conv(x)), normed(conv, norm, x)]
    torch.testing.assert_close(*results)
    parameters = [conv.weight, norm.weight, norm.bias]
    one, two = (torch.autograd.grad(result.square().sum(), parameters) for result in results)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-3)


# Configuration and loading


def test_backbone_and_sizes_are_read_from_the_shapes():
    for config in (tiny_config(), BiRefNetConfig(backbone="efficientnet_lite2")):
        with torch.device("meta"):
            found = infer_config(BiRefNet(config).state_dict())
        assert found.widths == config.widths
        assert tuple(found.block_depths or ()) == tuple(config.block_depths or ())
        assert found.image_mean == config.image_mean
    assert found.backbone == "efficientnet_lite2"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"block_depths": (1, 2, 3)}, "block_depths"),
        ({"block_widths": (0,) * 7}, "block_widths"),
        ({"image_mean": (0.5,)}, "image_mean"),
        ({"image_std": (0.5, 0.0, 0.5)}, "image_std"),
    ],
)
def test_sizes_and_scales_that_do_not_fit_are_named(changes: dict, named: str):
    with pytest.raises(ValueError, match=named):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("changes", "mean", "deviation"),
    [
        ({}, (127 / 255,) * 3, (128 / 255,) * 3),
        ({"image_mean": (0.1, 0.2, 0.3), "image_std": (0.5, 0.6, 0.7)}, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
    ],
)
def test_the_network_sees_its_input_on_the_scale_that_the_configuration_names(tmp_path, changes, mean, deviation):
    config = tiny_config(**changes)
    network = rule.fill_(BiRefNet(config)).eval()
    save_network(network, tmp_path)
    pixels = (picture() / 255.0 - mean) / deviation
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).sigmoid()[0, 0].numpy()
    found = load(str(tmp_path), device="cpu")([picture()])[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


# What is left out where weights are zero


def zeroed() -> dict[str, torch.Tensor]:
    state = tiny().state_dict()
    silent = ("offset_conv", "modulator_conv", "ipt_blk1.conv_out")
    return {key: torch.zeros_like(v) if any(name in key for name in silent) else v for key, v in state.items()}


def steered(network: BiRefNet) -> list[bool]:
    return [module.steered for module in network.modules() if isinstance(module, DeformableConv)]


def test_what_zero_weights_leave_out_changes_nothing():
    network = BiRefNet(tiny_config()).eval()
    network.load_state_dict(zeroed())
    x = rule.make_input(64, 96, 2)
    with torch.inference_mode():
        whole = network(x)
        shorter = network.skip_zeros()(x)
    assert not network.decoder.fine
    assert not any(steered(network))
    torch.testing.assert_close(shorter, whole, rtol=1e-4, atol=1e-4)


def test_loading_leaves_out_zeros_and_nothing_else():
    assert not build_network(zeroed(), tiny_config(), patch_order="current").decoder.fine
    full = build_network(tiny().state_dict(), tiny_config(), patch_order="current")
    assert full.decoder.fine
    assert all(steered(full))
