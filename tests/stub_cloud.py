"""gcloud and terraform for tests of the deployment: `python stub_cloud.py FOLDER PROGRAM ARGUMENT ...`.

FOLDER/world.json is the project: what is enabled, built and made. FOLDER/calls.jsonl is every call. Errors have the
words and the form of the real programs: Terraform's are framed and broken at 78 columns. `faults` of the world are
spent one by one: {"agent": 1} makes one apply fail as it does while Eventarc's agent is new.
"""

import base64
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEW_PROJECT: dict[str, Any] = {
    "account": "you@example.com",
    "terraform_credentials": True,
    "billed": True,
    "apis": ["serviceusage.googleapis.com", "storage.googleapis.com"],
    "quotas": {
        "MemAllocPerProjectRegion": 40 * 2**30,
        "CpuAllocPerProjectRegion": 20_000,
        "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion": None,  # before the first GPU deployment
    },
    "images": [],
    "registry": False,
    "service": False,
    "protected": True,
    "subscriptions": {},
    "objects": {},
    "outcome": "",
    "pulls_before_the_message": 1,
    "faults": {},
}

EVENTARC = (
    'Error creating Trigger: googleapi: Error 400: Invalid resource state for "": Permission denied while using the'
    " Eventarc Service Agent. If you recently started to use Eventarc, it may take a few minutes before all necessary"
    " permissions are propagated to the Service Agent. Otherwise, verify that it has Eventarc Service Agent role."
)
QUOTA = (
    "Error waiting to create Service: Error waiting for Creating Service: Error code 9, message: Revision"
    " 'cutdrop-00001-abc' is not ready and cannot serve traffic. Quota exceeded for total allowable count of GPUs per"
    " project per region."
)
DISABLED = (
    "Error when reading or editing Project Service: googleapi: Error 403: {title} has not been used in project"
    " 123456789012 before or it is disabled. Enable it by visiting"
    " https://console.developers.google.com/apis/api/{api}/overview?project=123456789012 then retry. If you enabled"
    " this API recently, wait a few minutes for the action to propagate to our systems and retry."
)
NO_ACCOUNT = """ERROR: (gcloud.{command}) You do not currently have an active account selected.
Please run:

  $ gcloud auth login

to obtain new credentials."""
NO_DEFAULT = (
    "ERROR: (gcloud.auth.application-default.print-access-token) Your default credentials were not found. To set up"
    " Application Default Credentials, see https://cloud.google.com/docs/authentication/external/set-up-adc for more"
    " information."
)
REPOSITORY = "us-central1-docker.pkg.dev/my-project/cutdrop/server"
PROTECTED = ["google_cloud_run_v2_service.cutdrop", 'google_storage_bucket.images["upload"]']


class Refused(Exception):
    """What the program says on its standard error before it exits with 1."""


