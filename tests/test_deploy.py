"""make deploy, against gcloud and terraform programs that record their calls and answer as the real ones do."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.deploy.preflight import pinned_torch
from infra.deploy.values import UnreadableValues, Values, assignments
from tests.stub_cloud import NEW_PROJECT
from tests.terraform import Terraform

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    "Dockerfile",
    "cloudbuild.yaml",
    "requirements.txt",
    "function/local/samples/marten.jpg",
    "shared/__init__.py",
)
WHEELS = {
    name: f"{name}-{version}%2Bcu126-cp311-cp311-manylinux_2_28_x86_64.whl"
    for name, version in pinned_torch(ROOT).items()
}


@dataclass
class Workplace:
    """A checkout of what is deployed, programs on its path, and a project."""

    root: Path
    folder: Path  # programs, world and calls
    index: str  # PyTorch's
    world: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(NEW_PROJECT)))

    def deploy(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        (self.folder / "world.json").write_text(json.dumps(self.world))
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TF_VAR_torch_index": self.index,
        }
        command = [
            sys.executable,
            "-m",
            "infra.deploy",
            "--project=my-project",
            "--wait-s=0",
            "--patience-s=5",
            *arguments,
        ]
        done = subprocess.run(
            command, cwd=self.root, env=environment, input=answer, capture_output=True, text=True, check=False
        )
        self.world = json.loads((self.folder / "world.json").read_text())
        return done

    def calls(self) -> list[list[str]]:
        """Since the last time; as the programs got them."""
        path = self.folder / "calls.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def set(self, text: str) -> None:
        (self.root / "infra" / "terraform.tfvars").write_text(text)


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    """PyTorch's package index with the pinned wheels for cu126."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").rpartition("/")[2]
            body = f'<a href="/whl/cu126/{WHEELS[name]}#sha256=00">{name}</a>'.encode()
            self.send_response(200 if self.path.startswith("/cu126/") else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def workplace(tmp_path, index) -> Workplace:
    root, folder = tmp_path / "checkout", tmp_path / "bin"
    shutil.copytree(
        ROOT / "infra", root / "infra", ignore=shutil.ignore_patterns(".terraform*", "*.tfvars", "__pycache__")
    )
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
        subprocess.run([*git, *command], cwd=root, check=True)
    folder.mkdir()
    for program in ("gcloud", "terraform"):
        stub = shlex.join([sys.executable, "-S", "-E", str(ROOT / "tests" / "stub_cloud.py"), str(folder), program])
        (folder / program).write_text(f'#!/bin/sh\nexec {stub} "$@"\n')
        (folder / program).chmod(0o755)
    return Workplace(root, folder, index)


def verbs(calls: list[list[str]]) -> list[str]:
    """Each call without its flags: `terraform apply`, `gcloud builds submit .`"""
    return [" ".join(word for word in call if not word.startswith("-")) for call in calls]


def is_build(call: list[str]) -> bool:
    return call[1:3] == ["builds", "submit"]


def is_apply(call: list[str]) -> bool:
    return "apply" in call and not any(word.startswith("-target") for word in call)


def test_one_command_leads_from_a_new_project_to_the_message_of_a_sample(workplace):
    done = workplace.deploy()
    assert done.returncode == 0, done.stderr
    assert "storage/browser/_details/my-project-cutdrop-uploads/cutdrop-sample.jpg?project=my-project" in done.stdout
    assert "storage/browser/_details/my-project-cutdrop-results/cutdrop-sample.png?project=my-project" in done.stdout
    assert "a day without uploads         0.00 dollars" in done.stdout
    assert workplace.world["subscriptions"] == {}


def test_a_dry_run_prints_the_commands_of_a_first_deployment_and_runs_none(workplace):
    printed = workplace.deploy("--dry-run", "deploy")
    assert (printed.returncode, workplace.calls()) == (0, [])
    told = {"PROJECT_NUMBER": "123456789012"}
    workplace.world["pulls_before_the_message"] = 0
    assert workplace.deploy().returncode == 0
    called = workplace.calls()
    (build,) = (call for call in called if is_build(call))
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in build if word.startswith("--"))
    told["IMAGE_REPOSITORY"] = flags["substitutions"].partition("_IMAGE=")[2].partition(",")[0]
    told |= {"BUILD_ACCOUNT": flags["service-account"], "BUILD_SOURCE": flags["gcs-source-staging-dir"]}
    told |= {
        "UPLOAD_URL": "gs://my-project-cutdrop-uploads/",
        "COMPLETION_TOPIC": "projects/my-project/topics/cutdrop-completion",
    }
    lines = [line.removeprefix("$ ") for line in printed.stdout.splitlines() if line.startswith("$ ")]
    for name, value in told.items():
        lines = [line.replace(name, value) for line in lines]
    assert [shlex.split(line) for line in lines] == called


