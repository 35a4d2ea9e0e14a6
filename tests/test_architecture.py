"""The one-way rule and the sizes of files and functions, held by the build."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for part in ("function", "shared") for path in (ROOT / part).rglob("*.py"))
LONG_FILE = 300  # lines, nine in ten; networks may be longer
LONGEST_FILE = 400
LONGEST_FUNCTION = 30  # lines, nine in ten


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The sources and their contracts, to be broken."""
    for part in ("function", "shared"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("shared/decoding.py", "import shared.cutter", "the data flows one way in the pixel pipeline"),
        ("function/logs.py", "import function.handler", "the data flows one way in the service"),
        ("function/transfer.py", "import function.cloud", "the data flows one way in the service"),
        ("function/wiring.py", "import function.local", "the data flows one way in the service"),
        ("function/cloud.py", "import function.backfill", "the data flows one way in the service"),
        ("function/backfill/worklist.py", "import function.backfill.job", "the data flows one way in the backfill"),
        (
            "function/local/storage/store.py",
            "import function.local.eventarc",
            "the data flows one way in the local run",
        ),
        ("shared/records.py", "import google.cloud.storage", "the pixel pipeline knows no cloud"),
        ("shared/events.py", "import function.settings", "the pixel pipeline knows no cloud"),
        ("function/handler.py", "import shared.models", "the policy of one upload knows neither cloud nor network"),
        ("function/settings.py", "import google.cloud.pubsub", "only the adapters know the cloud"),
        ("function/admission.py", "import google.cloud.storage", "only the adapters know the cloud"),
        ("function/backfill/job.py", "import google.cloud.storage", "only the adapters know the cloud"),
        ("shared/matting.py", "import torch", "torch stays inside the models"),
        ("function/main.py", "import torch", "torch stays inside the models"),
    ],
)
def test_each_import_contract_can_fail(copied, module, line, contract):
    with (copied / module).open("a") as broken:
        broken.write(f"\n{line}\n")
    result = lint_imports(copied)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout


@pytest.mark.parametrize(
    ("package", "contract"),
    [
        ("function", "service"),
        ("function/backfill", "backfill"),
        ("function/local", "local run"),
        ("shared", "pixel pipeline"),
    ],
)
def test_a_module_without_a_layer_breaks_its_contract(copied, package, contract):
    (copied / package / "unplaced.py").touch()
    result = lint_imports(copied)
    assert f"the data flows one way in the {contract} BROKEN" in result.stdout
    assert "unplaced" in result.stdout


def test_nine_files_in_ten_are_read_in_one_sitting_and_none_is_a_book():
    networks = ROOT / "shared" / "models"
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES if networks not in path.parents
    }
    long = {path: lines for path, lines in lengths.items() if lines > LONG_FILE}
    assert len(long) <= len(lengths) / 10, long
    assert max(lengths.values()) <= LONGEST_FILE, long


def test_nine_functions_in_ten_fit_on_a_screen():
    lengths = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    long = [name for name, lines in lengths.items() if lines > LONGEST_FUNCTION]
    assert len(long) <= len(lengths) / 10, "\n".join(long)


def test_only_the_deployable_reads_the_environment():
    words = {"environ", "getenv", "environb"}
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if words & {getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", "")}
    }
    assert {reader for reader in readers if reader.startswith("shared/")} == set()
    assert readers  # the search finds those that may
