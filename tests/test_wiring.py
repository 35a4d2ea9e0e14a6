"""The networks that settings ask for are the ones that run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

from function.settings import Settings
from function.wiring import build_cutter
from shared.cutter import Cutter
from shared.errors import InvalidOptions, WeightsError
from shared.options import CutOptions
from tests.realesrgan_networks import save, x2plus_like

REQUIRED = {"OUTPUT_BUCKET": "cutouts", "COMPLETION_TOPIC": "projects/p/topics/done", "DEVICE": "cpu"}


def settings(model: str, **more: str) -> Settings:
    return Settings.from_env(REQUIRED | {"MODEL": model} | more)


def save_tiny_vitmatte(folder: Path) -> None:
    torch.manual_seed(0)
    backbone = VitDetConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_channels=4,
        image_size=64,
        patch_size=16,
        out_features=["stage1"],
    )
    config = VitMatteConfig(
        backbone_config=backbone, hidden_size=16, convstream_hidden_sizes=[4, 8, 8], fusion_hidden_sizes=[8, 8, 8, 8]
    )
    VitMatteForImageMatting(config).save_pretrained(folder)


Build = Callable[..., Cutter]


@pytest.fixture
def build(model: str) -> Iterator[Build]:
    """Builds cutters, and stops them at the end."""
    built: list[Cutter] = []

    def build(**more: str) -> Cutter:
        built.append(build_cutter(settings(model, **more)))
        return built[-1]

    yield build
    for cutter in built:
        cutter.stop()


def test_a_matting_network_is_opened_if_the_settings_ask_for_it(build: Build, tmp_path: Path) -> None:
    save_tiny_vitmatte(tmp_path)
    with_it = build(ALPHA_MATTING="vitmatte", VITMATTE_MODEL=str(tmp_path))
    without = build()
    asked = CutOptions.from_texts({"alpha_matting": "vitmatte"})
    assert with_it.weights_sha256(asked) != with_it.weights_sha256(CutOptions())
    with pytest.raises(InvalidOptions, match="alpha_matting=vitmatte"):
        without.weights_sha256(asked)


def test_an_enlarger_is_opened_if_the_settings_ask_for_it_or_its_file_is_there(build: Build, tmp_path: Path) -> None:
    asked = CutOptions.from_texts({"esrgan_stage": "after"})
    path = str(save(x2plus_like(), tmp_path / "x2.pth"))
    for more in ({"ESRGAN_STAGE": "after", "ESRGAN_MODEL": path}, {"ESRGAN_MODEL": path}):
        cutter = build(**more)
        assert cutter.weights_sha256(asked) != cutter.weights_sha256(CutOptions())
    with pytest.raises(InvalidOptions, match="esrgan_stage=after"):
        build(MODEL_FOLDER=str(tmp_path)).weights_sha256(asked)
    with pytest.raises(WeightsError):
        build(ESRGAN_STAGE="after", ESRGAN_MODEL=str(tmp_path / "missing.pth"))
