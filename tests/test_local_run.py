"""python -m function.local, as a person runs it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.local.run.checks import check_settings
from function.local.run.command import main
from function.local.run.files import LocalFile
from function.local.run.outcomes import console, line, row, summary
from function.local.run.progress import RunProgress
from function.local.run.results import ResultFolder
from function.local.run.runner import FileOutcome, LocalRun
from function.local.server_process import free_port
from shared.records import ModelInfo, Subject
from shared.subscriber.messages import CompletionMessage, Output, Source
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


def test_a_file_that_is_no_image_is_summed_up_and_keeps_its_message(finished):
    done, _ = finished
    assert "1 file is no image (unsupported_media): prices.csv" in done.stdout


REFUSED = [
    (["--option", "crp=true"], "crp is not an option, crop is"),
    (["--option", "key=1"], "key is not an option"),
    (["--option", "format=jpg"], "needs bg_color"),
    (["--option", "outputs=small: size=32"], "outputs: small: size='32' is not WIDTHxHEIGHT"),
    (["--set", "FOO=bar"], "FOO is not a setting"),
    (["--set", "birefnet_size=512"], "birefnet_size is not a setting, BIREFNET_SIZE is"),
    (["--set", "MASK_TRESHOLD=0.5"], "MASK_THRESHOLD is"),
    (["--set", "OUTPUT_BUCKET=mine"], "the local run sets it itself"),
    (["--set", "UPLOAD_PREFIX=x/"], "3 of 3 files would be ignored"),
    (["--set", "UPLOAD_PREFIX=x/", "--serve"], "ignored for ever"),
    (["--set", "OUTPUT_PREFIX=../"], "outside the folder of --out"),
    (["--option", "alpha_matting=vitmatte"], "--set ALPHA_MATTING=vitmatte loads"),
    (["--option", "esrgan_stage=after"], "--set ESRGAN_STAGE=after fetches"),
    (["--outcomes", "missing/o.jsonl"], "there is no folder missing"),
    (["--out", "README.md"], "is a file"),
    (["nowhere.jpg"], "no such file or folder: nowhere.jpg"),
    (["nowhere", "--serve"], "no such file or folder: nowhere"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_what_cannot_work_is_refused_in_one_sentence_before_anything_starts(folder, arguments, sentence, capsys):
    home = {"HOME": str(folder)}  # no cache of checkpoints
    if "esrgan" in str(arguments):
        done = run(*arguments, folder, **home)
        status, said = done.returncode, done.stderr
    else:
        status, said = main([*arguments, str(folder)]), capsys.readouterr().err
    assert status == 2, said
    assert sentence in said
    assert said.count("\n") == 1


def test_outcomes_of_an_earlier_run_are_not_replaced(folder, tmp_path, capsys):
    (tmp_path / "o.jsonl").write_text("{}\n")
    assert main(["--outcomes", str(tmp_path / "o.jsonl"), str(folder)]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err


def test_a_misspelt_variable_is_warned_of_and_a_model_in_the_environment_is_used(folder):
    checked = check_settings([], [], {"CONCURENCY": "1", "MODEL": "some/model", "EDITOR": "vi"})
    assert checked.warnings == ["the environment variable CONCURENCY is not a setting, CONCURRENCY is"]
    assert checked.settings.model == "some/model"
    assert check_settings([("MODEL", "embedded")], [], {"MODEL": "some/model"}).settings.model == "embedded"
    assert check_settings([], [], {}).settings.model == "embedded"


def test_a_model_that_cannot_be_fetched_is_one_sentence_without_a_librarys_log(folder, tmp_path):
    dead = f"http://127.0.0.1:{free_port()}"
    environment = {"HF_ENDPOINT": dead, "HF_HOME": str(tmp_path)}
    done = run("--set", "MODEL=ZhengPeng7/BiRefNet-portrait", folder, **environment)
    assert done.returncode == 2
    reason, advice = done.stderr.splitlines()
    assert reason.startswith("WeightsError: model.safetensors of ZhengPeng7/BiRefNet-portrait at ")
    assert dead in reason
    for way in ("MODEL=FOLDER", "MODEL_FOLDER", "MODEL=embedded"):
        assert way in advice


def test_the_command_that_fetches_weights_reports_a_failure_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "shared.models.weights", "nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("WeightsError: model 'nonsense' is neither")
    assert done.stderr.count("\n") == 1


def test_a_server_that_cannot_start_says_why(folder):
    done = run("--set", "REQUIRE_GPU=true", folder, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "the service failed: GpuUnavailable: no GPU that PyTorch can use: driver: " in done.stderr
    assert "wheel: torch " in done.stderr
    assert "gunicorn" not in done.stderr
    assert "Worker" not in done.stderr


def test_names_stay_taken_for_the_whole_run_and_no_file_is_replaced(tmp_path, model):
    """Four uploads in a row, three of which want names that are taken: by a result, by a picture, by a file on disk."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    out.mkdir()
    for name in ("a.jpg", "a.webp", "x.jpg", "x.before-after.jpg", "mine.jpg"):
        (inbox / name).write_bytes(photo(kind="WEBP" if name.endswith("webp") else "JPEG"))
    (out / "mine.png").write_text("mine")
    done = run("--strict", "--set", f"MODEL={model}", "--set", "CONCURRENCY=1", "--out", out, inbox)
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("output_name_taken") == 1
    assert "1 got a number" in done.stdout
    assert (out / "mine.png").read_text() == "mine"
    for name in ("a", "x", "mine-2", "x.before-after"):
        with Image.open(out / f"{name}.png") as result:
            assert result.mode == "RGBA", name
    with Image.open(out / "x.before-after-2.png") as picture:
        assert picture.mode == "RGB"
    assert "demo model" not in done.stdout


