"""Name of a model -> its file, checked against the sha256 that was published. Nothing in a checkpoint is ever executed.

`python -m shared.models.weights NAME --folder DIR` fetches and checks a checkpoint ahead of time; with
`--dtype float16` it keeps a copy in half precision in its place, which is read in half the time. This module imports
torch only to open or convert a file, so that a file can be checked while torch is imported.
"""

import argparse
import hashlib
import json
import logging
import re
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import tqdm

from shared.errors import WeightsError
from shared.models.checkpoints import KNOWN, Checkpoint, Published

if TYPE_CHECKING:
    import torch

    StateDict = dict[str, torch.Tensor]

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / EMBEDDED
HUB_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CONVERTED = "converted"  # folder of the copies in half precision
PROVENANCE_FILE = "provenance.json"  # beside such a copy: what it was made from, and its own sha256
HALF_PRECISION = ("float16", "bfloat16")
PREFIXES = ("module.", "_orig_mod.")  # left by data-parallel training and by compilation, in this order
TIMEOUT = 60.0  # seconds without an answer

LOG = logging.getLogger(__name__)

_HASHES: dict[Path, tuple[tuple[int, int, int], str]] = {}  # file -> its state, and the sha256 in that state
_HASHING = threading.Lock()  # one file at a time, so that none is hashed twice


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A checkpoint on disk whose sha256 is known; the published one, if one is published."""

    id: str  # Hugging Face id, "embedded", or the local path's last part
    revision: str  # commit; empty for local files
    path: Path
    sha256: str  # of the published file, also if `path` is its copy in half precision
    checkpoint: Checkpoint | None = None  # what is known about it, if it is one of BiRefNet
    config: Path | None = None  # config.json beside it


def find_weights(
    name: str,
    *,
    revision: str = "",
    dtype: str = "",
    folder: Path | None = None,
    endpoint: str | None = None,
    known: Mapping[str, Published] = KNOWN,
) -> WeightsFile:
    """The file of a model: "embedded", a local file or folder, or a Hugging Face id.

    A known id at its known revision (the default) must have the published sha256. Other ids, revisions and local files
    are allowed; their sha256 is logged, and recognised if it is a published one. `folder` holds the downloads
    (default: the Hugging Face cache); `endpoint` is a mirror of the hub. `dtype`: if `folder` holds a copy of the known
    checkpoint in it, that copy is given. Raises WeightsError.
    """
    if name == EMBEDDED:
        return _local(EMBEDDED_FOLDER, EMBEDDED)
    if name and name not in known and Path(name).exists():
        found = _local(Path(name), Path(name).resolve().name)
        LOG.warning("local weights %s, sha256 %s", found.path, found.sha256)
        published = next((each for each in known.values() if each.sha256 == found.sha256), None)
        return replace(found, checkpoint=published if isinstance(published, Checkpoint) else None)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise WeightsError(f"model {name!r} is neither 'embedded', nor a file or folder, nor a Hugging Face id")
    source = known.get(name)
    if folder is not None and isinstance(source, Checkpoint) and revision in ("", source.revision):
        converted = _converted(folder / CONVERTED / f"{source.sha256}-{dtype}", source)
        if converted is not None:
            return converted
    return _from_hub(name, revision, source, folder=folder, endpoint=endpoint)


def _local(place: Path, name: str) -> WeightsFile:
    path = place if place.is_file() else _only_checkpoint(place)
    config = path.with_name(CONFIG_FILE)
    return WeightsFile(
        id=name, revision="", path=path, sha256=sha256_of(path), config=config if config.is_file() else None
    )


def _only_checkpoint(folder: Path) -> Path:
    if (folder / HUB_FILE).is_file():
        return folder / HUB_FILE
    for pattern in ("*.safetensors", "*.pth"):
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            raise WeightsError(f"{folder} holds several checkpoints: {', '.join(path.name for path in found)}")
    raise WeightsError(f"{folder} holds no checkpoint ({HUB_FILE}, *.safetensors or *.pth)")


def _from_hub(
    name: str, revision: str, known: Published | None, *, folder: Path | None, endpoint: str | None
) -> WeightsFile:
    if known is not None and revision not in ("", known.revision):
        LOG.warning("%s at %s is not the revision %s that is known", name, revision, known.revision)
        known = None
    revision = revision or (known.revision if known else "main")
    path = _download(name, HUB_FILE, revision, folder, endpoint)
    if known is not None:
        check_sha256(path, known.sha256)
        checkpoint = known if isinstance(known, Checkpoint) else None
        return WeightsFile(id=name, revision=revision, path=path, sha256=known.sha256, checkpoint=checkpoint)
    commit = path.parent.name  # the cache files each download under its commit
    sha256 = sha256_of(path)
    LOG.warning("unknown weights %s at %s, sha256 %s", name, commit, sha256)
    try:
        config = _download(name, CONFIG_FILE, commit, folder, endpoint)
    except WeightsError:
        config = None  # sizes can be read from the tensors as well
    return WeightsFile(id=name, revision=commit, path=path, sha256=sha256, config=config)


def _download(name: str, file: str, revision: str, folder: Path | None, endpoint: str | None) -> Path:
    hub_logging.set_verbosity_error()  # what it says beside its exceptions is said once, below
    source = f"{file} of {name} at {revision} cannot be fetched from {endpoint or constants.ENDPOINT}"
    try:
        return Path(hf_hub_download(name, file, revision=revision, cache_dir=folder, endpoint=endpoint))
    except LocalEntryNotFoundError as error:
        raise WeightsError(f"{source}: {_first_cause(error)}; it is not in the cache either") from error
    except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(f"{source}: {_one_line(error)}") from error


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _converted(place: Path, source: Checkpoint) -> WeightsFile | None:
    """The copy of `source` that `convert` left at `place`; None if there is none."""
    if not (place / PROVENANCE_FILE).is_file():
        return None
    try:
        recorded = json.loads((place / PROVENANCE_FILE).read_text())
        check_sha256(place / HUB_FILE, recorded["sha256"])
        if recorded["source_sha256"] != source.sha256:
            raise WeightsError(f"{place} was converted from another file than the published one")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{place}: {error!r}") from error
    return WeightsFile(
        id=source.id,
        revision=source.revision,
        path=place / HUB_FILE,
        sha256=source.sha256,
        checkpoint=replace(source, dtype=recorded["dtype"]),
    )


def convert(source: WeightsFile, dtype: str, folder: Path) -> Path:
    """Write a copy of `source` in half precision into `folder`, where `find_weights` finds it; the copy's path.

    Numbers are rounded as they would be when the network is loaded in `dtype`. The record beside the copy names the
    published file, its sha256 and that of the copy. Raises WeightsError for a file that is not a known checkpoint.
    """
    import safetensors.torch
    import torch

    if source.checkpoint is None or dtype not in HALF_PRECISION:
        raise WeightsError(f"{source.id} in {dtype}: only known checkpoints are converted, to {HALF_PRECISION}")
    place = folder / CONVERTED / f"{source.sha256}-{dtype}"
    place.mkdir(parents=True, exist_ok=True)
    half: torch.dtype = getattr(torch, dtype)
    state = open_weights(source.path)
    state = {key: value.to(half) if value.is_floating_point() else value for key, value in state.items()}
    safetensors.torch.save_file(state, place / HUB_FILE, {"format": "pt"})
    (place / HUB_FILE).chmod(0o644)  # safetensors writes files that only their owner may read
    record = {
        "source": source.id,
        "revision": source.revision,
        "source_sha256": source.sha256,
        "dtype": dtype,
        "sha256": sha256_of(place / HUB_FILE),
    }
    (place / PROVENANCE_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return place / HUB_FILE


def open_weights(path: Path) -> "StateDict":
    """Tensors by name, on the CPU, with the prefixes of training wrappers removed; safetensors are memory-mapped.

    Safetensors, or PyTorch's own format through its restricted unpickler. Raises WeightsError.
    """
    import safetensors.torch
    import torch

    try:
        if path.suffix == ".safetensors":
            loaded: object = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling alone raises six kinds
        raise WeightsError(f"{path.name} is not a checkpoint that can be opened safely: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(f"{path.name} is not a plain table of tensors")
    for prefix in PREFIXES:
        loaded = {str(key).removeprefix(prefix): value for key, value in loaded.items()}
    return loaded


def check_sha256(path: Path, sha256: str) -> None:
    """Raise WeightsError unless the file's bytes have this sha256."""
    found = sha256_of(path)
    if found != sha256:
        raise WeightsError(f"{path} has sha256 {found}, expected {sha256}: the file was altered or cut short")


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes; computed once as long as the file is not changed."""
    with _HASHING:
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = _HASHES.get(path)
        if known is None or known[0] != state:
            with path.open("rb") as file:
                known = _HASHES[path] = (state, hashlib.file_digest(file, "sha256").hexdigest())
        return known[1]


def read_ahead(name: str, folder: Path | None) -> None:
    """Start to read and hash what `find_weights` will ask for, in a thread, so that it is there when torch is."""
    places = [EMBEDDED_FOLDER if name == EMBEDDED else Path(name), *([folder] if folder else [])]

    def read() -> None:
        for place in places:
            for path in [place] if place.is_file() else sorted(place.rglob(HUB_FILE)):
                with suppress(OSError):  # whoever needs the file reports it
                    sha256_of(path)

    threading.Thread(target=read, name="read-ahead", daemon=True).start()


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """The file behind an http(s) URL, from `folder` or downloaded into it; it always has this sha256.

    The file appears whole or not at all. Raises WeightsError.
    """
    address = urllib.parse.urlsplit(url)
    target = folder / Path(urllib.parse.unquote(address.path)).name
    if address.scheme not in ("http", "https") or target == folder:
        raise WeightsError(f"{url} is not the http(s) address of a file")
    if target.is_file() and sha256_of(target) == sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        partial = Path(scratch) / target.name
        LOG.info("fetching %s", url)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, partial.open("wb") as file:  # noqa: S310
                total = int(answer.headers.get("Content-Length") or 0) or None
                quiet = not sys.stderr.isatty()
                with tqdm(total=total, unit="B", unit_scale=True, desc=target.name, disable=quiet) as bar:
                    while block := answer.read(1 << 20):
                        file.write(block)
                        bar.update(len(block))
        except (OSError, HTTPException) as error:
            raise WeightsError(f"{url} cannot be fetched: {_one_line(error)}") from error
        check_sha256(partial, sha256)
        partial.replace(target)
    return target


def main() -> int:
    """The exit status: 0 = the file is there, 1 = not, and one line on standard error says why."""
    parser = argparse.ArgumentParser(description=find_weights.__doc__)
    parser.add_argument("name")
    parser.add_argument("--revision", default="")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dtype", choices=("", *HALF_PRECISION), default="", help="keep a copy in it instead")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    try:
        path = _prepared(given)
    except WeightsError as error:
        print(f"WeightsError: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"{sha256_of(path)}  {path}")
    return 0


def _prepared(given: argparse.Namespace) -> Path:
    found = find_weights(given.name, revision=given.revision, folder=given.folder)
    path = found.path
    if given.dtype and found.checkpoint is None:
        LOG.warning("%s is not a known checkpoint: it stays in its own precision", found.id)
    elif given.dtype and given.folder and found.checkpoint and found.checkpoint.dtype != given.dtype:
        path = convert(found, given.dtype, given.folder)
        found.path.resolve().unlink()  # the cache's file, which its link names
        found.path.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
