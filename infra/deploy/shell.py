"""Runs the deployment's commands, or prints them only; knows the errors that pass by themselves."""

import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

NOT_SIGNED_IN = re.compile(
    r"do not currently have an active account|default credentials were not found|could not find default credentials"
    r"|refreshing your current auth tokens|invalid_grant|[Rr]eauthentication"
)
API_DISABLED = re.compile(
    r"API \[([\w.-]+\.googleapis\.com)\] not enabled|/apis/(?:api|library)/([\w.-]+\.googleapis\.com)[/?\s]"
)
AGENT_NOT_READY = re.compile(
    r"Permission denied while using the Eventarc Service Agent"
    r"|[Ss]ervice account \S+@(?:gcp-sa-|serverless-robot-prod|gs-project-accounts)\S+ does not exist"
    r"|Service Agent .{0,200}must have permission to read the image"
)
QUOTA = re.compile(
    r"Quota exceeded[^.]*|Quota violated:[^.\n]*|You do not have quota[^.]*|Max instances must be set[^.]*"
)
API_TRIES = 5  # an API that was just enabled is refused for a minute or two


class DeployError(Exception):
    """The deployment cannot go on; the message says what to do."""


@dataclass(slots=True)
class Shell:
    """`run` shows what a command prints, `ask` returns it. With dry_run both only print the command."""

    project: str
    dry_run: bool = False
    wait_s: float = 90.0  # before a command is repeated
    echo: IO[str] = field(default_factory=lambda: sys.stdout)

    def run(self, *command: str) -> None:
        """Raises DeployError, unless a repetition helps."""
        self._repeated(command, capture=False)

    def ask(self, *command: str, example: str, absent: str = "") -> str:
        """What the command prints on its standard output, stripped.

        example: the answer of a dry run. absent: if the error has these words, the answer is "".
        """
        return (
            self._repeated(command, capture=True, absent=absent) if not self.dry_run else self._said(command, example)
        )

    def say(self, text: str) -> None:
        print(text, file=self.echo, flush=True)

    def wait(self, seconds: float, reason: str) -> None:
        self.say(f"  {reason}; waiting {seconds:.0f} s")
        time.sleep(seconds)

    def _said(self, command: Sequence[str], answer: str = "") -> str:
        self.say(f"$ {shlex.join(command)}")
        return answer

    def _repeated(self, command: Sequence[str], *, capture: bool, absent: str = "") -> str:
        self._said(command)
        if self.dry_run:
            return ""
        enabled: dict[str, int] = {}
        waited = False
        while True:
            status, output, errors = _call(command, capture=capture)
            text = plain(errors)
            if status == 0:
                return output.strip()
            if absent and absent in text:
                return ""
            if api := _disabled(text):
                enabled[api] = enabled.get(api, 0) + 1
            if api and enabled[api] <= API_TRIES:
                self._enable(api, first=enabled[api] == 1)
            elif AGENT_NOT_READY.search(text) and not waited:
                waited = True
                self.wait(self.wait_s, "an agent of Google's is new in this project and has not all of its rights yet")
            else:
                raise DeployError(_advice(command, status, text))
            self._said(command)

    def _enable(self, api: str, *, first: bool) -> None:
        if first:
            enable = ("gcloud", "services", "enable", api, f"--project={self.project}", "--quiet")
            self._said(enable)
            status, _, errors = _call(enable, capture=False)
            if status != 0:
                raise DeployError(_advice(enable, status, plain(errors)))
        self.wait(self.wait_s / 3, f"{api} was just enabled")


def plain(errors: str) -> str:
    """Terraform frames its errors and breaks them at 78 columns; here they are one line."""
    return " ".join(re.sub(r"[│╷╵]", " ", errors).split())


def _disabled(text: str) -> str:
    match = API_DISABLED.search(text)
    return (match[1] or match[2]) if match else ""


def _advice(command: Sequence[str], status: int, text: str) -> str:
    if NOT_SIGNED_IN.search(text):
        return SIGN_IN
    if match := QUOTA.search(text):
        return (
            f"{match[0].strip()}: see 'Quotas' in infra/README.md. Ask for more, or lower max_instances, memory_gib or"
            " cpu in infra/terraform.tfvars; then run it again: it goes on where it stopped."
        )
    return f"`{shlex.join(command)}` ended with status {status}, see above. Run it again: it goes on where it stopped."


SIGN_IN = "Nobody is signed in. Run: gcloud auth login && gcloud auth application-default login"


def _call(command: Sequence[str], *, capture: bool) -> tuple[int, str, str]:
    """(exit status, standard output if it is captured, standard error); standard error is shown meanwhile."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError as error:
        raise DeployError(f"{command[0]} is not installed") from error
    lines: list[str] = []

    def show(stream: IO[str]) -> None:
        for line in stream:
            lines.append(line)
            sys.stderr.write(line)
            sys.stderr.flush()

    if process.stderr is None:  # for the type checker: it is a pipe
        raise DeployError("no standard error")
    reader = threading.Thread(target=show, args=(process.stderr,))
    reader.start()
    output = process.stdout.read() if process.stdout else ""
    status = process.wait()
    reader.join()
    return status, output, "".join(lines)
