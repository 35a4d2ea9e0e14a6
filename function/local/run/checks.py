"""Checks of a command line before anything starts: each problem is one sentence."""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from function.local.cloud import LOCAL_NAMES
from function.local.run.files import LocalFile, NothingToUpload, collect
from function.local.run.results import folder_problem
from function.plan import OPTION_PREFIX, asked_outputs
from function.settings import Settings, table
from shared.errors import InvalidOptions, SettingsError
from shared.options import AlphaMatting, CutOptions, EsrganStage
from shared.report import RESERVED

LIKE_A_SETTING = 0.88  # similarity of names, difflib's ratio, from which a variable is taken for a misspelt setting
SHORTEST = 5  # letters; shorter names resemble too much
OPTION_HELP = "the settings table in the README lists them"


class Refused(Exception):
    """The command line cannot work; the message is for the person who typed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A command line that can start.

    environment: what --set and MODEL give to the server. metadata: custom metadata of every upload.
    """

    settings: Settings
    environment: Mapping[str, str]
    metadata: Mapping[str, str]
    warnings: Sequence[str]


def check_settings(
    given: Sequence[tuple[str, str]], options: Sequence[tuple[str, str]], environ: Mapping[str, str]
) -> Checked:
    """The settings of --set over the environment, and the options of every upload. Refused lists every problem."""
    names = {setting.name for setting in table()}
    problems = [problem for name, _ in given if (problem := _setting_problem(name, names))]
    if problems:
        raise Refused("; ".join(problems))
    metadata = {f"{OPTION_PREFIX}{name}": value for name, value in options}
    if reserved := [name for name, _ in options if f"{OPTION_PREFIX}{name}".lower() in RESERVED]:
        raise Refused(f"--option: {reserved[0]} is not an option ({OPTION_HELP})")
    chosen = {"MODEL": environ.get("MODEL", "").strip() or "embedded"} | dict(given)
    try:
        settings = Settings.from_env({**environ, **LOCAL_NAMES, **chosen})
        asked = asked_outputs(metadata, settings)[0].options
    except InvalidOptions as error:
        raise Refused(f"--option: {error}") from error
    except SettingsError as error:
        raise Refused(str(error)) from error
    _check_networks(asked, settings)
    _check_prefix(settings)
    return Checked(
        settings=settings,
        environment=chosen,
        metadata=metadata,
        warnings=[*_misspelt(environ, names)],
    )


def _setting_problem(name: str, names: Iterable[str]) -> str:
    if name in LOCAL_NAMES:
        return f"--set {name}: the local run sets it itself"
    if name in names:
        return ""
    near = difflib.get_close_matches(name.upper(), names, n=1)
    return f"--set {name} is not a setting" + (f", {near[0]} is" if near else f" ({OPTION_HELP})")


def _misspelt(environ: Mapping[str, str], names: set[str]) -> Iterable[str]:
    """Variables that resemble a setting and are none: nothing reads them."""
    for name in sorted(set(environ) - names):
        near = difflib.get_close_matches(name.upper(), names, n=1, cutoff=LIKE_A_SETTING)
        if near and len(name) >= SHORTEST:
            yield f"the environment variable {name} is not a setting, {near[0]} is"


def absent_networks(settings: Settings) -> dict[tuple[str, str], str]:
    """(option, value) -> why a single upload cannot ask for it: its network is not loaded; and how to load it."""
    from function.wiring import upscaler_folder
    from shared.models import realesrgan

    absent = {}
    if settings.options.alpha_matting is not AlphaMatting.VITMATTE:
        absent["alpha_matting", AlphaMatting.VITMATTE.value] = (
            f"needs a network that is not loaded: --set ALPHA_MATTING=vitmatte loads {settings.vitmatte_model} "
            "(in the container image: the build argument VITMATTE_MODEL)"
        )
    folder = upscaler_folder(settings)
    if settings.options.esrgan_stage is EsrganStage.OFF and not realesrgan.is_here(settings.esrgan_model, folder):
        for stage in (EsrganStage.AFTER, EsrganStage.BEFORE):
            absent["esrgan_stage", stage.value] = (
                f"needs a network that is not loaded: --set ESRGAN_STAGE={stage} fetches {settings.esrgan_model}, "
                f"or put that file into {folder} (in the container image: the build argument ESRGAN_MODEL)"
            )
    return absent


def _check_networks(asked: CutOptions, settings: Settings) -> None:
    """Options of single uploads do not load a network: say what does, instead of one failure for each file."""
    if asked == settings.options:
        return
    texts = asked.as_texts()
    for (name, value), why in absent_networks(settings).items():
        if texts[name] == value:
            raise Refused(f"--option {name}={value} {why}")


def _check_prefix(settings: Settings) -> None:
    if ".." in settings.output_prefix.split("/") or settings.output_prefix.startswith("/"):
        raise Refused(f"OUTPUT_PREFIX={settings.output_prefix}: results would be written outside the folder of --out")


def check_files(
    paths: Sequence[Path], settings: Settings, *, out: Path, images_only: bool, endless: bool
) -> list[LocalFile]:
    """The files of a run, none of one without an end. Refused if there is none, or if the service would ignore one."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise Refused(f"no such file or folder: {', '.join(missing)}")
    if endless:
        if settings.upload_prefix:
            raise Refused(f"UPLOAD_PREFIX={settings.upload_prefix}: files of other names would be ignored for ever")
        return []
    try:
        files = collect(paths, leave_out=out, images_only=images_only)
    except NothingToUpload as error:
        raise Refused(str(error)) from error
    if ignored := [file.name for file in files if not file.name.startswith(settings.upload_prefix)]:
        raise Refused(
            f"UPLOAD_PREFIX={settings.upload_prefix}: {len(ignored)} of {len(files)} files would be ignored, their "
            f"names do not begin with it ({ignored[0]})"
        )
    return files


def check_targets(*, out: Path, outcomes: Path | None, log: Path | None, overwrite: bool) -> None:
    """Refused if a result, a message or the log could not be written, or would replace a file."""
    if problem := folder_problem(out):
        raise Refused(f"--out {out}: {problem}")
    for flag, file in (("--outcomes", outcomes), ("--log", log)):
        if file is None:
            continue
        if not file.absolute().parent.is_dir():
            raise Refused(f"{flag} {file}: there is no folder {file.parent}")
        if file.is_dir():
            raise Refused(f"{flag} {file}: is a folder")
        if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
            raise Refused(f"{flag} {file}: permission denied")
    if outcomes is not None and outcomes.is_file() and outcomes.stat().st_size and not overwrite:
        raise Refused(f"--outcomes {outcomes}: exists; --overwrite replaces it")
