"""Which files a command line means, and under which object names they are uploaded."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shared.decoding import media_type

SIGNATURE_BYTES = 512


class NothingToUpload(Exception):
    """The command line names no file to upload; the message has the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file and the name of its object."""

    path: Path
    name: str  # "shoes/12.jpg"


def collect(paths: Sequence[Path], *, leave_out: Path | None = None, images_only: bool = False) -> list[LocalFile]:
    """Every file that the paths mean, once, in order; NothingToUpload if a path is missing or nothing is found.

    A folder means all files below it, except hidden ones, those below `leave_out` and, with images_only, those without
    the signature of an image format; a file named directly is always included. Names are relative to the given folder;
    files that would share a name get as many of their parent folders in front as tell them apart.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise NothingToUpload(f"no such file or folder: {', '.join(missing)}")
    found: dict[Path, int] = {}  # resolved path -> how many of its last parts make its name
    for path in paths:
        for file, parts in _below(path, leave_out):
            if not images_only or file == path.resolve() or is_image(file):
                found.setdefault(file, parts)
    if not found:
        hint = "" if leave_out is None else f" (files below {leave_out}, the folder for results, do not count)"
        raise NothingToUpload(f"no {'images' if images_only else 'files'} in {', '.join(map(str, paths))}{hint}")
    return [LocalFile(path=path, name=name) for path, name in _apart(found).items()]


def is_image(file: Path) -> bool:
    """Whether the first bytes are those of a format that the service reads."""
    try:
        with file.open("rb") as opened:
            return bool(media_type(opened.read(SIGNATURE_BYTES)))
    except OSError:
        return False


def _below(path: Path, leave_out: Path | None) -> Iterable[tuple[Path, int]]:
    top = path.resolve()
    if not top.is_dir():
        yield top, 1
        return
    without = leave_out.resolve() if leave_out else None
    for folder, folders, names in os.walk(top):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and here / name != without)
        if here == without:
            return
        for name in sorted(names):
            file = here / name
            if not name.startswith(".") and file.is_file():
                yield file, len(file.relative_to(top).parts)


def _apart(found: dict[Path, int]) -> dict[Path, str]:
    """A different name for each path: shared ones grow by one parent folder at a time."""
    while True:
        names = {path: _name(path, parts) for path, parts in found.items()}
        shared = {name for name, count in Counter(names.values()).items() if count > 1}
        growing = [path for path, name in names.items() if name in shared and found[path] < len(path.parts) - 1]
        if not growing:
            return names
        for path in growing:
            found[path] += 1


def _name(path: Path, parts: int) -> str:
    text = str(PurePosixPath(*path.parts[-parts:]))
    # object names are UTF-8, file names are bytes
    return text.encode(errors="surrogateescape").decode(errors="replace")
