import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from shared.errors import GpuUnavailable, NetworkFailed, OutOfGpuMemory, WeightsError
from shared.models.birefnet import BiRefNet, BiRefNetConfig, BiRefNetSegmenter, detect_patch_order, load, require_gpu
from shared.models.birefnet.decoder import DeformableConv
from shared.models.birefnet.deformable import kernel_deform_conv, sampled_deform_conv
from shared.models.birefnet.loading import build_network, infer_config, save_network
from shared.models.birefnet.pretrained import BiRefNetModel
from shared.models.birefnet.tiles import from_legacy, settle_patch_order, stack_tiles, to_legacy
from shared.models.weights import EMBEDDED, EMBEDDED_FOLDER, HUB_FILE
from shared.records import ModelInfo
from tests.data.birefnet import rule
from tests.parity import (
    FOLDER,
    TOLERANCE,
    VARIANTS,
    filled,
    goldens,
    manifest,
    max_relative,
    network,
    state_sha256,
    stored_in,
)

FILLED_SHA256 = {
    "swin_v1_t": "421fec48db74a686d8b7b71a71d0de86255504781fa9db3d2095f05f952a9d0a",
    "swin_v1_l": "e67d89076f07e77bdece9c85189f75ba7977b32c48e47669494e48b275cb1ff1",
    "pvt_v2_b0": "3ad66426f9b5399c13af76c703fa01f1b3d3ea8f07328f7df184678b3903e130",
}
GOLDENS = {golden.name: golden for golden in goldens()}
SMALL = ("pvt_v2_b0_256x256", "swin_v1_t_96x64_b2")
INFO = ModelInfo(id="tiny", revision="", sha256="", device="cpu", dtype="float32")


@pytest.fixture(scope="module", autouse=True)
def large_networks_are_released():
    yield
    network.cache_clear()
    filled.cache_clear()


def tiny_config(**changes) -> BiRefNetConfig:
    sizes: dict[str, Any] = {
        "backbone": "swin_v1_t",
        "embed_dim": 12,
        "depths": (2, 1, 1, 1),
        "num_heads": (1, 2, 3, 6),
        "window_size": 4,
        "decoder_channels": 8,
        "aspp_channels": 12,
        "aspp_kernels": (1, 3),
        "gradient_channels": 4,
        "image_size": (96, 64),
    }
    return BiRefNetConfig(**(sizes | changes))


def tiny() -> BiRefNet:
    """A small network whose weights are all different from zero."""
    return rule.fill_(BiRefNet(tiny_config())).eval()


def assert_same(network: BiRefNet, other: BiRefNet) -> None:
    """Equal weights; logits equal but for rounding, which depends on how the weights lie in memory."""
    weights, others = network.state_dict(), other.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert torch.allclose(network(image()), other(image()), atol=1e-5)


def image(batch: int = 1, height: int = 64, width: int = 96) -> torch.Tensor:
    return rule.make_input(height, width, batch)


# Parity with the reference implementation


@pytest.mark.parametrize("name", GOLDENS)
def test_logits_equal_the_reference(name):
    golden = GOLDENS[name]
    assert max_relative(network(golden.variant, golden.order, golden.order), golden) <= TOLERANCE


