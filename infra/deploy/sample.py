"""A sample goes in, its message comes out."""

import base64
import json
import time
from typing import Any

from .deployment import Deployment
from .shell import DeployError

SAMPLE = "function/local/samples/marten.jpg"
NAME = "cutdrop-sample.jpg"
PAUSE_S = 5.0  # between two pulls, each of which waits a little itself


def check(state: Deployment) -> Deployment:
    """Uploads a sample, waits for its message, prints both links. Raises DeployError for a failure or none in time."""
    shell, project = state.shell, f"--project={state.values.project}"
    subscription = f"{state.values.name}-deploy-check"
    create = (
        "gcloud",
        "pubsub",
        "subscriptions",
        "create",
        subscription,
        f"--topic={state.outputs['completion_topic']}",
    )
    shell.ask(*create, "--expiration-period=1d", project, "--quiet", example="", absent="already exists")
    try:
        address = state.outputs["upload_url"] + NAME
        shell.run("gcloud", "storage", "cp", SAMPLE, address, project, "--quiet")
        describe = (
            "gcloud",
            "storage",
            "objects",
            "describe",
            address,
            "--format=value(generation)",
            project,
            "--quiet",
        )
        generation = shell.ask(*describe, example="GENERATION")
        _report(state, address, _message(state, subscription, generation))
    finally:
        shell.ask(
            "gcloud",
            "pubsub",
            "subscriptions",
            "delete",
            subscription,
            project,
            "--quiet",
            example="",
            absent="Resource not found",
        )
    return state


def _message(state: Deployment, subscription: str, generation: str) -> dict[str, Any]:
    """The outcome of this generation of the sample; {} in a dry run."""
    project = f"--project={state.values.project}"
    pull = ("gcloud", "pubsub", "subscriptions", "pull", subscription, "--auto-ack", "--limit=100", "--format=json")
    end = time.monotonic() + state.patience_s
    while True:
        told = state.shell.ask(*pull, project, "--quiet", example="")
        for received in json.loads(told or "[]"):
            outcome: dict[str, Any] = json.loads(base64.b64decode(received["message"]["data"]))
            if outcome["source"]["generation"] == generation:
                return outcome
        if state.shell.dry_run:
            return {}
        if time.monotonic() > end:
            raise DeployError(
                f"No message about the sample within {state.patience_s:.0f} s. The log says why: see 'Read a failure'"
                f" and 'The GPU is not found' in infra/README.md, and the dashboard: {state.outputs['dashboard']}"
            )
        time.sleep(min(PAUSE_S, state.patience_s / 10))


def _report(state: Deployment, address: str, outcome: dict[str, Any]) -> None:
    if state.shell.dry_run:
        return
    if outcome["status"] != "completed":
        raise DeployError(f"The service is up, but the sample failed with {outcome['code']}: {outcome['reason']}")
    result = outcome["outputs"][0]["uri"]
    took = outcome["timings_ms"]["total"] / 1000
    state.shell.say(f"\nThe sample was cut out in {took:.1f} s.")
    for title, uri in (("upload", address), ("result", result)):
        state.shell.say(f"  {title}  {_link(uri, state.values.project)}")
    state.shell.say(f"  dashboard  {state.outputs['dashboard']}")


def _link(uri: str, project: str) -> str:
    return f"https://console.cloud.google.com/storage/browser/_details/{uri.removeprefix('gs://')}?project={project}"