def test_a_dry_run_needs_neither_gcloud_nor_terraform_nor_an_account(workplace):
    for program in ("gcloud", "terraform"):
        (workplace.folder / program).write_text("#!/bin/sh\nexit 9\n")
    for what in ("deploy", "undeploy"):
        assert workplace.deploy("--dry-run", what).returncode == 0


def test_every_gcloud_names_the_project_and_every_terraform_the_folder(workplace):
    assert workplace.deploy().returncode == 0
    assert workplace.deploy("undeploy", "--yes").returncode == 0
    for call in workplace.calls():
        assert ("--project=my-project" if call[0] == "gcloud" else "-chdir=infra") in call, call


def test_the_agent_that_is_not_ready_is_waited_for_once(workplace):
    workplace.world["faults"] = {"agent": 1}
    done = workplace.deploy()
    assert done.returncode == 0, done.stderr
    assert len([call for call in workplace.calls() if is_apply(call)]) == 2
    workplace.world["faults"] = {"agent": 2}
    again = workplace.deploy()
    assert again.returncode == 1
    assert len([call for call in workplace.calls() if is_apply(call)]) == 2


def test_a_disabled_api_is_enabled_and_the_command_repeated_until_it_is_on_everywhere(workplace):
    workplace.world["faults"] = {"disabled": 2}
    done = workplace.deploy()
    assert done.returncode == 0, done.stderr
    called = verbs(workplace.calls())
    assert called.count("terraform plan") == 3
    assert called.count("gcloud services enable cloudresourcemanager.googleapis.com") == 1


def test_an_exceeded_quota_is_named_and_the_next_run_goes_on_where_it_stopped(workplace):
    workplace.world["faults"] = {"quota": 1}
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert "Quota exceeded for total allowable count of GPUs per project per region: see 'Quotas'" in stopped.stderr
    assert "Quotas" in (ROOT / "infra" / "README.md").read_text()
    assert len([call for call in workplace.calls() if is_build(call)]) == 1
    assert workplace.deploy().returncode == 0
    assert not [call for call in workplace.calls() if is_build(call)]


@pytest.mark.parametrize("missing", [{"account": ""}, {"terraform_credentials": False}])
def test_nothing_happens_before_somebody_is_signed_in(workplace, missing):
    workplace.world |= missing
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert "gcloud auth login && gcloud auth application-default login" in stopped.stderr
    assert {call[1] for call in workplace.calls()} == {"auth"}


def test_a_first_deployment_with_all_four_failures_on_its_way_ends_in_the_message(workplace):
    workplace.world |= {"account": "", "faults": {"disabled": 1, "quota": 1, "agent": 1}}
    assert "Nobody is signed in" in workplace.deploy().stderr
    workplace.world["account"] = "you@example.com"
    assert "Quota exceeded" in workplace.deploy().stderr
    done = workplace.deploy()
    assert done.returncode == 0, done.stderr
    assert "The sample was cut out" in done.stdout
    assert len([call for call in workplace.calls() if is_build(call)]) == 1


def test_a_project_without_billing_is_refused_before_anything_is_enabled(workplace):
    workplace.world["billed"] = False
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert "https://console.cloud.google.com/billing/linkedaccount?project=my-project" in stopped.stderr
    assert not [call for call in verbs(workplace.calls()) if call.startswith("gcloud services")]


def test_a_region_without_the_gpu_is_refused_before_the_first_call(workplace):
    workplace.set('region = "europe-west9"')
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert "Cloud Run has no nvidia-l4 in europe-west9" in stopped.stderr
    assert workplace.calls() == []
    workplace.set('region = "europe-west9"\nmore_gpu_regions = ["europe-west9"] # since October\n')
    assert workplace.deploy("--dry-run").returncode == 0


@pytest.mark.parametrize(
    ("setting", "said"), [('cuda = "cu128"', "/cu128/torch/ cannot be read"), ("", "has no torch-")]
)
def test_an_index_without_the_wheels_is_refused_before_the_first_call(workplace, setting, said):
    workplace.set(setting)
    if not setting:
        pins = (workplace.root / "requirements.txt").read_text().replace("torch==2", "torch==9")
        (workplace.root / "requirements.txt").write_text(pins)
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@e", "commit", "-qam", "9"], cwd=workplace.root, check=True
        )
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert said in stopped.stderr
    assert workplace.calls() == []


@pytest.mark.parametrize(
    ("quota", "value", "said"),
    [
        ("MemAllocPerProjectRegion", 32 * 2**30, "memory_quota_gib is 40, but the project has 32 in us-central1"),
        ("CpuAllocPerProjectRegion", 8_000, "cpu_quota is 20, but the project has 8 in us-central1"),
        (
            "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion",
            1,
            "gpu_quota is 3, but the project has 1 in us-central1",
        ),
    ],
)
def test_a_quota_below_its_variable_is_refused_before_the_build(workplace, quota, value, said):
    workplace.world["quotas"][quota] = value
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert said in stopped.stderr
    assert "terraform init" not in verbs(workplace.calls())