@pytest.mark.parametrize("name", SMALL)
def test_in_float64_nothing_but_the_rounding_of_the_golden_file_is_left(name):
    golden = GOLDENS[name]
    exact = build_network(filled(golden.variant)).double()
    with torch.inference_mode():
        logits = exact(golden.image().double()).numpy()
    half_a_unit = np.spacing(np.abs(golden.logits)).astype(np.float64) / 2
    assert (np.abs(logits - golden.logits) <= half_a_unit + 1e-10 * np.abs(golden.logits).max()).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_keys_shapes_and_dtypes_are_those_of_the_published_checkpoints(variant):
    with torch.device("meta"):
        ours = BiRefNet(BiRefNetConfig(backbone=variant)).state_dict()
    found = {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in ours.items()}
    assert found == manifest(variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_deterministic_weights_are_those_that_the_reference_was_run_with(variant):
    assert state_sha256(filled(variant)) == FILLED_SHA256[variant]


def test_every_stage_equals_the_reference():
    ours = network("swin_v1_t")
    seen: dict[str, torch.Tensor] = {}

    def keep(name):
        def hook(_module, _inputs, output):
            if isinstance(output, torch.Tensor):
                seen.setdefault(name, output)  # the first pass of the backbone is the full-scale one

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in ours.named_modules() if name]
    with torch.inference_mode():
        ours(image())
        half = F.interpolate(image(), scale_factor=0.5, mode="bilinear", align_corners=True)
        for scale, maps in (("full", ours.bb(image())), ("half", ours.bb(half))):
            seen |= {f"bb_{scale}_x{i}": features for i, features in enumerate(maps, 1)}
        seen["enc_x1"] = ours.encode(image())[0]
        seen["decoder.ipt_blk1"] = ours.decoder.ipt_blk1(image())
    for hook in hooks:
        hook.remove()
    with np.load(FOLDER / "golden_swin_v1_t_64x96_stages.npz") as golden:
        compared = [name for name in golden if name in seen]
        assert len(compared) >= len(golden.files) - 2  # without the logits and one input
        for name in compared:
            expected = golden[name].astype(np.float32)
            found = seen[name].numpy()
            if expected.ndim == 3:
                found = found.reshape(expected.shape)  # tokens
            elif name == "bb.patch_embed":
                found = found.transpose(0, 3, 1, 2)
            tolerance = 1e-5 if golden[name].dtype == np.float32 else 6e-4
            assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), name


# Tile orders


def test_a_checkpoint_stored_in_either_tile_order_gives_the_same_network():
    one, other = (network("swin_v1_t", order).state_dict() for order in ("current", "legacy"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_wrong_tile_order_gives_other_logits():
    golden = GOLDENS["swin_v1_t_352x416_legacyorder"]
    assert max_relative(network("swin_v1_t", "current", "current"), golden) > 0.3


def test_legacy_weights_see_the_tiles_column_by_column_with_colours_fastest():
    picture, grid = torch.randn(1, 3, 16, 24), 4
    height, width = 16 // grid, 24 // grid
    tiles = [
        picture[:, colour, row * height : (row + 1) * height, column * width : (column + 1) * width]
        for column in range(grid)
        for row in range(grid)
        for colour in range(3)
    ]
    weight = torch.randn(5, 3 * grid * grid, 3, 3)
    expected = F.conv2d(torch.stack(tiles, 1), weight, padding=1)
    found = F.conv2d(stack_tiles(picture, grid), from_legacy(weight), padding=1)
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.equal(to_legacy(from_legacy(weight)), weight)


def colourful(strength: float, *, smooth: bool = False) -> torch.Tensor:
    """Weights in the current order whose colours share a part of their values, and neighbouring tiles another."""
    torch.manual_seed(0)
    shared, own = torch.randn(16, 1, 32, 32, 9), torch.randn(16, 3, 32, 32, 9)
    weight = strength * shared + own
    if smooth:
        tiles = weight.permute(0, 1, 4, 2, 3).reshape(-1, 1, 32, 32)
        weight = F.avg_pool2d(tiles, 9, stride=1, padding=4).view(16, 3, 9, 32, 32).permute(0, 1, 3, 4, 2)
    return weight.reshape(16, 3072, 3, 3)


@pytest.mark.parametrize(("strength", "smooth"), [(0.3, False), (1, False), (5, False), (1, True), (5, True)])
def test_the_tile_order_is_read_from_the_likeness_of_the_colours(strength, smooth):
    weight = colourful(strength, smooth=smooth)
    assert detect_patch_order(weight) == "current"
    assert detect_patch_order(to_legacy(weight)) == "legacy"


def test_neighbouring_tiles_that_are_more_alike_than_colours_do_not_mislead():
    weight = colourful(1.0, smooth=True)
    colours, columns = weight.view(16, 3, 32, 32, 9), weight.view(16, 3, 32, 32, 9)
    alike = F.cosine_similarity(colours[:, 0].flatten(), colours[:, 1].flatten(), dim=0)
    adjacent = F.cosine_similarity(columns[:, :, :, 1:].flatten(), columns[:, :, :, :-1].flatten(), dim=0)
    assert adjacent > alike + 0.2  # the likeness that the legacy reading would take for that of colours
    assert detect_patch_order(weight) == "current"


def test_random_weights_do_not_tell_their_tile_order():
    assert detect_patch_order(colourful(0.0)) is None
    assert detect_patch_order(filled("swin_v1_t")["decoder.ipt_blk5.conv1.weight"]) is None


def test_weights_that_do_not_tell_take_the_expected_order_with_a_warning(caplog):
    assert settle_patch_order("auto", colourful(0.0), "legacy") == "legacy"
    assert settle_patch_order("auto", colourful(0.0), None) == "current"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_weights_that_tell_win_over_the_expected_order_with_a_warning(caplog):
    assert settle_patch_order("auto", colourful(1.0), "legacy") == "current"
    assert "expected was legacy" in caplog.text


def test_an_order_that_is_asked_for_is_taken_without_question(caplog):
    assert settle_patch_order("legacy", colourful(1.0), "current") == "legacy"
    assert not caplog.records


@pytest.mark.skipif(not (EMBEDDED_FOLDER / HUB_FILE).is_file(), reason="no embedded weights in this checkout")
def test_the_order_of_the_trained_embedded_weights_is_read_rightly_and_that_of_their_permuted_copy(tmp_path):
    state = load_file(EMBEDDED_FOLDER / HUB_FILE)
    telling = state["decoder.ipt_blk5.conv1.weight"]
    assert detect_patch_order(telling) == "current"
    assert detect_patch_order(to_legacy(telling)) == "legacy"
    save_file(stored_in(state, "legacy", meant="current"), tmp_path / HUB_FILE)
    one, other = load(EMBEDDED, device="cpu"), load(str(tmp_path), device="cpu", size=(256, 256))
    assert isinstance(one.network, BiRefNet)
    assert isinstance(other.network, BiRefNet)
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))


