"""What the workflow of .github promises."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
JOBS = yaml.safe_load(TEXT)["jobs"]


def commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_every_action_is_pinned_to_a_commit_whose_version_stands_beside_it():
    used = re.findall(r"uses: (.+)", TEXT)
    assert len(used) >= 5
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_the_workflow_may_only_read_and_keeps_no_credentials():
    assert yaml.safe_load(TEXT)["permissions"] == {"contents": "read"}
    checkouts = [step for job in JOBS.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_terraform_is_formatted_locked_for_every_platform_validated_tested_and_scanned():
    said = commands("terraform")
    for command in ("fmt -check -recursive", "init -backend=false", "validate", "test"):
        assert f"terraform {command}" in said
    for platform in ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64"):
        assert f"-platform={platform}" in said
        assert f"-platform={platform}" in (ROOT / "infra" / "README.md").read_text()
    assert re.search(r"pipx run checkov==\d+\.\d+\.\d+ ", said)


def test_the_image_is_built_without_cuda_for_which_a_runner_has_no_disk():
    said = commands("image")
    assert "--build-arg CUDA=cpu" in said
    assert "whl/cpu" in said
    assert "if" not in JOBS["image"]
