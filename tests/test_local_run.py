"""python -m function.local, as a person runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import photo

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "function.local", *map(str, arguments)]


def run(*arguments, **environment) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(
        command(*arguments), cwd=ROOT, timeout=170, check=False, capture_output=True, text=True, env=env
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as people have them: pictures, something else, something hidden."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "left").mkdir()
    (folder / "car.jpg").write_bytes((ROOT / "tests/data/samples/car.jpg").read_bytes())
    with Image.open(folder / "car.jpg") as car:
        car.resize((300, 225)).save(folder / "left" / "car.png")
    (folder / "prices.csv").write_text("car,12\n")
    (folder / ".hidden.jpg").write_bytes(photo())
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A whole run over that folder with the embedded model: what it printed, and where its files are."""
    out = tmp_path_factory.mktemp("run")
    done = run("--out", out / "out", "--outcomes", out / "o.jsonl", "--log", out / "server.log", folder, RUN=out.name)
    return done, out


def test_every_file_gets_an_outcome_and_the_status_is_0(finished):
    done, out = finished
    assert done.returncode == 0, done.stderr
    told = {line["source"]["name"]: line for line in map(json.loads, (out / "o.jsonl").read_text().splitlines())}
    assert {name: line["code"] for name, line in told.items()} == {
        "car.jpg": "",
        "left/car.png": "",
        "prices.csv": "unsupported_media",
    }


def test_results_are_rgba_files_of_the_uploads_size_with_a_picture_beside_them(finished):
    _, out = finished
    for name, size in (("car", (1200, 900)), ("left/car", (300, 225))):
        with Image.open(out / "out" / f"{name}.png") as result:
            assert (result.mode, result.size) == ("RGBA", size)
        with Image.open(out / "out" / f"{name}.before-after.png") as picture:
            assert picture.width == min(1600, 2 * size[0] + 16)


def test_the_subject_is_kept_and_the_background_is_gone(finished):
    with Image.open(finished[1] / "out" / "car.png") as result:
        alpha = np.asarray(result)[..., 3]
    assert alpha[480:600, 320:640].mean() > 250  # within the car
    assert alpha[:350].max() == 0  # the sky and the trees


def test_the_table_names_each_file_its_outcome_and_its_reason(finished):
    done, _ = finished
    assert "3 uploads: 2 completed, 1 failed, 0 without outcome" in done.stdout
    assert "unsupported_media" in done.stdout
    assert "1200x900" in done.stdout
    assert "demo model" in done.stdout


def test_the_server_says_that_its_model_is_a_demo(finished):
    warnings = [json.loads(line) for line in (finished[1] / "server.log").read_text().splitlines()]
    assert any("demo model" in line["message"] for line in warnings if line["severity"] == "WARNING")


def test_nothing_is_left_running(finished):
    assert processes_with(f"PATH={os.environ['PATH']}") != []  # they are found: this very process is one
    assert processes_with(f"RUN={finished[1].name}") == []


def processes_with(variable: str) -> list[str]:
    """Processes, by number, that have this in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if variable.encode() in environment:
            found.append(entry.name)
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


def test_a_server_that_cannot_start_says_why(folder):
    done = run("--set", "REQUIRE_GPU=true", folder, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "the server ended with status 3" in done.stderr
    assert "GpuUnavailable: no GPU that PyTorch can use: driver: " in done.stderr
    assert "wheel: torch " in done.stderr
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
        assert process.stdout is not None
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
