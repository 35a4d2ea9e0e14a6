"""Removes everything again, after it has asked."""

import re
import sys
from dataclasses import replace

from .build import TERRAFORM, outputs
from .deployment import Deployment
from .shell import DeployError

PROTECTED = re.compile(r"google_(cloud_run_v2_(service|job)|storage_bucket|bigquery_\w+)\.")
UNPROTECT = "-var=deletion_protection=false"


def deployed(state: Deployment) -> Deployment:
    """Which image runs, so that nothing but the protection changes before the end."""
    told = outputs(state)
    return replace(state, outputs=told, image_tag=re.split("[:@]", told.get("image", "none"), maxsplit=1)[-1])


def confirmed(state: Deployment) -> Deployment:
    """Says what will be lost, and asks. Raises DeployError for any answer but the project's id."""
    project = state.values.project
    for name in ("upload_bucket", "output_bucket"):
        bucket = state.outputs.get(name, "")
        if bucket and _holds_objects(state, bucket):
            state.shell.say(
                f"  gs://{bucket} holds objects; they are deleted with it (soft delete keeps them for 7 days)"
            )
    if state.yes or state.shell.dry_run:
        return state
    state.shell.say(f"Everything that Terraform made in {project} is destroyed. Type the project's id to go on:")
    if sys.stdin.readline().strip() != project:
        raise DeployError("Nothing was destroyed.")
    return state


def _holds_objects(state: Deployment, bucket: str) -> bool:
    listing = ("gcloud", "storage", "objects", "list", f"gs://{bucket}/**", "--limit=1", "--format=value(name)")
    project = f"--project={state.values.project}"
    return bool(state.shell.ask(*listing, project, "--quiet", example="", absent="matched no objects"))


def unprotected(state: Deployment) -> Deployment:
    """Service, jobs, buckets and table may be destroyed."""
    there = state.shell.ask(
        *TERRAFORM, "state", "list", "-no-color", example="google_cloud_run_v2_service.cutdrop"
    ).split()
    targets = [f"-target={address}" for address in there if PROTECTED.match(address)]
    if targets:
        apply = ("apply", "-input=false", "-auto-approve", "-no-color", UNPROTECT)
        state.shell.run(*TERRAFORM, *apply, *targets, *state.variables)
    return state


def destroyed(state: Deployment) -> Deployment:
    state.shell.run(*TERRAFORM, "destroy", "-input=false", "-auto-approve", "-no-color", UNPROTECT, *state.variables)
    if not state.shell.dry_run:
        state.shell.say("Destroyed. The project, its APIs and Terraform's state are left.")
    return state
