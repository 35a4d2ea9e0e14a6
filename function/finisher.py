"""The finisher: `gunicorn -c function/finisher.py`, started in the repository's root.

It announces what became of uploads that were given up: a second, small service from the same image. It loads no network
and needs no GPU, so it works although no instance of the service can start. It takes pushes to /dead-letter only.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from function.settings import Settings
from shared.records import ModelInfo

if TYPE_CHECKING:
    from flask import Flask

    from shared.cutter import Cutter

NO_NETWORK = "the finisher cuts nothing"

bind = f"0.0.0.0:{os.environ.get('PORT', '8080')}"
wsgi_app = "function.finisher:application()"
worker_class = "gthread"
workers = 1
threads = 10  # Cloud Run sends 8 at a time
preload_app = False
timeout = 0
graceful_timeout = 8  # Cloud Run kills 10 s after SIGTERM
control_socket_disable = True  # it would be written to the home directory, which is read-only there
loglevel = "warning"


class UnloadedNetwork:
    """What keys and messages need to know of a network: which bytes its checkpoint has."""

    size = (0, 0)
    trained_on_alpha = False

    def __init__(self, info: ModelInfo) -> None:
        self.info, self.sha256 = info, info.sha256

    def __call__(self, *_images: Any) -> Any:
        raise RuntimeError(NO_NETWORK)

    def enlarge(
        self, _rgb: NDArray[np.uint8], /, *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        raise RuntimeError(NO_NETWORK)


def unloaded_cutter(settings: Settings) -> "Cutter":
    """A cutter that gives every upload the key that the service gives it, and cuts nothing.

    It knows the checkpoints that the service would load. Raises WeightsError if one is missing.
    """
    from shared.cutter import Cutter
    from shared.models import realesrgan, weights
    from shared.options import AlphaMatting, EsrganStage

    folder = Path(settings.model_folder) if settings.model_folder else None
    dtype = "float16" if settings.dtype == "auto" else settings.dtype  # of the service, on its GPU
    found = weights.find_weights(settings.model, revision=settings.model_revision, dtype=dtype, folder=folder)
    segmenter = UnloadedNetwork(ModelInfo(id=found.id, revision=found.revision, sha256=found.sha256))
    upscaler = refiner = None
    esrgan_folder = Path(settings.model_folder or Path.home() / ".cache" / "cutdrop")
    enlarges = settings.options.esrgan_stage is not EsrganStage.OFF
    if enlarges or realesrgan.is_here(settings.esrgan_model, esrgan_folder):
        upscaler = UnloadedNetwork(ModelInfo(sha256=realesrgan.sha256_of(settings.esrgan_model)))
    if settings.options.alpha_matting is AlphaMatting.VITMATTE:
        matting = weights.find_weights(settings.vitmatte_model, revision=settings.vitmatte_revision, folder=folder)
        refiner = UnloadedNetwork(ModelInfo(sha256=matting.sha256))
    return Cutter(segmenter, upscaler=upscaler, refiner=refiner)


def application() -> "Flask":
    """The WSGI application: readiness and dead letters."""
    from flask import Flask, request

    from function import logs
    from function.admission import Admission
    from function.cloud import GcsObjectStore, PubSubPublisher
    from function.deliveries import Deliveries
    from function.handler import Handler
    from function.making import ResultMaker

    settings = Settings.from_env(os.environ)
    logs.configure(settings.log_level)
    handler = Handler(
        store=GcsObjectStore.connect(settings.output_bucket, concurrency=threads),
        publisher=PubSubPublisher.connect(settings.completion_topic),
        maker=ResultMaker(unloaded_cutter(settings), settings),
        settings=settings,
    )
    project = os.environ.get("GOOGLE_CLOUD_PROJECT", "")
    deliveries = Deliveries(handler, Admission(threads), project=project, end_process=lambda: None)
    app = Flask("finisher")
    app.add_url_rule("/startup", "startup", lambda: "ready\n", methods=["GET"])

    @app.post("/dead-letter")
    def dead_letter() -> str:
        deliveries.dead_letter(request.get_json(force=True, silent=True))
        return "OK"

    return app