# Configuration and network


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"backbone": "vgg16"}, "vgg16"),
        ({"depths": (2, 2)}, "depths"),
        ({"num_heads": (5, 2, 4, 8)}, "heads"),
        ({"aspp_kernels": (2,)}, "odd"),
        ({"image_size": (100, 64)}, "image_size"),
        ({"patch_order": "newest"}, "patch_order"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, named):
    with pytest.raises(ValueError, match=named):
        tiny_config(**sizes)


@pytest.mark.parametrize("shape", [(1, 3, 100, 96), (1, 3, 96, 33), (1, 3, 0, 32), (1, 4, 64, 64), (3, 64, 64)])
def test_input_of_another_kind_or_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"multiples of 32|takes"):
        tiny()(torch.zeros(shape))


def test_the_smallest_input_gives_logits_of_its_size():
    assert tiny()(image(2, 32, 32)).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("backbone", ["swin", "pvt", "efficientnet"])
def test_training_reaches_every_weight(backbone):
    torch.manual_seed(0)
    lite = {"backbone": "efficientnet_lite0", "block_depths": (1, 1, 1, 1, 1, 1, 1)}
    pvt = {"backbone": "pvt_v2_b0", "embed_dims": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1)}
    sizes: dict[str, dict[str, Any]] = {"pvt": pvt, "efficientnet": lite}
    narrow = {"decoder_channels": 8, "aspp_channels": 8}
    config = tiny_config() if backbone == "swin" else BiRefNetConfig(**sizes[backbone] | narrow)
    ours = BiRefNet(config).train()
    output = ours.decode(image(2, 64, 64), side_outputs=True)
    assert [mask.shape[-1] for mask in output.masks] == [2, 4, 8]
    parts = (output.logits, *output.masks, *output.gradients)
    torch.stack([part.square().mean() for part in parts]).sum().backward()
    # a bias in front of a batch normalisation has no effect, so only matrices must have a gradient that is not zero
    still = [name for name, w in ours.named_parameters() if w.grad is None or (w.ndim > 1 and not w.grad.any())]
    assert not still