class Cloud:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "world.json"
        self.world: dict[str, Any] = json.loads(self.path.read_text())

    def save(self) -> None:
        self.path.write_text(json.dumps(self.world))

    def fault(self, name: str) -> bool:
        """Whether this fault is still to come; spends it."""
        left = self.world["faults"].get(name, 0)
        self.world["faults"][name] = max(0, left - 1)
        return left > 0

    # ---- gcloud

    def gcloud(self, *words: str) -> str:
        command = next(name for name in GCLOUD if words[: len(name.split())] == tuple(name.split()))
        if not self.world["account"] and command != "auth list":
            raise Refused(NO_ACCOUNT.format(command=command.replace(" ", ".")))
        rest = words[len(command.split()) :]
        flags = dict(word.removeprefix("--").partition("=")[::2] for word in rest if word.startswith("--"))
        return GCLOUD[command](self, [word for word in rest if not word.startswith("--")], flags)

    def auth_list(self, _words: list[str], _flags: dict[str, str]) -> str:
        if not self.world["account"]:
            print("\nNo credentialed accounts.\n\nTo login, run:\n  $ gcloud auth login `ACCOUNT`\n", file=sys.stderr)
        return str(self.world["account"])

    def token(self, _words: list[str], _flags: dict[str, str]) -> str:
        if not self.world["terraform_credentials"]:
            raise Refused(NO_DEFAULT)
        return "ya29.secret"

    def billing(self, _words: list[str], _flags: dict[str, str]) -> str:
        return str(self.world["billed"])

    def enable(self, words: list[str], _flags: dict[str, str]) -> str:
        if not self.world["billed"]:
            raise Refused(
                "ERROR: (gcloud.services.enable) FAILED_PRECONDITION: Billing account for project is not found."
            )
        self.world["apis"] += words
        return ""

    def identity(self, _words: list[str], flags: dict[str, str]) -> str:
        if flags["service"] not in self.world["apis"]:
            raise Refused(DISABLED.format(title=flags["service"], api=flags["service"]))
        return ""

    def number(self, _words: list[str], _flags: dict[str, str]) -> str:
        return "123456789012"

    def quota(self, words: list[str], _flags: dict[str, str]) -> str:
        if "cloudquotas.googleapis.com" not in self.world["apis"]:
            raise Refused(DISABLED.format(title="Cloud Quotas API", api="cloudquotas.googleapis.com"))
        value = self.world["quotas"][words[0]]
        here = {"dimensions": {"region": "us-central1"}, "details": {"value": str(value)}}
        return json.dumps({"quotaId": words[0], "dimensionsInfos": [] if value is None else [here]})

    def tags(self, words: list[str], _flags: dict[str, str]) -> str:
        place = "projects/my-project/locations/us-central1/repositories/cutdrop/packages/server/tags"
        images = (image.rpartition(":") for image in self.world["images"])
        return "\n".join(f"{place}/{tag}" for repository, _, tag in images if repository == words[0])

    def build(self, _words: list[str], flags: dict[str, str]) -> str:
        if not self.world["registry"]:
            raise Refused("ERROR: (gcloud.builds.submit) NOT_FOUND: Requested entity was not found.")
        given = dict(pair.partition("=")[::2] for pair in flags["substitutions"].split(","))
        self.world["images"].append(f"{given['_IMAGE']}:{given['_TAG']}")
        return "DONE"

    def subscribe(self, words: list[str], _flags: dict[str, str]) -> str:
        if words[0] in self.world["subscriptions"]:
            name = f"projects/my-project/subscriptions/{words[0]}"
            raise Refused(
                f"ERROR: Failed to create subscription [{name}]: Resource already exists in the project"
                f" (resource={words[0]}).\nERROR: (gcloud.pubsub.subscriptions.create) Failed to create the following:"
                f" [{words[0]}]."
            )
        self.world["subscriptions"][words[0]] = []
        return ""

    def upload(self, words: list[str], _flags: dict[str, str]) -> str:
        source, target = words
        if not Path(source).is_file():
            raise Refused(f"ERROR: (gcloud.storage.cp) The following URLs matched no objects or files:\n{source}")
        generation = str(1700000000000000 + len(self.world["objects"]))
        self.world["objects"][target] = generation
        if self.world["service"]:
            for waiting in self.world["subscriptions"].values():
                waiting.append(_outcome("gs://my-project-cutdrop-uploads/other.jpg", "1", ""))
                waiting.append(_outcome(target, generation, self.world["outcome"]))
        return ""

    def generation(self, words: list[str], _flags: dict[str, str]) -> str:
        return str(self.world["objects"][words[0]])

    def pull(self, words: list[str], flags: dict[str, str]) -> str:
        if self.world["pulls_before_the_message"] > 0:
            self.world["pulls_before_the_message"] -= 1
            return "[]"
        waiting = self.world["subscriptions"][words[0]]
        taken = [waiting.pop(0) for _ in range(min(len(waiting), int(flags["limit"])))]
        return json.dumps([{"ackId": "a", "message": {"data": data, "attributes": {}}} for data in taken])

    def unsubscribe(self, words: list[str], _flags: dict[str, str]) -> str:
        if words[0] not in self.world["subscriptions"]:
            raise Refused(f"ERROR: Failed to delete subscription: Resource not found (resource={words[0]}).")
        del self.world["subscriptions"][words[0]]
        return ""

    def objects(self, words: list[str], _flags: dict[str, str]) -> str:
        prefix = words[0].removesuffix("**")
        return next((name for name in self.world["objects"] if name.startswith(prefix)), "")

    # ---- terraform

    def terraform(self, *words: str) -> str:
        command = next(word for word in words if not word.startswith("-"))
        given = dict(word.removeprefix("-var=").partition("=")[::2] for word in words if word.startswith("-var="))
        targets = [word.removeprefix("-target=") for word in words if word.startswith("-target=")]
        if command in ("plan", "apply", "destroy"):
            self._needs_the_resource_manager()
        if command == "output":
            return self._outputs()
        if command == "state":
            return "\n".join(PROTECTED) if self.world["service"] else ""
        if command == "destroy":
            self._destroy(given)
        if command == "apply":
            self._apply(given, targets)
        return f"Terraform's {command} is done."

    def _needs_the_resource_manager(self) -> None:
        if self.fault("disabled") or "cloudresourcemanager.googleapis.com" not in self.world["apis"]:
            title, api = "Cloud Resource Manager API", "cloudresourcemanager.googleapis.com"
            raise Refused(_framed(DISABLED.format(title=title, api=api)))

    def _apply(self, given: dict[str, str], targets: list[str]) -> None:
        if targets == ["terraform_data.build_ready"]:
            self.world["registry"] = True
            return
        if targets:
            self.world["protected"] = given.get("deletion_protection") != "false"
            return
        image = f"{REPOSITORY}:{given['image_tag']}"
        if image not in self.world["images"]:
            raise Refused(
                _framed(f"Error waiting to create Service: Error code 5, message: Image '{image}' not found.")
            )
        if self.fault("quota"):
            raise Refused(_framed(QUOTA))
        if self.fault("agent"):
            raise Refused(_framed(EVENTARC))
        self.world["service"] = True
        self.world["image"] = image

    def _destroy(self, given: dict[str, str]) -> None:
        if self.world["protected"] and self.world["service"]:
            raise Refused(
                _framed(
                    "cannot destroy service without setting deletion_protection=false and running `terraform apply`"
                )
            )
        if given["project_number"] != "123456789012":
            raise Refused(_framed("Invalid value for variable"))
        self.world |= {"service": False, "registry": False, "images": [], "objects": {}}

    def _outputs(self) -> str:
        told: dict[str, Any] = {}
        if self.world["registry"]:
            told |= {
                "image_repository": REPOSITORY,
                "build_account": "projects/my-project/serviceAccounts/cutdrop-build@my-project.iam.gserviceaccount.com",
                "build_source": "gs://my-project-cutdrop-build/source",
            }
        if self.world["service"]:
            told |= {
                "image": self.world["image"],
                "upload_bucket": "my-project-cutdrop-uploads",
                "output_bucket": "my-project-cutdrop-results",
                "upload_url": "gs://my-project-cutdrop-uploads/",
                "completion_topic": "projects/my-project/topics/cutdrop-completion",
                "dashboard": "https://console.cloud.google.com/monitoring/dashboards/builder/1?project=my-project",
                "subscriptions": {},
            }
        return json.dumps({name: {"sensitive": False, "value": value} for name, value in told.items()})


