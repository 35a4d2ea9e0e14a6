"""The production server: `gunicorn -c function/server.py`, started in the repository's root.

One worker without preload, so that CUDA and gRPC are first used in the process that keeps them; request threads for
downloads, decoding and encoding, which share the GPU. The socket is open before the worker is ready, but nothing is
accepted on it until the weights are loaded and one image was cut: an instance that is not ready answers nothing.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from function.settings import Settings
from shared.errors import CutdropError, SettingsError

if TYPE_CHECKING:
    from flask import Flask

BOOT_ERROR = 3  # gunicorn ends the server if a worker exits with this, instead of starting the worker again
SPARE_THREADS = 2  # beside the uploads in work: for /startup and for refusals


def _concurrency() -> int:
    try:
        return Settings.from_env(os.environ).concurrency
    except SettingsError as error:
        sys.exit(f"SettingsError: {error}")


bind = f"0.0.0.0:{os.environ.get('PORT', '8080')}"
wsgi_app = "function.server:application()"
worker_class = "gthread"
workers = 1
threads = _concurrency() + SPARE_THREADS
preload_app = False
timeout = 0  # an upload may take minutes on a CPU; Cloud Run has its own request timeout
graceful_timeout = 8  # Cloud Run kills 10 s after SIGTERM
control_socket_disable = True  # it would be written to the home directory, which is read-only there
loglevel = "warning"


def application() -> "Flask":
    """The WSGI application: the framework's CloudEvent route around `main.on_upload`, and the service's own routes."""
    from shared.models import weights  # without torch, which takes longest to import

    settings = Settings.from_env(os.environ)
    weights.read_ahead(settings.model, Path(settings.model_folder) if settings.model_folder else None)

    import functions_framework

    app: Flask = functions_framework.create_app("on_upload", str(Path(__file__).with_name("main.py")), "cloudevent")
    _main().mount(app)
    return app


def _main() -> Any:
    return sys.modules["main"]  # the name under which the framework loads main.py; importing it would load it twice


def post_worker_init(_worker: object) -> None:
    """Load, warm up, and drain on SIGTERM. A worker that cannot start prints why in one line and ends the server."""
    service = _main()
    try:
        service.start()
    except CutdropError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(BOOT_ERROR)
    gunicorn_stops = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        service.stop()
        if callable(gunicorn_stops):
            gunicorn_stops(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.siginterrupt(signal.SIGTERM, False)  # as gunicorn does: running transfers are not interrupted
