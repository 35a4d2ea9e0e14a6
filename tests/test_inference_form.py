import pytest
import torch

from shared.models.birefnet import fast_aspp
from shared.models.birefnet.config import BiRefNetConfig
from shared.models.birefnet.fast import FastBiRefNet
from shared.models.birefnet.network import BiRefNet
from shared.models.birefnet.sampling import compiled_sampler
from tests.birefnet_reference import Reference
from tests.data.birefnet import rule
from tests.parity import TOLERANCE, filled, goldens, max_relative, network

GOLDENS = {golden.name: golden for golden in goldens()}
ROUNDING = 1e-5  # of the largest logit, between two forms in float32


@pytest.fixture(scope="module", autouse=True)
def large_networks_are_released():
    yield
    network.cache_clear()
    filled.cache_clear()


def small(backbone: str, **changes: object) -> BiRefNet:
    """A network of few channels whose weights are all different from zero."""
    sizes: dict[str, dict[str, object]] = {
        "swin": {"backbone": "swin_v1_t", "embed_dim": 12, "depths": (2, 2, 1, 2), "num_heads": (1, 2, 3, 6)},
        "pvt": {"backbone": "pvt_v2_b0", "embed_dims": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2)},
        "efficientnet": {"backbone": "efficientnet_lite0", "block_depths": (1, 1, 2, 1, 1, 1, 1)},
    }
    decoder = {"decoder_channels": 8, "aspp_channels": 12, "gradient_channels": 4}
    config = BiRefNetConfig(**(sizes[backbone] | decoder | changes))  # type: ignore[arg-type]
    return rule.fill_(BiRefNet(config)).eval()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference over the largest logit."""
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("name", GOLDENS)
def test_its_logits_equal_the_reference(name):
    golden = GOLDENS[name]
    fast = FastBiRefNet(network(golden.variant, golden.order, golden.order))
    assert max_relative(fast, golden) <= TOLERANCE


@torch.inference_mode()
def test_the_plain_form_of_the_tests_equals_the_reference():
    golden = GOLDENS["swin_v1_t_96x64_b2"]
    assert max_relative(Reference(filled("swin_v1_t")), golden) <= TOLERANCE


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32), (96, 224)])
@pytest.mark.parametrize("backbone", ["swin", "pvt", "efficientnet"])
@torch.inference_mode()
def test_it_gives_what_the_network_gives_at_every_size_and_batch(backbone, size):
    if backbone == "pvt" and min(size) < 64:
        pytest.skip("its last stage has nothing left of so small a half")
    plain = small(backbone)
    fast = FastBiRefNet(plain)
    for batch in (1, 3):
        image = rule.make_input(size[0], size[1], batch)
        assert difference(fast(image), plain(image)) <= ROUNDING


@torch.inference_mode()
def test_images_of_a_batch_do_not_see_each_other():
    fast = FastBiRefNet(small("swin"))
    images = rule.make_input(64, 96, 3)
    together = fast(images)
    for index in range(3):
        assert difference(together[index : index + 1], fast(images[index : index + 1])) <= ROUNDING


@torch.inference_mode()
def test_without_a_compiler_the_logits_are_the_same():
    fast = FastBiRefNet(small("swin"))
    image = rule.make_input(64, 96, 2)
    with fast_aspp.without_compiled_sampling():
        plain = fast(image)
    assert compiled_sampler() is not None, "this machine has no C compiler"
    assert difference(fast(image), plain) <= ROUNDING
