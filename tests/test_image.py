"""The image without Docker: a folder with what the Dockerfile copies, its command, and the server that comes up."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import reduce
from hashlib import sha256
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from function.finisher import unloaded_cutter
from function.local import LocalCloud
from function.local.server_process import free_port
from function.settings import Settings
from infra.deploy.deployment import Deployment
from infra.deploy.shell import Shell
from infra.deploy.values import Values
from shared.models.checkpoints import CHECKPOINTS
from tests.conftest import photo, save_tiny_model
from tests.terraform import Terraform
from tests.test_infra import IN_THE_IMAGE, INFRA, NO_SETTINGS, ROOT
from tests.test_schema import fits

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BINARIES = Path(sys.executable).parent


def instructions(text: str) -> list[tuple[str, str]]:
    """(name, rest) of each line of a Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1].strip()) for line in lines if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage by its name; the last one is "image"."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    for name, rest in instructions((ROOT / "Dockerfile").read_text()):
        if name == "FROM":
            found[rest.split(" AS ")[1] if " AS " in rest else "image"] = []
        else:
            list(found.values())[-1].append((name, rest))
    return found


def environment() -> dict[str, str]:
    """ENV of the image, with the arguments' defaults put in."""
    arguments = dict(rest.partition("=")[::2] for name, rest in stages()[""] if name == "ARG")
    given = [rest for name, rest in stages()["image"] if name == "ENV"]
    pairs = dict(pair.partition("=")[::2] for rest in given for pair in rest.split())
    return {name: re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], value) for name, value in pairs.items()}


def ignored(path: Path) -> bool:
    """Whether .dockerignore keeps a file of the repository out of the build; the last line that matches decides."""
    names = [str(path), *map(str, path.parents)][:-1]
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        glob = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(glob, name) for name in names):
            verdict = not line.startswith("!")
    return verdict


