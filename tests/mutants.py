"""Faults put into the code one by one: `python -m tests.mutants [NAME ...]`. Each must make its test fail.

tests/mutants.toml lists them: a file, a piece of its text, what replaces it, the tests that must notice. They run on
a copy of the sources, so a run that is broken off leaves nothing behind. Exit status 1 if a fault survives, or if the
text that it replaces is not in its file exactly once.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".toml")
COPIED = ("function", "shared", "tests", "infra", "pyproject.toml", "Makefile", "README.md", "requirements.txt")
LIMIT_S = 120  # a mutant that makes its test hang is noticed too


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. test: what pytest takes, several parted by blanks."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def applied(self, folder: Path) -> bool:
        """Whether the fault could be put into the copy under `folder`."""
        path = folder / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.count(self.old) != 1:
            return False
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return True


def mutants(names: list[str]) -> list[Mutant]:
    """Those of the table, or those named. SystemExit if a name is not in the table."""
    table = {entry["name"]: Mutant(**entry) for entry in tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutant"]}
    if unknown := sorted(set(names) - set(table)):
        sys.exit(f"not in {TABLE.name}: {', '.join(unknown)}")
    return [table[name] for name in names] if names else list(table.values())


def verdict(mutant: Mutant, folder: Path) -> str:
    """What becomes of one fault: "killed", "SURVIVED", "STALE" (its text is not there once) or "NO TEST"."""
    original = (folder / mutant.file).read_bytes() if (folder / mutant.file).is_file() else b""
    if not mutant.applied(folder):
        return "STALE"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        *mutant.test.split(),
    ]
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=LIMIT_S, check=False, capture_output=True, env=os.environ | {"PYTHONPATH": ""}
        )
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        (folder / mutant.file).write_bytes(original)
    return {0: "SURVIVED", 1: "killed"}.get(done.returncode, "NO TEST")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="*", help="mutants of tests/mutants.toml; all of them by default")
    chosen = mutants(parser.parse_args().name)
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        for mutant in chosen:
            found = verdict(mutant, folder)
            counts[found] = counts.get(found, 0) + 1
            print(f"{found:8}  {mutant.file:36}  {mutant.name}", flush=True)
    print(", ".join(f"{count} {found}" for found, count in sorted(counts.items())))
    return 0 if set(counts) <= {"killed"} else 1


if __name__ == "__main__":
    sys.exit(main())
