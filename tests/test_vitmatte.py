"""The matting network: crops of the band, transformers' own preprocessing, weights that are what they should be."""

import hashlib

import cv2
import numpy as np
import pytest
import torch
from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting, VitMatteImageProcessor

from shared.errors import NetworkFailed, WeightsError
from shared.models import vitmatte
from shared.models.vitmatte import VitMatte, load, small_config
from tests.composites import composite, hairy_disc

CROP, MARGIN = 64, 16


def tiny_config():
    backbone = VitDetConfig(
        num_channels=4,
        image_size=CROP,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        use_relative_position_embeddings=True,
        window_size=2,
        window_block_indices=[0],
        residual_block_indices=[1],
        out_features=["stage2"],
    )
    sizes = {"hidden_size": 16, "convstream_hidden_sizes": [4, 8, 8], "fusion_hidden_sizes": [16, 8, 8, 4]}
    return VitMatteConfig(backbone_config=backbone, **sizes)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = VitMatteForImageMatting(tiny_config()).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def matter(network):
    return VitMatte(network, sha256="ab" * 32, crop=CROP, margin=MARGIN)


def test_opaque_and_transparent_regions_stay_and_the_band_is_the_network_s(matter):
    scene = composite(cv2.GaussianBlur(hairy_disc(150, 110, strands=0), (0, 0), 2))
    refined = matter(scene.image, scene.alpha)
    beyond = vitmatte._unknown(scene.alpha) == 0
    assert (refined[beyond] == scene.alpha[beyond]).all()
    assert set(np.unique(scene.alpha[beyond])) == {0, 255}
    assert (refined != scene.alpha).mean() > 0.05


def test_a_crop_gives_what_transformers_own_preprocessing_gives(matter, network):
    scene = composite(hairy_disc(CROP, CROP))
    around = (MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT_101)
    wide = [cv2.copyMakeBorder(plane, *around) for plane in (scene.image, scene.alpha)]
    unknown = cv2.copyMakeBorder(vitmatte._unknown(scene.alpha), *around)
    trimap = np.where(unknown > 0, 127.5, wide[1]).astype(np.float32)
    part = slice(0, CROP)
    image = torch.from_numpy(np.ascontiguousarray(wide[0][part, part].transpose(2, 0, 1))).float()
    inputs = VitMatteImageProcessor()(images=image, trimaps=torch.from_numpy(trimap[part, part]), return_tensors="pt")
    with torch.inference_mode():
        expected = network(**inputs).alphas[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN].numpy() * 255
    fresh = slice(0, CROP - 2 * MARGIN)
    ours = matter(scene.image, scene.alpha)[fresh, fresh]
    where = vitmatte._unknown(scene.alpha)[fresh, fresh] > 0
    assert where.any()
    assert np.abs(ours[where] - expected[where]).max() <= 0.51


def test_only_squares_that_touch_the_band_go_through_the_network(matter, network):
    seen = []
    network.register_forward_hook(lambda *call: seen.append(1))
    alpha = np.zeros((160, 160), np.uint8)
    alpha[:80] = 255
    alpha[80] = 128
    matter(np.zeros((160, 160, 3), np.uint8), alpha)
    assert len(seen) == 5  # one row of squares of 32 fresh pixels
    seen.clear()
    assert (matter(np.zeros((160, 160, 3), np.uint8), np.full((160, 160), 255, np.uint8)) == 255).all()
    assert not seen


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 40), (33, 35)])
def test_any_size_passes(matter, width, height):
    alpha = np.full((height, width), 128, np.uint8)
    assert matter(np.zeros((height, width, 3), np.uint8), alpha).shape == (height, width)


def test_values_that_are_no_numbers_fail(network):
    with torch.no_grad():
        next(network.decoder.parameters()).fill_(float("nan"))
    broken = VitMatte(network, sha256="", crop=CROP, margin=MARGIN)
    with pytest.raises(NetworkFailed):
        broken(np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 128, np.uint8))


def test_a_local_folder_is_opened_with_its_own_configuration_and_checked_against_a_given_hash(network, tmp_path):
    network.save_pretrained(tmp_path)
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    loaded = load(str(tmp_path), sha256=digest)
    assert loaded.sha256 == digest
    pixels = torch.rand(1, 4, CROP, CROP)
    with torch.inference_mode():
        assert torch.equal(loaded._network(pixels).alphas, network(pixels).alphas)
    with pytest.raises(WeightsError, match="expected"):
        load(str(tmp_path), sha256="00" * 32)


@pytest.mark.parametrize(
    "config", ["[]", '{"backbone_config": {"model_type": "vitdet", "num_channels": 3}}', "{not json"]
)
def test_a_folder_with_another_configuration_is_refused(network, tmp_path, config):
    network.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError):
        load(str(tmp_path))


def test_weights_of_another_network_are_refused(network, tmp_path):
    network.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()  # so that the small network is assumed
    with pytest.raises(WeightsError, match="not a checkpoint of this ViTMatte"):
        load(str(tmp_path))


def test_the_small_network_has_the_size_of_the_published_checkpoint():
    with torch.device("meta"):
        network = VitMatteForImageMatting(small_config())
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    assert 103_294_572 - 60_000 < 4 * numbers < 103_294_572  # float32, without the file's header