GCLOUD: dict[str, Callable[[Cloud, list[str], dict[str, str]], str]] = {
    "auth list": Cloud.auth_list,
    "auth application-default print-access-token": Cloud.token,
    "billing projects describe": Cloud.billing,
    "services enable": Cloud.enable,
    "beta services identity create": Cloud.identity,
    "projects describe": Cloud.number,
    "beta quotas info describe": Cloud.quota,
    "artifacts docker tags list": Cloud.tags,
    "builds submit": Cloud.build,
    "pubsub subscriptions create": Cloud.subscribe,
    "storage cp": Cloud.upload,
    "storage objects describe": Cloud.generation,
    "pubsub subscriptions pull": Cloud.pull,
    "pubsub subscriptions delete": Cloud.unsubscribe,
    "storage objects list": Cloud.objects,
}


def _outcome(address: str, generation: str, code: str) -> str:
    """Base64 of the message's data, as gcloud prints it."""
    bucket, _, name = address.removeprefix("gs://").partition("/")
    output = {"role": "cutout", "uri": f"gs://my-project-cutdrop-results/{name.removesuffix('.jpg')}.png"}
    message = {
        "status": "failed" if code else "completed",
        "code": code,
        "reason": "a reason" if code else "",
        "source": {"bucket": bucket, "name": name, "generation": generation},
        "outputs": [] if code else [output],
        "timings_ms": {"total": 640.0},
    }
    return base64.b64encode(json.dumps(message).encode()).decode()


def _framed(text: str) -> str:
    lines = textwrap.wrap(f"Error: {text}", 76, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["╷", *(f"│ {line}" for line in lines), "│ ", "╵"])


def main() -> int:
    folder, program, *words = sys.argv[1:]
    with (Path(folder) / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([program, *words]) + "\n")
    cloud = Cloud(Path(folder))
    try:
        print(getattr(cloud, program)(*words))
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    finally:
        cloud.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