def test_side_outputs_leave_the_logits_as_they_are():
    ours = tiny()
    with torch.inference_mode():
        assert torch.equal(ours.decode(image(), side_outputs=True).logits, ours(image()))
        assert ours.decode(image()).masks == []


def test_a_new_network_starts_with_plain_convolutions():
    deformable = BiRefNet(tiny_config()).get_submodule("squeeze_module.0.dec_att.aspp_deforms.1.atrous_conv")
    x = torch.randn(1, 8, 6, 5)
    assert isinstance(deformable, DeformableConv)
    expected = F.conv2d(x, deformable.regular_conv.weight, padding=1)
    assert torch.allclose(deformable(x), expected, atol=1e-5)


# Deformable convolution


def deformable_arguments(kernel: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    taps = kernel * kernel
    shapes = ((2, 4, height, width), (2, 2 * taps, height, width), (2, taps, height, width), (6, 4, kernel, kernel))
    return tuple((torch.randn(shape, dtype=torch.float64) * 2).requires_grad_() for shape in shapes)


@pytest.mark.parametrize("size", [(7, 9), (1, 5), (3, 1), (1, 1)])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_deformable_convolution_and_its_gradients_equal_torchvisions(kernel, size):
    arguments = deformable_arguments(kernel, *size)
    x, offset, mask, weight = arguments
    ours = sampled_deform_conv(x, offset, mask, weight)
    theirs = deform_conv2d(x, offset, weight, padding=kernel // 2, mask=mask)
    assert torch.allclose(ours, theirs, atol=1e-10)
    pull = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * pull).sum(), arguments),
        torch.autograd.grad((theirs * pull).sum(), arguments),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("kernel", [1, 3])
def test_torchvisions_kernel_image_by_image_equals_ours(kernel):
    x, offset, mask, weight = deformable_arguments(kernel, 7, 9)
    ours = sampled_deform_conv(x, offset, mask, weight)
    with torch.no_grad():
        assert torch.allclose(kernel_deform_conv(x, offset, mask, weight), ours, atol=1e-10)
    assert torch.allclose(kernel_deform_conv(x, offset, mask, weight), ours, atol=1e-10)


def test_deformable_convolution_in_strips_equals_the_whole():
    x, offset, mask, weight = deformable_arguments(7, 150, 100)  # about 4 million sampled values: several strips
    whole = sampled_deform_conv(x, offset, mask, weight)
    with torch.no_grad():
        assert torch.allclose(sampled_deform_conv(x, offset, mask, weight), whole, atol=1e-10)


# Saving and loading


def test_a_saved_network_opens_as_it_was(tmp_path):
    ours = tiny()
    BiRefNetModel.of(ours).save_pretrained(tmp_path)
    again, report = BiRefNetModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert again.config.window_size == 4
    assert not again.training
    assert_same(again, ours)
    half = BiRefNetModel.from_pretrained(tmp_path, dtype=torch.float16)
    assert {t.dtype for t in half.parameters()} == {torch.float16}


def test_transformers_derives_what_a_file_leaves_out(tmp_path):
    ours = tiny()
    save_network(ours, tmp_path)
    state = load_file(tmp_path / HUB_FILE)
    save_file({k: v for k, v in state.items() if "index" not in k}, tmp_path / HUB_FILE, metadata={"format": "pt"})
    assert_same(BiRefNetModel.from_pretrained(tmp_path), ours)


def test_a_folder_whose_configuration_says_legacy_opens_converted_and_is_saved_as_current(tmp_path):
    ours = tiny()
    legacy = rule.fill_(BiRefNet(tiny_config(patch_order="legacy")))
    legacy.load_state_dict(stored_in(ours.state_dict(), "legacy", meant="current"))
    save_network(legacy, tmp_path)
    again = BiRefNetModel.from_pretrained(tmp_path)
    assert again.config.patch_order == "current"
    assert_same(again, ours)


