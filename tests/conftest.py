"""What several tests share: a model, a local cloud with the real server, and pictures to upload."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.local import LocalCloud, LocalTopics
from tests.pubsub_emulator import GooglePubSub, emulator_script
from tests.service import Service, running

os.environ.setdefault("OMP_NUM_THREADS", "2")  # of PyTorch, which only the tests of networks import


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """MODEL for a server whose cutouts do not matter: small, random, and everything is its subject."""
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return str(folder)


@pytest.fixture(scope="session")
def service(tmp_path_factory, model) -> Iterator[Service]:
    """One server for all tests that leave it as they found it."""
    log = tmp_path_factory.mktemp("service") / "server.log"
    with running(log, model, CONCURRENCY="4", UPLOAD_BUCKETS="uploads,notified") as service:
        service.cloud.store.create_bucket("notified")
        yield service


@pytest.fixture(scope="session")
def google_pubsub() -> Iterator[GooglePubSub]:
    """Google's own emulator; skips the test if the Cloud SDK is not installed."""
    if emulator_script() is None:
        pytest.skip("the Cloud SDK's Pub/Sub emulator is not installed")
    with GooglePubSub() as emulator:
        yield emulator


@pytest.fixture(params=["local", pytest.param("google", marks=pytest.mark.emulator)])
def either(request) -> Iterator[str]:
    """An address that speaks Pub/Sub: ours, then Google's emulator."""
    if request.param == "google":
        yield request.getfixturevalue("google_pubsub").address
    else:
        with LocalTopics() as topics:
            yield topics.address


@pytest.fixture
def local_cloud(monkeypatch) -> Iterator[LocalCloud]:
    """A cloud that the official clients of this process find by the environment."""
    with LocalCloud() as cloud:
        for name in ("STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
            monkeypatch.setenv(name, cloud.environment()[name])
        yield cloud


@pytest.fixture
def opened(local_cloud):
    """Opens a service without server and network, with the settings that it is given."""
    from tests.shop import opening

    with opening(local_cloud) as open_shop:
        yield open_shop


@pytest.fixture
def shop(opened):
    """A service without server and network."""
    return opened()


def save_tiny_model(folder: Path) -> None:
    """A small random BiRefNet that finds its subject everywhere, as a checkpoint that MODEL can name."""
    import torch

    from shared.models.birefnet import BiRefNet, BiRefNetConfig
    from shared.models.birefnet.loading import save_network

    torch.manual_seed(0)
    network = BiRefNet(
        BiRefNetConfig(
            backbone="swin_v1_t",
            embed_dim=12,
            depths=(1, 1, 1, 1),
            window_size=4,
            decoder_channels=8,
            aspp_channels=8,
            image_size=(64, 64),
        )
    )
    with torch.no_grad():
        last = network.decoder.conv_out1[-1]
        assert isinstance(last, torch.nn.Conv2d)
        assert last.bias is not None
        last.weight.mul_(0.01)
        last.bias.fill_(6.0)
    save_network(network, folder)


def photo(width: int = 96, height: int = 64, *, seed: int = 0, kind: str = "JPEG") -> bytes:
    """A bright disc on a noisy dark ground, encoded."""
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(width, height) / 3) ** 2
    rgb = np.random.default_rng(seed).integers(0, 60, (height, width, 3), np.uint8)
    rgb[inside] = (230, 180 - seed % 100, 90)
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, kind)
    return stream.getvalue()