def lay_out(stage: str, target: Path) -> None:
    """What the COPY lines of a stage bring from the repository, below `target`."""
    for name, rest in stages()[stage]:
        if name != "COPY" or rest.startswith("--from"):
            continue
        *sources, destination = rest.split()
        for source in sources:
            paths = [ROOT / source] if (ROOT / source).is_file() else sorted((ROOT / source).rglob("*"))
            assert paths, f"{source} is not there"
            for path in paths:
                if path.is_file() and not ignored(path.relative_to(ROOT)):
                    inside = path.name if path.name == Path(source).name else path.relative_to(ROOT / source)
                    (target / destination / inside).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target / destination / inside)


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Path:
    """/app of the image."""
    folder = tmp_path_factory.mktemp("image") / "app"
    lay_out("image", folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """MODEL_FOLDER as the build leaves it: a checkpoint in the layout of the hub's cache."""
    folder = tmp_path_factory.mktemp("models")
    snapshot = folder / "models--cutdrop--tiny" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    save_tiny_model(snapshot)
    return folder


def test_the_image_holds_the_product_and_nothing_else(app):
    assert sorted(path.name for path in app.iterdir()) == ["function", "shared"]
    tracked = subprocess.run(
        ["git", "ls-files", "function", "shared"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    copied = {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()}
    left_out = {path for path in tracked if (ROOT / path).exists()} - copied
    training = re.compile(r"shared/models/embedded/(training/\w+\.py|\w+\.jpg)")
    assert [path for path in left_out if not path.startswith("function/local/") and not training.fullmatch(path)] == []
    assert not [path for path in copied if "__pycache__" in path or path.startswith("function/local")]


def test_every_foreign_import_of_the_image_is_a_pinned_requirement(app):
    pinned = {_canonical(line.partition("==")[0]) for line in _pins(ROOT / "requirements.txt")}
    by_module = packages_distributions()
    for path in app.rglob("*.py"):
        for module in _imported(path) - sys.stdlib_module_names - {"function", "shared"}:
            distributions = {_canonical(name) for name in by_module.get(module.partition(".")[0], ())}
            assert distributions & pinned, f"{path.relative_to(app)} imports {module}, which nothing pins"


def test_the_lock_has_each_requirement_with_hashes_and_leaves_pytorch_to_the_build():
    locked = dict(re.findall(r"(?m)^([\w.-]+==\S+) \\((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$", _lock()))
    assert len(locked) == _lock().count("==")
    assert {pin for pin in _pins(ROOT / "requirements.txt") if not pin.startswith("torch")} <= {
        _canonical(pin) for pin in locked
    }
    assert not re.search(r"(?m)^(torch|torchvision|triton|nvidia|cuda)", _lock())


def test_the_base_is_pinned_the_user_has_no_rights_and_the_hub_is_off():
    base = next(rest for name, rest in stages()[""] if rest.startswith("PYTHON_IMAGE="))
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    image = stages()["image"]
    assert [rest for name, rest in image if name == "USER"] == ["10001"]
    assert not any("--chown" in rest for name, rest in image)
    assert environment()["HF_HUB_OFFLINE"] == "1"
    assert environment().keys() & {*IN_THE_IMAGE} == IN_THE_IMAGE


def test_what_the_weights_stage_copies_is_enough_to_fetch_and_check(tmp_path, weights):
    lay_out("weights", tmp_path)
    fetch, enlarger = next(rest for name, rest in stages()["weights"] if name == "RUN").split(" && ")
    fetching = re.fullmatch(r"python -m (\S+) .* --folder /opt/models", fetch.strip())
    enlarging = re.fullmatch(r"python -c '(.*)' \S+", enlarger.strip())
    assert fetching
    assert enlarging
    module, script = fetching[1], enlarging[1].replace("/opt/models", str(weights))
    # Both in one process: each would spend seconds on importing torch.
    program = f"""
import contextlib, runpy, sys
sys.argv = ["", "cutdrop/tiny", "--revision", "{COMMIT}", "--dtype", "float16", "--folder", "{weights}"]
with contextlib.suppress(SystemExit):
    runpy.run_module("{module}", run_name="__main__")
sys.argv = ["", "no-such-file.pth"]
{script}
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.match(r"[0-9a-f]{64}  .*/model\.safetensors\n", done.stdout), done.stderr
    assert "WeightsError: no-such-file.pth is neither a file nor one of" in done.stderr


def declared_arguments() -> set[str]:
    return {
        word.partition("=")[0]
        for stage in stages().values()
        for name, rest in stage
        if name == "ARG"
        for word in rest.split()
    }


def test_make_deploy_and_cloud_build_pass_each_argument_that_the_dockerfile_has():
    build = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    given = dict(re.findall(r"--build-arg=(\w+)=\$\{_(\w+)\}", " ".join(build["steps"][0]["args"])))
    assert all(name == substitution for name, substitution in given.items())
    assert given.keys() == declared_arguments() - {"PYTHON_IMAGE"}
    assert build["substitutions"].keys() == {f"_{name}" for name in (*given, "IMAGE", "TAG")}
    state = Deployment(root=ROOT, values=Values.read(INFRA, {}, "my-project"), shell=Shell("my-project"))
    assert state.build_arguments.keys() | {"TORCH_INDEX_URL"} == given.keys()
    defaults = dict(rest.partition("=")[::2] for name, rest in stages()[""] if name == "ARG")
    for name, value in state.build_arguments.items():
        assert build["substitutions"][f"_{name}"] == value
        assert defaults.get(name, value) == value


def test_pytorch_is_installed_by_hash_where_there_is_a_lock_for_its_cuda():
    """The two branches of the Dockerfile's step, with a pip that says what it was asked for."""
    step = next(rest for name, rest in stages()["packages"] if name == "RUN" and "torch.txt" in rest)
    step = step.partition(" && pip freeze")[0]
    stub = 'pip() { echo "$@"; }; CUDA=cu126; TORCH_INDEX_URL=https://index.example.com; cd "$1"; '

    def asked(folder: Path) -> str:
        command = ["sh", "-c", stub + step, "sh", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "requirements.txt", folder)
        assert asked(folder).split()[-2:] == ["--requirement", "torch.txt"]
        assert re.fullmatch(r"torch==\S+\+cu126\ntorchvision==\S+\+cu126\n", (folder / "torch.txt").read_text())
        (folder / "torch-cu126.lock").touch()
        assert asked(folder).split()[-4:] == ["--require-hashes", "--no-deps", "--requirement", "torch-cu126.lock"]


def test_the_finisher_finds_weights_that_the_build_has_left_in_half_precision_only(tmp_path):
    known = CHECKPOINTS["ZhengPeng7/BiRefNet-portrait"]
    place = tmp_path / "converted" / f"{known.sha256}-float16"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"half")
    record = {"source_sha256": known.sha256, "sha256": sha256(b"half").hexdigest(), "dtype": "float16"}
    (place / "provenance.json").write_text(json.dumps(record))
    needed = {"OUTPUT_BUCKET": "b", "COMPLETION_TOPIC": "projects/project/topics/topic", "MODEL_FOLDER": str(tmp_path)}
    cutter = unloaded_cutter(Settings.from_env({**needed, "MODEL": known.id}))
    assert cutter.model.sha256 == known.sha256


def test_the_server_comes_up_in_the_clean_folder_with_the_settings_of_terraform(app, weights, tmp_path):
    """The image's command with nothing but its files, weights from its folder, offline; then one cutout, one reason."""
    before = {path for path in app.rglob("*") if "__pycache__" not in path.parts}
    command = json.loads(next(rest for name, rest in stages()["image"] if name == "CMD"))
    port = free_port()
    with LocalCloud() as cloud, (tmp_path / "log").open("wb") as log:
        values = {
            **environment(),
            **_settings_of_terraform(),
            **cloud.environment(),
            "PATH": f"{BINARIES}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PORT": str(port),
            "MODEL": "cutdrop/tiny",
            "MODEL_REVISION": COMMIT,
            "MODEL_FOLDER": str(weights),
            "DEVICE": "cpu",
            "REQUIRE_GPU": "false",
        }
        server = subprocess.Popen(command, cwd=app, env=values, stdout=log, stderr=log)
        try:
            _wait_until_ready(server, f"http://127.0.0.1:{port}", tmp_path / "log")
            cloud.eventarc.connect(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/dead-letter")
            outcomes = _outcomes(cloud, {"a.jpg": photo(), "b.jpg": b"no image"})
        finally:
            server.terminate()
            status = server.wait(20)
    assert status == 0, (tmp_path / "log").read_text()[-4000:]
    assert {name: data["code"] for name, data in outcomes.items()} == {"a.jpg": "", "b.jpg": "unsupported_media"}
    assert all(fits(data) for data in outcomes.values())
    assert {path for path in app.rglob("*") if "__pycache__" not in path.parts} == before
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    _assert_metrics_find(next(line for line in lines if line.get("status") == "completed"))


def _assert_metrics_find(line: dict) -> None:
    """Every field of the log that a metric of Terraform looks at is in the line of a cutout."""
    for name in set(re.findall(r"jsonPayload\.([\w.]+)", (INFRA / "monitoring.tf").read_text())):
        reduce(lambda place, key: place[key], name.split("."), line)
    assert line["logger"] == "cutdrop"


def _settings_of_terraform() -> dict[str, str]:
    files = Terraform(INFRA)
    fixed = files.locals["fixed_settings"].keys()
    assert fixed >= {"OUTPUT_BUCKET", "COMPLETION_TOPIC", "UPLOAD_BUCKETS", *NO_SETTINGS}
    return dict(files.locals["setting_defaults"])


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/startup", timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-4000:])


def _outcomes(cloud: LocalCloud, files: dict[str, bytes]) -> dict[str, dict]:
    client = storage.Client(
        project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.store.url}
    )
    for name, data in files.items():
        client.bucket(cloud.upload_bucket).blob(name).upload_from_string(data)
    messages = cloud.topics.wait_for(lambda found: len(found) >= len(files), 60)
    return {data["source"]["name"]: data for data in (json.loads(message.data) for message in messages)}


def _pins(path: Path) -> set[str]:
    return {_canonical(line) for line in path.read_text().splitlines() if re.match(r"[A-Za-z]", line)}


def _canonical(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _lock() -> str:
    return (INFRA / "requirements.lock").read_text()


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