@pytest.mark.parametrize("variant", VARIANTS)
def test_backbone_and_sizes_are_read_from_the_shapes(variant):
    published, found = BiRefNetConfig(backbone=variant), infer_config(filled(variant))
    assert found.to_dict() == published.to_dict()


def test_sizes_of_a_small_network_are_read_from_the_shapes():
    found = infer_config(tiny().state_dict()).to_dict()
    assert found | {"image_size": (96, 64)} == tiny_config().to_dict()


def test_prefixes_of_training_wrappers_and_half_precision_open(tmp_path):
    state = {f"module._orig_mod.{k}": v.half() if v.is_floating_point() else v for k, v in tiny().state_dict().items()}
    torch.save(state, tmp_path / "epoch.pth")
    segmenter = load(str(tmp_path / "epoch.pth"), device="cpu", size=(96, 64))
    assert isinstance(segmenter.network, BiRefNet)
    assert next(segmenter.network.parameters()).dtype == torch.float32
    assert segmenter.info.id == "epoch.pth"


def test_heads_that_only_training_uses_may_be_absent():
    ours = tiny()
    state = {k: v for k, v in ours.state_dict().items() if "conv_ms_spvn" not in k and "gdt_convs_pred" not in k}
    assert len(state) == len(ours.state_dict()) - 12
    assert torch.equal(build_network(state)(image()), build_network(ours.state_dict())(image()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("decoder.conv_out1.0.bias"), r"1 missing \(decoder.conv_out1.0.bias\)"),
        (lambda state: state.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (lambda state: state.update({"decoder.conv_out1.0.bias": torch.zeros(2)}), "another shape"),
        (lambda state: state.update({"decoder.conv_out1.0.bias": torch.zeros(1, dtype=torch.int64)}), "another dtype"),
        (lambda state: state.pop("bb.patch_embed.proj.weight"), "not a BiRefNet"),
        (lambda state: state.clear(), "not a BiRefNet"),
    ],
)
def test_tensors_of_another_network_are_named(change, named):
    state = dict(tiny().state_dict())
    change(state)
    with pytest.raises(WeightsError, match=named):
        build_network(state)


# Segmenter


def pictures(count: int, *, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 64, 96, 3), np.uint8))


def test_a_saved_network_segments_with_its_own_size_and_normalisation(tmp_path):
    ours = tiny()
    save_network(ours, tmp_path)
    segmenter = load(str(tmp_path), device="cpu")
    assert segmenter.size == (96, 64)
    assert (segmenter.info.device, segmenter.info.dtype, segmenter.trained_on_alpha) == ("cpu", "float32", False)
    rgb = pictures(1)[0]
    normalised = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        logits = ours(torch.from_numpy(normalised).float().permute(2, 0, 1)[None])
    (mask,) = segmenter([rgb])
    assert mask.shape == (64, 96)
    assert mask.dtype == np.float32
    assert np.allclose(mask, logits.sigmoid()[0, 0].numpy(), atol=1e-5)


def test_a_batch_gives_what_its_images_give_alone(tmp_path):
    save_network(tiny(), tmp_path)
    segmenter = load(str(tmp_path), device="cpu")
    images = pictures(3)
    for mask, rgb in zip(segmenter(images), images, strict=True):
        assert np.allclose(mask, segmenter([rgb])[0], atol=1e-5)
    assert segmenter([]) == []


