"""python -m function.local, as a person runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import photo

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "function.local", *map(str, arguments)]


def run(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as people have them: pictures, something else, something hidden."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "left").mkdir()
    (folder / "shoe.jpg").write_bytes(photo(300, 200, seed=1))
    (folder / "left" / "shoe.png").write_bytes(photo(120, 160, seed=2, kind="PNG"))
    (folder / "prices.csv").write_text("shoe,12\n")
    (folder / ".hidden.jpg").write_bytes(photo())
    return folder


@pytest.fixture(scope="module")
def finished(folder, model, tmp_path_factory):
    """A whole run over that folder: what it printed, and where its files are."""
    out = tmp_path_factory.mktemp("run")
    done = run("--out", out / "out", "--outcomes", out / "o.jsonl", "--set", f"MODEL={model}", folder)
    return done, out


def test_every_file_gets_an_outcome_and_the_status_is_0(finished):
    done, out = finished
    assert done.returncode == 0, done.stderr
    told = {line["source"]["name"]: line for line in map(json.loads, (out / "o.jsonl").read_text().splitlines())}
    assert {name: line["code"] for name, line in told.items()} == {
        "shoe.jpg": "",
        "left/shoe.png": "",
        "prices.csv": "unsupported_media",
    }


def test_results_are_rgba_files_of_the_uploads_size_with_a_picture_beside_them(finished):
    _, out = finished
    for name, size in (("shoe", (300, 200)), ("left/shoe", (120, 160))):
        with Image.open(out / "out" / f"{name}.png") as result:
            assert (result.mode, result.size) == ("RGBA", size)
        with Image.open(out / "out" / f"{name}.before-after.png") as picture:
            assert (picture.width, picture.height) == (2 * size[0] + 16, size[1])


def test_the_table_names_each_file_its_outcome_and_its_reason(finished):
    done, _ = finished
    assert "3 uploads: 2 completed, 1 failed, 0 without outcome" in done.stdout
    assert "unsupported_media" in done.stdout
    assert "300x200" in done.stdout


def test_nothing_is_left_running(finished):
    assert not [line for line in processes() if "function/server.py" in line and str(finished[1]) in line]


def processes() -> list[str]:
    """Command lines and environments of all processes that can be read."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found.append((entry / "cmdline").read_text() + (entry / "environ").read_text())
        except OSError:
            continue
    return found


def test_a_path_that_does_not_exist_is_named(tmp_path):
    done = run(tmp_path / "nowhere.jpg")
    assert done.returncode == 1
    assert "no such file or folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_setting_is_named_before_anything_starts(folder):
    done = run("--set", "MASK_TRESHOLD=0.5", folder)
    assert done.returncode == 1
    assert "MASK_THRESHOLD" in done.stderr


def test_a_server_that_cannot_start_shows_why(folder):
    done = run("--set", "MODEL=no-such-model", folder)
    assert done.returncode == 1
    assert "WeightsError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_watched_folder_gives_results_until_it_is_interrupted(tmp_path, model):
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    process = subprocess.Popen(
        command("--serve", "--out", out, "--set", f"MODEL={model}", "--option", "format=webp", inbox),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith("watching")
        for size in ((80, 60), (90, 70)):
            (inbox / "first.jpg").write_bytes(photo(*size))
            assert process.stdout.readline() == f"first.jpg  completed  {out}/first.webp  {size[0]}x{size[1]}\n"
            with Image.open(out / "first.webp") as result:
                assert (result.format, result.size) == ("WEBP", size)
        process.send_signal(signal.SIGTERM)  # what a service manager sends; Ctrl-C takes the same way
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said
