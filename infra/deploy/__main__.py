"""make deploy, make undeploy: the table of steps."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import build, cost, preflight, removal, sample
from .deployment import Deployment
from .shell import DeployError, Shell
from .values import UnreadableValues, Values

ROOT = Path(__file__).resolve().parents[2]

Step = tuple[str, Callable[[Deployment], Deployment]]

DEPLOY: Sequence[Step] = (
    ("The image's tag", build.tag),
    ("The region has the GPU", preflight.region_has_the_gpu),
    ("PyTorch's index has the wheels", preflight.torch_wheels),
    ("Signed in", preflight.signed_in),
    ("The project is billed", preflight.billed),
    ("APIs", preflight.apis),
    ("The project's number", preflight.number),
    ("Quotas", preflight.quotas),
    ("Terraform", build.init),
    ("Plan", build.plan),
    ("The image's repository", build.registry),
    ("The image", build.image),
    ("Apply", build.apply),
    ("A sample", sample.check),
    ("Cost", cost.report),
)

UNDEPLOY: Sequence[Step] = (
    ("Signed in", preflight.signed_in),
    ("The project's number", preflight.number),
    ("Terraform", build.init),
    ("What runs", removal.deployed),
    ("What is lost", removal.confirmed),
    ("Deletion protection off", removal.unprotected),
    ("Destroy", removal.destroyed),
)


def main() -> int:
    """The exit status: 0 = done, 1 = it cannot go on, and standard error says why; 130 = interrupted."""
    given = _arguments()
    try:
        values = Values.read(ROOT / "infra", os.environ, given.project)
        shell = Shell(values.project, dry_run=given.dry_run, wait_s=given.wait_s)
        state = Deployment(root=ROOT, values=values, shell=shell, patience_s=given.patience_s, yes=given.yes)
        os.chdir(ROOT)
        for title, step in UNDEPLOY if given.what == "undeploy" else DEPLOY:
            shell.say(f"\n# {title}")
            state = step(state)
    except (DeployError, UnreadableValues) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again, it goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m infra.deploy", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("deploy", "undeploy"), default="deploy")
    parser.add_argument("--dry-run", action="store_true", help="print every command; run none that touches anything")
    parser.add_argument("--project", default="", help="the project's id, if infra/terraform.tfvars does not name it")
    parser.add_argument("--yes", action="store_true", help="undeploy: do not ask")
    parser.add_argument(
        "--wait-s", type=float, default=90.0, help="before a command is repeated that may succeed later"
    )
    parser.add_argument("--patience-s", type=float, default=900.0, help="longest wait for the sample's message")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