def test_half_precision_stays_close(tmp_path):
    save_network(tiny(), tmp_path)
    exact, half = (load(str(tmp_path), device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    difference = np.abs(exact(pictures(1))[0] - half(pictures(1))[0])
    assert difference.max() > 0
    assert difference.mean() < 0.02


@pytest.mark.parametrize("size", [(100, 64), (0, 64), (96, 16)])
def test_a_size_that_the_network_cannot_take_is_refused(tmp_path, size):
    save_network(tiny(), tmp_path)
    with pytest.raises(ValueError, match="multiples of 32"):
        load(str(tmp_path), device="cpu", size=size)


@pytest.mark.parametrize("bad", [np.zeros((64, 64, 3), np.uint8), np.zeros((64, 96, 3), np.float32)])
def test_an_image_of_another_size_or_dtype_is_refused(bad):
    with pytest.raises(ValueError, match="uint8"):
        BiRefNetSegmenter(network=tiny(), size=(96, 64), info=INFO)([bad])


def test_logits_that_are_not_numbers_fail_instead_of_giving_an_empty_mask():
    def broken(x):
        return torch.full((len(x), 1, 64, 96), torch.nan)

    with pytest.raises(NetworkFailed, match="not numbers") as failed:
        BiRefNetSegmenter(network=broken, size=(96, 64), info=INFO)(pictures(1))
    assert "tiny" in failed.value.detail


class Steep(torch.nn.Module):
    """Overflows in half precision for a bright image: infinity minus infinity is no number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))
        self.inputs: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inputs.append(x.dtype)
        large = x.amax(dim=(1, 2, 3), keepdim=True) * self.factor
        return (large * 2 - large * 2 + x[:, :1]).expand(-1, 1, -1, -1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_only_the_image_that_overflows_in_half_precision_is_computed_again_in_float32(dtype):
    white, black = np.full((64, 96, 3), 255, np.uint8), np.zeros((64, 96, 3), np.uint8)
    factor = 2.0e4 if dtype == "float16" else 1.0e38
    network = Steep(factor).to(getattr(torch, dtype))
    segmenter = BiRefNetSegmenter(network=network, size=(96, 64), info=replace(INFO, dtype=dtype))
    if dtype == "bfloat16":
        with pytest.raises(NetworkFailed):  # as far as float32 reaches: that overflows as well
            segmenter([black, white])
        return
    first, second = segmenter([black, white])
    exact = BiRefNetSegmenter(network=Steep(factor), size=(96, 64), info=INFO)([black, white])
    np.testing.assert_allclose(first, exact[0], atol=1e-2)
    np.testing.assert_allclose(second, exact[1], atol=1e-6)
    assert network.inputs == [torch.float16]


class Crowded(torch.nn.Module):
    """A network on a device that holds `limit` images at a time."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return x[:, :1]


def test_out_of_gpu_memory_each_image_goes_alone():
    crowded = Crowded(1)
    masks = BiRefNetSegmenter(network=crowded, size=(96, 64), info=INFO)(pictures(3))
    assert crowded.sizes == [3, 1, 1, 1]
    assert np.array_equal(
        masks[1], BiRefNetSegmenter(network=Crowded(1), size=(96, 64), info=INFO)(pictures(3)[1:2])[0]
    )


def test_an_image_that_does_not_fit_alone_is_reported():
    with pytest.raises(OutOfGpuMemory, match="96x64"):
        BiRefNetSegmenter(network=Crowded(0), size=(96, 64), info=INFO)(pictures(2))


def test_threads_share_one_segmenter(tmp_path):
    segmenter = BiRefNetSegmenter(network=tiny(), size=(96, 64), info=INFO)
    images = pictures(4)
    alone = [segmenter([rgb])[0] for rgb in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda rgb: segmenter([rgb])[0], images))
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(together, alone, strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_names_driver_and_wheel(tmp_path):
    with pytest.raises(GpuUnavailable, match=r"driver: .*; wheel: torch \d"):
        require_gpu()
    save_network(tiny(), tmp_path)
    with pytest.raises(GpuUnavailable):
        load(str(tmp_path), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_with_a_gpu_half_precision_agrees_with_the_processor(tmp_path):
    assert require_gpu()
    save_network(tiny(), tmp_path)
    exact, half = (load(str(tmp_path), device=device) for device in ("cpu", "cuda"))
    assert half.info.dtype == "float16"
    assert np.abs(exact(pictures(2))[1] - half(pictures(2))[1]).mean() < 0.01
