"""Fetches the checkpoints that the settings ask for, before the server starts: `python -m function.local.run.fetch`.

A process of its own: it shows its progress in the terminal, and it ends at once when it is interrupted.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from function.local.cloud import LOCAL_NAMES
from function.local.run.checks import Refused
from function.local.server_process import ROOT
from function.settings import Settings
from shared.models.checkpoints import CHECKPOINTS
from shared.options import AlphaMatting, EsrganStage

INTERRUPTED = 130  # exit status


def fetch_missing(settings: Settings, environment: Mapping[str, str]) -> None:
    """Have every checkpoint in its cache that a server with these settings loads; Refused says why it is not there."""
    if not missing(settings):
        return
    command = (sys.executable, "-m", "function.local.run.fetch")
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **LOCAL_NAMES, **environment}) as process:  # noqa: S603 - our own
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            raise
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise Refused(
            "a checkpoint is missing. Without a network: --set MODEL=FOLDER that holds it, --set MODEL_FOLDER=DIR "
            "with a cache that `python -m shared.models.weights NAME --folder DIR` filled elsewhere, or --set "
            "MODEL=embedded"
        )


def missing(settings: Settings) -> list[str]:
    """Checkpoints that are neither here nor in a cache. A name that cannot be one is left to the server's own check."""
    wanted = {settings.model: settings.model_revision}
    if settings.options.alpha_matting is AlphaMatting.VITMATTE:
        wanted[settings.vitmatte_model] = settings.vitmatte_revision
    folder = settings.model_folder or None
    names = [
        name
        for name, revision in wanted.items()
        if "/" in name and not Path(name).exists() and not _cached(name, revision, folder)
    ]
    if settings.options.esrgan_stage is not EsrganStage.OFF:
        names += _missing_upscaler(settings)
    return names


def at_hand(settings: Settings) -> list[str]:
    """Models that can be used without a download, the settings' own first."""
    folder = settings.model_folder or None
    cached = [name for name in CHECKPOINTS if _cached(name, "", folder)]
    return list(dict.fromkeys([settings.model, "embedded", *cached]))


def _cached(name: str, revision: str, folder: str | None) -> bool:
    known = CHECKPOINTS.get(name)
    revision = revision or (known.revision if known else "main")
    try:
        return isinstance(try_to_load_from_cache(name, "model.safetensors", cache_dir=folder, revision=revision), str)
    except ValueError:  # no Hugging Face id
        return True


def _missing_upscaler(settings: Settings) -> list[str]:
    from function.wiring import upscaler_folder
    from shared.models import realesrgan

    here = realesrgan.is_here(settings.esrgan_model, upscaler_folder(settings))
    return [] if here else [settings.esrgan_model]


def _fetch(settings: Settings) -> None:
    from function.wiring import upscaler_folder
    from shared.models import realesrgan
    from shared.models.weights import find_weights

    folder = Path(settings.model_folder) if settings.model_folder else None
    find_weights(settings.model, revision=settings.model_revision, folder=folder)
    if settings.options.alpha_matting is AlphaMatting.VITMATTE:
        find_weights(settings.vitmatte_model, revision=settings.vitmatte_revision, folder=folder)
    if settings.options.esrgan_stage is not EsrganStage.OFF:
        realesrgan.find(settings.esrgan_model, upscaler_folder(settings))


def main() -> int:
    """The exit status: 0 = everything is there, 1 = not, and standard error says why."""
    from shared.errors import WeightsError

    try:
        _fetch(Settings.from_env(os.environ))
    except WeightsError as error:
        print(f"WeightsError: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
