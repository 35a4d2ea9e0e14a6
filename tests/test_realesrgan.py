"""Enlarging after the cut: no seams, no dark edges, nothing executed from a checkpoint."""

import hashlib
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from shared.errors import NetworkFailed, OutOfGpuMemory, WeightsError
from shared.models import realesrgan
from shared.models.realesrgan import PUBLISHED, RealEsrgan, is_here, load
from shared.upscaling import enlarge_cutout
from tests.benchmarks.metrics import edge_line
from tests.realesrgan_networks import general_x4_like, save, x2plus_like, x4plus_like

NETWORKS = {"x2plus": x2plus_like, "x4plus": x4plus_like, "general-x4v3": general_x4_like}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("realesrgan")
    return {name: save(build(), folder / f"{name}.pth") for name, build in NETWORKS.items()}


def enlarger(path: Path, *, tile: int) -> RealEsrgan:
    return load(str(path), folder=path.parent, tile=tile)


def photograph(height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[40 : 40 + height, 120 : 120 + width])


def cutout(rgb: np.ndarray) -> np.ndarray:
    """A disc of the image with a soft edge, the rest transparent black."""
    height, width = rgb.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - height / 2, columns - width / 2)
    alpha = np.clip((min(height, width) / 3 - distance) / 4 + 0.5, 0, 1)
    rgba = np.dstack([rgb, np.rint(alpha * 255).astype(np.uint8)])
    rgba[rgba[:, :, 3] == 0] = 0
    return rgba


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(60, 90), (21, 30)])
def test_tiles_leave_no_seam(checkpoints: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    rgb = photograph(*size)
    whole = enlarger(checkpoints[name], tile=128).enlarge(rgb, scale=4 if "4" in name else 2)
    tiled = enlarger(checkpoints[name], tile=32).enlarge(rgb, scale=4 if "4" in name else 2)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [2, 4])
def test_every_network_reaches_both_scales(checkpoints: dict[str, Path], name: str, scale: int) -> None:
    rgba = cutout(photograph(40, 52))
    enlarged = enlarge_cutout(rgba, enlarger(checkpoints[name], tile=32).enlarge, scale=scale)
    assert enlarged.shape == (40 * scale, 52 * scale, 4)
    assert enlarged.dtype == np.uint8


def test_a_one_pixel_cutout_is_enlarged(checkpoints: dict[str, Path]) -> None:
    rgba = np.array([[[200, 100, 50, 255]]], np.uint8)
    network = enlarger(checkpoints["x2plus"], tile=32)
    assert enlarge_cutout(rgba, network.enlarge, scale=2).shape == (2, 2, 4)


def test_only_tiles_that_hold_subject_are_computed(checkpoints: dict[str, Path]) -> None:
    rgb = photograph(96, 96)
    wanted = np.zeros((96, 96), bool)
    wanted[50, 60] = True
    network = enlarger(checkpoints["x2plus"], tile=32)
    part = network.enlarge(rgb, scale=2, wanted=wanted)
    everything = network.enlarge(rgb, scale=2)
    computed = part.max(axis=2) > 0
    assert computed[100:102, 120:122].all()
    assert computed.sum() <= 64  # one tile of the network's smallest size
    assert np.abs(part.astype(int) - everything)[computed].max() <= 1


def test_the_colour_around_the_subject_does_not_reach_into_it(checkpoints: dict[str, Path]) -> None:
    """The same subject on hidden black and on hidden green is enlarged to the same picture."""
    on_black = cutout(photograph(60, 60))
    on_green = on_black.copy()
    on_green[on_green[:, :, 3] == 0, :3] = (0, 255, 0)
    network = enlarger(checkpoints["x2plus"], tile=64)
    black, green = (enlarge_cutout(rgba, network.enlarge, scale=2) for rgba in (on_black, on_green))
    assert (black == green).all()


def test_a_grey_edge_has_no_dark_or_bright_line_on_black_white_and_green(tmp_path: Path) -> None:
    """The published network adds what it learnt to the enlarged input; with nothing learnt, the input remains."""
    network = general_x4_like()
    path = save(network, tmp_path / "nothing-learnt.pth")
    state = torch.load(path, weights_only=True)
    last = max((name for name in state["params_ema"] if name.endswith("weight")), key=lambda n: int(n.split(".")[1]))
    for name in (last, last.replace("weight", "bias")):
        state["params_ema"][name].zero_()
    torch.save(state, path)
    grey = cutout(np.full((40, 40, 3), 128, np.uint8))
    assert 0 < grey[20, :, 3].min(initial=255, where=grey[20, :, 3] > 0) < 255
    enlarged = enlarge_cutout(grey, enlarger(path, tile=64).enlarge, scale=4)
    assert edge_line(enlarged[:, :, :3], enlarged[:, :, 3] / 255, (128, 128, 128)) <= 0.5
    careless = cv2.resize(grey, (160, 160), interpolation=cv2.INTER_LANCZOS4)
    assert edge_line(careless[:, :, :3], careless[:, :, 3] / 255, (128, 128, 128)) > 3


