"""What must be so before anything is built: signed in, billed, APIs, quotas, the GPU's region, PyTorch's wheels."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .deployment import Deployment
from .shell import SIGN_IN, DeployError

# Terraform enables the others, but needs the first two for that; the rest are for this preflight.
APIS = (
    "serviceusage",
    "cloudresourcemanager",
    "cloudbilling",
    "cloudquotas",
    "eventarc",
    "pubsub",
    "run",
    "artifactregistry",
)

# Made before Terraform grants them roles: an agent that does not exist cannot have one, and Eventarc's needs minutes.
AGENTS = ("eventarc", "pubsub", "run", "artifactregistry")

QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas"
WHEEL = "cp311"  # the Python of the image
TIMEOUT_S = 30.0


def signed_in(state: Deployment) -> Deployment:
    """Both gcloud and Terraform have credentials; each has its own."""
    ask, project = state.shell.ask, f"--project={state.values.project}"
    active = ask(
        "gcloud",
        "auth",
        "list",
        "--filter=status:ACTIVE",
        "--format=value(account)",
        project,
        example="you@example.com",
    )
    if not active:
        raise DeployError(SIGN_IN)
    ask("gcloud", "auth", "application-default", "print-access-token", project, "--quiet", example="TOKEN")
    return state


def region_has_the_gpu(state: Deployment) -> Deployment:
    values = state.values
    if values.region not in values.gpu_regions:
        raise DeployError(
            f"Cloud Run has no {values.gpu} in {values.region}. Set region in infra/terraform.tfvars to one of"
            f" {', '.join(values.gpu_regions)}, or add it to more_gpu_regions if Google has it by now."
        )
    return state


def billed(state: Deployment) -> Deployment:
    project = state.values.project
    command = ("gcloud", "billing", "projects", "describe", project, "--format=value(billingEnabled)")
    if state.shell.ask(*command, f"--project={project}", "--quiet", example="True") != "True":
        raise DeployError(
            f"{project} has no billing account, and without one no GPU:"
            f" https://console.cloud.google.com/billing/linkedaccount?project={project}"
        )
    return state


def apis(state: Deployment) -> Deployment:
    project = f"--project={state.values.project}"
    state.shell.run("gcloud", "services", "enable", *(f"{name}.googleapis.com" for name in APIS), project, "--quiet")
    for name in AGENTS:
        create = ("gcloud", "beta", "services", "identity", "create", f"--service={name}.googleapis.com")
        state.shell.run(*create, project, "--quiet")
    return state


def number(state: Deployment) -> Deployment:
    project = state.values.project
    command = (
        "gcloud",
        "projects",
        "describe",
        project,
        "--format=value(projectNumber)",
        f"--project={project}",
        "--quiet",
    )
    return replace(state, project_number=state.shell.ask(*command, example="PROJECT_NUMBER"))


def quotas(state: Deployment) -> Deployment:
    """The three variables say no more than the project has: Terraform sizes the instances by them.

    A GPU quota of nothing is only reported: Cloud Run grants the first GPUs with the first deployment.
    """
    values = state.values
    gpu = {"nvidia-l4": "NvidiaL4Gpu", "nvidia-rtx-pro-6000": "NvidiaRtxPro6000Gpu"}.get(values.gpu, values.gpu)
    zones = "" if values.zonal_redundancy else "NoZonalRedundancy"
    for variable, quota, unit in (
        ("gpu_quota", f"{gpu}Alloc{zones}PerProjectRegion", 1.0),
        ("memory_quota_gib", "MemAllocPerProjectRegion", 2.0**30),
        ("cpu_quota", "CpuAllocPerProjectRegion", 1000.0),
    ):
        granted, assumed = _granted(state, quota, unit), getattr(values, variable)
        if granted is None or (variable == "gpu_quota" and granted == 0):
            state.shell.say(f"  {quota}: not granted yet; Cloud Run grants the first GPUs with the first deployment")
        elif granted < assumed:
            raise DeployError(
                f"{variable} is {assumed:g}, but the project has {granted:g} in {values.region} ({quota}). Set the"
                f" variable in infra/terraform.tfvars, or ask for more: {QUOTA_PAGE}?project={values.project}"
            )
    return state


def _granted(state: Deployment, quota: str, unit: float) -> float | None:
    """The quota of the region in the variable's unit; None if the project has no value for it."""
    command = ("gcloud", "beta", "quotas", "info", "describe", quota, "--service=run.googleapis.com", "--format=json")
    project = f"--project={state.values.project}"
    told = state.shell.ask(*command, project, "--quiet", example="", absent="NOT_FOUND")
    if state.shell.dry_run:
        return float("inf")
    infos = json.loads(told or "{}").get("dimensionsInfos", [])
    everywhere = [info for info in infos if not info.get("dimensions", {}).get("region")]
    here = [info for info in infos if info.get("dimensions", {}).get("region") == state.values.region]
    value = next((info.get("details", {}).get("value") for info in [*here, *everywhere]), None)
    if value is None:
        return None
    return float("inf") if int(value) < 0 else int(value) / unit  # -1: unlimited


def torch_wheels(state: Deployment) -> Deployment:
    """PyTorch's index has the pinned wheels for this CUDA: the build would fail after minutes otherwise."""
    for name, version in pinned_torch(state.root).items():
        address = f"{state.torch_index_url}/{name}/"
        state.shell.say(f"GET {address}")
        wheel = f"{name}-{version}+{state.values.cuda}-{WHEEL}-"
        if not state.shell.dry_run and wheel not in urllib.parse.unquote(_page(address)):
            raise DeployError(
                f"{address} has no {wheel}...whl. torch_index and cuda in infra/terraform.tfvars must name PyTorch's"
                " index for a CUDA version that it is built for: https://pytorch.org/get-started/previous-versions/"
            )
    _locked(state)
    return state


def _locked(state: Deployment) -> None:
    lock = f"infra/torch-{state.values.cuda}.lock"
    if not (state.root / lock).is_file():
        state.shell.say(
            f"  no {lock}: the wheels are not checked by hash. Make it with infra/lock.sh {state.values.cuda}"
        )


def pinned_torch(root: Path) -> Mapping[str, str]:
    """Version of torch and torchvision in requirements.txt."""
    return dict(re.findall(r"(?m)^(torch|torchvision)==(\S+)$", (root / "requirements.txt").read_text()))


def _page(address: str) -> str:
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise DeployError(f"torch_index must be an http(s) address, not {address}")
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return str(answer.read().decode(errors="replace"))
    except (urllib.error.URLError, OSError) as error:
        raise DeployError(
            f"{address} cannot be read: {error}. It is PyTorch's package index (torch_index, cuda)."
        ) from error
