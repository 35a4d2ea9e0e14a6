"""The folder that takes the results: nothing in it is replaced that this run did not write itself."""

import errno
import filecmp
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

LONGEST_PART = 240  # bytes of one file name: most file systems take 255, and a number may be added
PICTURE_SUFFIX = ".before-after.png"


class ResultFolder:
    """Results and comparison pictures below one folder, each written completely or not at all.

    overwrite: replace files of earlier runs. Without it, a file that is there already stays, and a result with other
    bytes gets a number: `cars-2.png`.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder, self._overwrite = folder.resolve(), overwrite
        self._results: dict[Path, str] = {}  # files of this run -> name of their result
        self._pictures: dict[Path, Path] = {}  # comparison pictures of this run -> their result

    def save(self, name: str, write: Callable[[Path], None]) -> Path:
        """The path of a result: what `write` puts into the path that it gets, moved to `name` below the folder.

        A newer result of the same name within one run replaces the older one. ValueError if the name leads outside.
        """
        wanted = self.folder / Path(*(_fitting(part) for part in name.split("/")))
        if ".." in wanted.parts or not wanted.resolve().is_relative_to(self.folder):
            raise ValueError(f"{name} would be written outside {self.folder}")
        return self._place(_below_folders(wanted, self.folder), write, name)

    def save_picture(self, result: Path, write: Callable[[Path], None]) -> Path:
        """The path of the comparison picture of a result that `save` placed."""
        return self._place(result.with_name(_fitting(f"{result.stem}{PICTURE_SUFFIX}")), write, picture_of=result)

    def _place(
        self, wanted: Path, write: Callable[[Path], None], name: str = "", *, picture_of: Path | None = None
    ) -> Path:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        part = wanted.with_name(f".{os.getpid()}-part{wanted.suffix}")
        try:
            write(part)
            if not picture_of:
                self._move_picture_from(wanted)
            path = next(
                path for path in _numbered(wanted) if self._may_write(path, part, name=name, picture_of=picture_of)
            )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        if picture_of:
            self._pictures[path] = picture_of
        else:
            self._results[path] = name
        return path

    def _may_write(self, path: Path, part: Path, *, name: str, picture_of: Path | None) -> bool:
        if path in self._results:
            return not picture_of and self._results[path] == name
        if path in self._pictures:
            return picture_of is not None and self._pictures[path] == picture_of
        if not path.exists():
            return True
        return path.is_file() and (self._overwrite or filecmp.cmp(path, part, shallow=False))

    def _move_picture_from(self, path: Path) -> None:
        """A comparison picture of this run gives its name to a result."""
        if path in self._pictures:
            free = next(other for other in _numbered(path) if not other.exists())
            self._pictures[free] = self._pictures.pop(path)
            path.replace(free)


def _numbered(path: Path) -> Iterator[Path]:
    """`cars.png`, `cars-2.png`, `cars-3.png` ..."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _below_folders(path: Path, folder: Path) -> Path:
    """The same path; a parent that exists as a file is numbered."""
    here = folder
    for part in path.relative_to(folder).parts[:-1]:
        here = next(each for each in _numbered(here / part) if each.is_dir() or not each.exists())
    return here / path.name


def _fitting(part: str) -> str:
    """One part of a path in at most LONGEST_PART bytes; the suffix stays."""
    data = part.encode()
    if len(data) <= LONGEST_PART:
        return part
    suffix = Path(part).suffix[:20]
    return data[: LONGEST_PART - len(suffix.encode())].decode(errors="ignore") + suffix


def folder_problem(folder: Path) -> str:
    """Why results cannot be written below this folder, as the end of a sentence; empty if they can."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return f"{existing} is a file"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing}: {os.strerror(errno.EACCES).lower()}"
    return ""