def test_every_output_of_an_upload_is_written_and_keeps_its_name_from_later_uploads(service, tmp_path):
    first, later = (LocalFile(path=tmp_path / name, name=name) for name in ("several.jpg", "several.mask.jpg"))
    first.path.write_bytes(photo(64, 48))
    later.path.write_bytes(photo())  # its cutout would take the name of the other's mask
    outputs = {"cutdrop-outputs": "small: size=32x24 format=webp; mask: channels=alpha"}
    run = LocalRun(service.cloud, folder=ResultFolder(tmp_path / "out"), metadata=outputs)
    outcomes: list[FileOutcome] = []

    def one_after_the_other():
        yield first
        while not outcomes:
            yield None
        yield later

    for outcome in filter(None, run(one_after_the_other())):
        outcomes.append(outcome)  # the files above wait for it
    assert [outcome.message.code for outcome in outcomes] == ["", "output_name_taken"]
    assert {role: path.name for role, path in outcomes[0].results.items()} == {
        "cutout": "several.png",
        "small": "several.small.webp",
        "mask": "several.mask.png",
    }
    found = {}
    for path in outcomes[0].results.values():
        with Image.open(path) as image:
            found[path.suffixes[0], image.format] = (image.mode, image.size)
    assert found == {
        (".png", "PNG"): ("RGBA", (64, 48)),
        (".small", "WEBP"): ("RGB", (32, 24)),
        (".mask", "PNG"): ("L", (64, 48)),
    }
    shown = row(outcomes[0], tmp_path / "out")[2]
    assert [Path(path).name for path in shown.splitlines()] == ["several.png", "several.small.webp", "several.mask.png"]


def test_the_server_of_the_local_run_listens_on_its_loopback_address_alone(service):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", service.server.port), timeout=5)  # every address would include it
    socket.create_connection(("127.0.0.1", service.server.port), timeout=5).close()


def writing(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def test_a_second_run_leaves_equal_results_alone(tmp_path):
    folder = ResultFolder(tmp_path)
    assert folder.save("a.png", writing(b"1")) == tmp_path / "a.png"
    again = ResultFolder(tmp_path)
    assert again.save("a.png", writing(b"1")) == tmp_path / "a.png"
    other = ResultFolder(tmp_path)
    assert other.save("a.png", writing(b"2")) == tmp_path / "a-2.png"
    assert other.save("a.png", writing(b"3")) == tmp_path / "a-2.png"  # a newer one of this run
    assert ResultFolder(tmp_path, overwrite=True).save("a.png", writing(b"4")).read_bytes() == b"4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a.png"]
    with pytest.raises(ValueError, match="outside"):
        folder.save("../a.png", writing(b"1"))


def test_an_interrupted_run_prints_what_it_has_and_what_is_left(tmp_path, model):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(3):
        (inbox / f"{number}.jpg").write_bytes(photo())
    (inbox / "slow.jpg").write_bytes(photo(4000, 3000))
    outcomes = tmp_path / "o.jsonl"
    process = subprocess.Popen(
        command("--out", tmp_path / "out", "--outcomes", outcomes, "--set", f"MODEL={model}", "--set", "CONCURRENCY=1",
                "--option", "denoise=nlm", "--set", "ESRGAN_MAX_SIDE=20000", inbox),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not (outcomes.exists() and outcomes.read_text()):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "completed" in told
    assert "without outcome" in told
    assert "no outcome: " in said
    assert "Traceback" not in said


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys):
    with RunProgress(40, console(stderr=True), line_every_s=0) as progress:
        progress.show(12, "shoes/12.jpg")
    assert re.search(r"^12 of 40 files, [\d.]+ files/s; in work: shoes/12.jpg$", capsys.readouterr().err, re.MULTILINE)


def test_confidence_and_a_wish_for_review_stand_in_the_table_and_on_the_line():
    message = CompletionMessage(
        status="completed",
        outputs=(Output(role="cutout", name="a.png"),),
        subject=Subject(confidence=0.412),
        review=True,
    )
    doubtful = FileOutcome(file=LocalFile(path=Path("a.jpg"), name="a.jpg"), message=message)
    assert "41%" in row(doubtful, Path("out"))
    assert "to be reviewed" in row(doubtful, Path("out"))[1]
    assert line(doubtful, Path("out")).endswith("(to be reviewed)")
    unknown = replace(doubtful, message=replace(message, subject=Subject(), review=False))
    assert "0%" not in row(unknown, Path("out"))
    assert "review" not in line(unknown, Path("out")) + "".join(row(unknown, Path("out")))


def test_notes_stand_in_the_table_and_only_cuts_name_the_demo_model():
    output = Output(role="cutout", bucket="b", name="a.png", generation="1", uri="", content_type="image/png", bytes=1,
                    width=3, height=2, crc32c="")  # fmt: skip
    message = CompletionMessage(
        status="completed",
        key="k",
        source=Source(bucket="b", name="a.jpg", generation="1"),
        outputs=(output,),
        model=ModelInfo(id="embedded", revision="", sha256="", device="cpu", dtype="float32"),
        notes={"upscale": "skipped: 3100 pixels"},
    )
    cut = FileOutcome(file=LocalFile(path=Path("a.jpg"), name="a.jpg"), message=message)
    assert "upscale: skipped: 3100 pixels" in row(cut, Path("out"))[2]
    assert "skipped: 3100" in line(cut, Path("out"))
    refused = replace(cut, message=replace(message, status="failed", code="no_subject", outputs=()))
    assert "demo model" in summary([cut], [], 1, folder=Path("out"))
    assert "demo model" not in summary([refused], [], 1, folder=Path("out"))


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