def test_zonal_redundancy_has_a_quota_of_its_own(workplace):
    workplace.set("zonal_redundancy = true")
    assert " NvidiaL4GpuAllocPerProjectRegion " in workplace.deploy("--dry-run").stdout


def test_a_second_run_builds_nothing_and_checks_again(workplace):
    assert workplace.deploy().returncode == 0
    workplace.calls()
    done = workplace.deploy()
    assert done.returncode == 0
    assert not [call for call in workplace.calls() if is_build(call)]
    assert "The sample was cut out" in done.stdout


def test_another_network_gets_another_image_and_a_change_of_terraform_does_not(workplace):
    def tag() -> str:
        printed = workplace.deploy("--dry-run").stdout
        return printed.partition("-var=image_tag=")[2].split()[0]

    first = tag()
    workplace.set("max_instances = 1")
    assert tag() == first
    workplace.set('vitmatte_model = "hustvl/vitmatte-small-composition-1k"')
    assert tag() != first
    assert tag().split("-")[0] == first.split("-")[0]


def test_sources_that_are_not_committed_are_refused(workplace):
    (workplace.root / "shared" / "new.py").write_text("")
    stopped = workplace.deploy()
    assert stopped.returncode == 1
    assert "Commit first" in stopped.stderr
    assert "shared/new.py" in stopped.stderr
    assert workplace.calls() == []


def test_a_sample_that_fails_and_one_without_message_are_errors_and_leave_no_subscription(workplace):
    workplace.world["outcome"] = "no_subject"
    failed = workplace.deploy()
    assert (failed.returncode, workplace.world["subscriptions"]) == (1, {})
    assert "failed with no_subject: a reason" in failed.stderr
    workplace.world["pulls_before_the_message"] = 1000
    silent = workplace.deploy("--patience-s=0.2")
    assert (silent.returncode, workplace.world["subscriptions"]) == (1, {})
    assert "No message about the sample within" in silent.stderr


def test_a_subscription_left_by_a_run_that_was_cut_is_used(workplace):
    workplace.world["subscriptions"] = {"cutdrop-deploy-check": []}
    assert workplace.deploy().returncode == 0


def test_undeploy_asks_and_lifts_the_protection_first(workplace):
    assert workplace.deploy().returncode == 0
    workplace.calls()
    kept = workplace.deploy("undeploy", answer="no\n")
    assert (kept.returncode, workplace.world["service"]) == (1, True)
    assert "gs://my-project-cutdrop-uploads holds objects" in kept.stdout
    assert not [call for call in verbs(workplace.calls()) if "destroy" in call or "apply" in call]
    gone = workplace.deploy("undeploy", answer="my-project\n")
    assert (gone.returncode, workplace.world["service"]) == (0, False), gone.stderr
    unprotect, destroy = [call for call in workplace.calls() if "apply" in call or "destroy" in call]
    assert "-var=deletion_protection=false" in unprotect
    assert '-target=google_storage_bucket.images["upload"]' in unprotect
    assert "-var=deletion_protection=false" in destroy


def test_the_deployment_reads_variables_as_terraform_does():
    values = Values.read(ROOT / "infra", {}, "my-project")
    defaults = Terraform(ROOT / "infra").variables
    for name in ("region", "gpu", "cpu", "memory_gib", "max_instances", "model", "cuda", "zonal_redundancy"):
        assert getattr(values, name) == defaults[name]["default"]
    example = (ROOT / "infra" / "example.tfvars").read_text()
    assert assignments(example) == {"project": "my-project", "region": "us-central1"}
    spelled_out = "\n".join(line.removeprefix("# ") if " = " in line else line for line in example.splitlines())
    everything = assignments(spelled_out)
    assert everything["settings"] == {"OUTPUT_FORMAT": "webp", "MAX_PIXELS": "50000000"}
    assert everything["uploaders"] == ["group:shop@example.com"]
    assert everything["max_instances"] == 4
    assert everything.keys() - defaults.keys() == set()


@pytest.mark.parametrize("text", ['a = "${b}"', "a = b", "a = [1", 'a "b"', "a = <<EOT\nx\nEOT", "a = 1 }"])
def test_what_is_no_literal_is_refused(text):
    with pytest.raises(UnreadableValues):
        assignments(text)


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="no Cloud SDK")
def test_gcloud_has_each_command_and_each_flag(workplace):
    commands = workplace.deploy("--dry-run").stdout + workplace.deploy("--dry-run", "undeploy").stdout
    table = Path(shutil.which("gcloud") or "").resolve().parents[1] / "data" / "cli" / "gcloud_completions.py"
    spec = importlib.util.spec_from_file_location("gcloud_completions", table)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for line in commands.splitlines():
        if not line.startswith("$ gcloud "):
            continue
        node: dict[str, Any] = module.STATIC_COMPLETION_CLI_TREE
        flags = set(node["flags"])
        words = shlex.split(line)[2:]
        while words and words[0] in node["commands"]:
            node = node["commands"][words.pop(0)]
            flags |= set(node["flags"])
        assert node["commands"] == {}, line
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= flags, line
