"""The script that makes the embedded weights: its samples, its step, its files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shared.models.birefnet import BiRefNet, BiRefNetConfig
from shared.models.embedded.training.data import DEVIATION, MEAN, Samples, normalised, render_chunk
from shared.models.embedded.training.scenes import HELD_OUT, Scene
from shared.models.embedded.training.train import (
    FLOOR_RATE,
    PEAK_RATE,
    STAGES,
    VALIDATION,
    Run,
    evaluate,
    export,
    load,
    predict,
    rate_at,
    side_at,
    train_step,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    render_chunk(folder, 3, CPU, count=3)
    return folder


@pytest.fixture(scope="module")
def run() -> Run:
    torch.manual_seed(0)
    return Run.fresh(CPU)


def test_samples_are_normalised_images_with_alphas_in_range(scenes: Path):
    image, alpha = Samples(scenes, 64, CPU, seed=0).batch(5)
    assert image.shape == (5, 3, 64, 64)
    assert alpha.shape == (5, 1, 64, 64)
    pixels = image * torch.tensor(DEVIATION).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert -1e-4 < float(pixels.min()) < float(pixels.max()) < 1 + 1e-4
    assert 0 <= float(alpha.min()) < float(alpha.max()) <= 1 + 1e-5


def test_samples_without_rendered_scenes_say_what_to_do(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no rendered scenes"):
        Samples(tmp_path, 64, CPU, seed=0)


def test_the_network_sees_image_net_units():
    grey = normalised(torch.tensor(MEAN).view(1, 3, 1, 1) + torch.tensor(DEVIATION).view(1, 3, 1, 1))
    torch.testing.assert_close(grey, torch.ones(1, 3, 1, 1))


def test_the_average_follows_the_model_slowly(scenes: Path):
    torch.manual_seed(0)
    fresh = Run.fresh(CPU)
    fresh.step = 100_000
    key = "decoder.conv_out1.0.weight"
    before = fresh.average.state_dict()[key].clone()
    train_step(fresh, *Samples(scenes, 64, CPU, seed=0).batch(4), progress=0.0)
    after = fresh.model.state_dict()[key]
    assert not torch.equal(before, after)
    torch.testing.assert_close(fresh.average.state_dict()[key], before + 0.002 * (after - before))


def test_steps_on_one_batch_lower_its_loss(scenes: Path):
    torch.manual_seed(0)
    fresh = Run.fresh(CPU)
    fresh.step = 1000  # past the warm-up
    batch = Samples(scenes, 64, CPU, seed=0).batch(4)
    losses = [train_step(fresh, *batch, progress=0.0) for _ in range(5)]
    assert losses[-1] < 0.95 * losses[0]
    assert fresh.step == 1005


def test_a_stopped_run_goes_on_where_it_was(run: Run, tmp_path: Path):
    run.step, run.minutes = 12, 3.5
    run.save(tmp_path / "state.pt")
    torch.manual_seed(1)
    again = Run.fresh(CPU)
    again.load(tmp_path / "state.pt")
    assert (again.step, again.minutes) == (12, 3.5)
    for key, value in run.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[key], value)


def test_exported_weights_come_back_and_predict_for_any_size(run: Run, tmp_path: Path):
    export(run.average, tmp_path)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float16, torch.int64}
    again = load(tmp_path)
    assert again.config.image_size == (256, 256)
    image = np.random.default_rng(0).integers(0, 256, (70, 45, 3), np.uint8)
    np.testing.assert_allclose(predict(again, image), predict(run.average, image), atol=2e-3)
    assert predict(again, image).shape == (70, 45)


def test_overlap_and_error_are_those_worked_by_hand():
    class Half(BiRefNet):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = torch.full_like(image[:, :1], -50.0)
            logits[..., : image.shape[-1] // 2] = 50.0
            return logits

    model = Half(BiRefNetConfig(backbone="pvt_v2_b0", image_size=(64, 64))).eval()
    alpha = np.zeros((64, 64), np.float32)
    alpha[:32] = 1
    blank = np.zeros((64, 64, 3), np.uint8)
    overlap, error = evaluate(model, [Scene(blank, alpha, blank, blank)])
    assert overlap == pytest.approx(1 / 3)
    assert error == pytest.approx(0.5)


def test_the_rate_warms_up_then_falls_and_the_last_stage_is_the_inference_size(run: Run):
    assert rate_at(0.0, 0) < 0.01 * PEAK_RATE
    assert rate_at(0.0, 10_000) == pytest.approx(PEAK_RATE)
    assert rate_at(1.0, 10_000) == pytest.approx(FLOOR_RATE)
    assert side_at(0.0) == STAGES[0][0]
    assert (side_at(1.0),) * 2 == run.model.config.image_size


def test_neither_figures_nor_the_choice_of_the_checkpoint_use_trained_seeds():
    assert HELD_OUT >= 1_000_000_000
    assert VALIDATION - HELD_OUT > 100_000
