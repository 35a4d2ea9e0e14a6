"""Terraform's part, and the image between its two halves."""

import hashlib
import json
import subprocess
from dataclasses import replace

from .deployment import Deployment
from .shell import DeployError

TERRAFORM = ("terraform", "-chdir=infra")
SOURCES = (
    "function",
    "shared",
    "requirements.txt",
    "infra/requirements.lock",
    "Dockerfile",
    "cloudbuild.yaml",
)  # of the image


def tag(state: Deployment) -> Deployment:
    """The image's tag: the last commit of what goes into it, and a hash of the build's arguments.

    Raises DeployError if something of that is not committed: the tag would not say what runs.
    """
    if changed := _git(state, "status", "--porcelain", "--", *SOURCES):
        raise DeployError(f"Commit first: the image is named after its commit, and this is in none:\n{changed}")
    commit = _git(state, "log", "-1", "--format=%h", "--abbrev=12", "--", *SOURCES)
    if not commit:
        raise DeployError("The image is named after its commit, and there is none yet.")
    arguments = json.dumps(state.build_arguments, sort_keys=True)
    return replace(state, image_tag=f"{commit}-{hashlib.sha256(arguments.encode()).hexdigest()[:8]}")


def _git(state: Deployment, *arguments: str) -> str:
    """Reads only, so a dry run asks it as well."""
    try:
        done = subprocess.run(["git", *arguments], cwd=state.root, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DeployError("git is not installed") from error
    if done.returncode != 0:
        raise DeployError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def init(state: Deployment) -> Deployment:
    state.shell.run(*TERRAFORM, "init", "-input=false", "-no-color")
    return state


def plan(state: Deployment) -> Deployment:
    """Everything that Terraform refuses, it refuses here, before the build."""
    state.shell.run(*TERRAFORM, "plan", "-input=false", "-no-color", *state.variables)
    return state


def registry(state: Deployment) -> Deployment:
    """What must be there before the first image can be built."""
    _apply(state, "-target=terraform_data.build_ready")
    return replace(state, outputs=outputs(state))


def image(state: Deployment) -> Deployment:
    """Builds it, unless its tag is there."""
    repository, project = state.outputs["image_repository"], f"--project={state.values.project}"
    listing = ("gcloud", "artifacts", "docker", "tags", "list", repository, "--format=value(tag)", project, "--quiet")
    if state.image_tag in {line.rpartition("/")[2] for line in state.shell.ask(*listing, example="").split()}:
        state.shell.say(f"  {repository}:{state.image_tag} is there")
        return state
    given = {
        "IMAGE": repository,
        "TAG": state.image_tag,
        "TORCH_INDEX_URL": state.torch_index_url,
        **state.build_arguments,
    }
    substitutions = ",".join(f"_{name}={value}" for name, value in given.items())
    submit = ("gcloud", "builds", "submit", ".", "--config=cloudbuild.yaml", f"--substitutions={substitutions}")
    account = f"--service-account={state.outputs['build_account']}"
    state.shell.run(*submit, account, f"--gcs-source-staging-dir={state.outputs['build_source']}", project, "--quiet")
    return state


def apply(state: Deployment) -> Deployment:
    _apply(state)
    return replace(state, outputs=outputs(state))


def _apply(state: Deployment, *arguments: str) -> None:
    state.shell.run(*TERRAFORM, "apply", "-input=false", "-auto-approve", "-no-color", *arguments, *state.variables)


def outputs(state: Deployment) -> dict[str, str]:
    """Terraform's outputs that are text; in a dry run, their names stand for them."""
    told = state.shell.ask(*TERRAFORM, "output", "-json", "-no-color", example="")
    if state.shell.dry_run:
        names = (
            "image",
            "image_repository",
            "build_account",
            "build_source",
            "upload_url",
            "completion_topic",
            "dashboard",
        )
        return {name: name.upper() for name in names}
    return {name: body["value"] for name, body in json.loads(told or "{}").items() if isinstance(body["value"], str)}