def test_hidden_colour_is_kept_beside_the_edge_and_zero_elsewhere(checkpoints: dict[str, Path]) -> None:
    network = enlarger(checkpoints["x2plus"], tile=64)
    enlarged = enlarge_cutout(cutout(photograph(60, 60)), network.enlarge, scale=2)
    assert not enlarged[:4, :4].any()
    hidden = enlarged[:, :, 3] == 0
    assert enlarged[hidden][:, :3].any()


def test_opaque_stays_opaque_and_empty_stays_empty(checkpoints: dict[str, Path]) -> None:
    network = enlarger(checkpoints["x2plus"], tile=64)
    rgba = np.dstack([photograph(40, 40), np.full((40, 40), 255, np.uint8)])
    assert (enlarge_cutout(rgba, network.enlarge, scale=2)[:, :, 3] == 255).all()
    assert not enlarge_cutout(np.zeros((40, 40, 4), np.uint8), network.enlarge, scale=2).any()


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"params_ema": Payload()}, tmp_path / "evil.pth", pickle_module=pickle)
    with pytest.raises(WeightsError, match=r"evil\.pth"):
        load(str(tmp_path / "evil.pth"), folder=tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_no_network_and_a_name_that_is_no_file_are_refused(tmp_path: Path) -> None:
    torch.save({"params_ema": {"a": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError):
        load(str(tmp_path / "other.pth"), folder=tmp_path)
    with pytest.raises(WeightsError, match="neither a file nor one of"):
        load("RealESRGAN_x3minus", folder=tmp_path)


def test_a_published_name_with_other_bytes_is_refused(tmp_path: Path) -> None:
    save(x2plus_like(), tmp_path / "mirror" / PUBLISHED["RealESRGAN_x2plus"].path)
    files = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{mirror.server_port}/"
        with pytest.raises(WeightsError, match="sha256"):
            load("RealESRGAN_x2plus", folder=tmp_path / "cache", releases=address)
        mirror.shutdown()
    assert not list((tmp_path / "cache").iterdir())


def test_what_is_here_is_known_without_fetching(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    assert is_here(str(checkpoints["x2plus"]), tmp_path)
    assert not is_here("RealESRGAN_x2plus", tmp_path)
    (tmp_path / "RealESRGAN_x2plus.pth").touch()
    assert is_here("RealESRGAN_x2plus.pth", tmp_path)


def test_the_hash_of_a_local_file_is_its_own(checkpoints: dict[str, Path]) -> None:
    path = checkpoints["x2plus"]
    assert enlarger(path, tile=32).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_numbers_that_are_none_fail_the_image(tmp_path: Path) -> None:
    network = x2plus_like()
    path = save(network, tmp_path / "nan.pth")
    state = torch.load(path, weights_only=True)
    state["params_ema"]["model.0.bias"].fill_(float("nan"))
    torch.save(state, path)
    with pytest.raises(NetworkFailed):
        enlarger(path, tile=32).enlarge(photograph(32, 32), scale=2)


class OutOfMemoryAbove(torch.nn.Module):
    """A network that, like a full GPU, takes tiles only up to a number of pixels."""

    def __init__(self, network: torch.nn.Module, pixels: int) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if batch.numel() > self.pixels * 3:
            raise torch.cuda.OutOfMemoryError
        return self.network(batch)


def test_out_of_memory_is_tried_once_more_with_smaller_tiles_and_then_told(checkpoints: dict[str, Path]) -> None:
    rgb = photograph(120, 120)
    network = enlarger(checkpoints["x2plus"], tile=64)
    expected = network.enlarge(rgb, scale=2)
    side = 32 + 2 * realesrgan.OVERLAP
    inner = network._network
    network._network = OutOfMemoryAbove(inner, side * side)
    assert np.abs(network.enlarge(rgb, scale=2).astype(int) - expected).max() <= 1
    network._network = OutOfMemoryAbove(inner, side * side - 1)
    with pytest.raises(OutOfGpuMemory):
        network.enlarge(rgb, scale=2)
