"""The README says what is so."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared import errors, options
from shared.messages import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """What stands between a pair of marks."""
    found = re.search(rf"<!-- {name}[^>]*-->\n(.*?)\n<!-- end of {name} -->", README, re.DOTALL)
    assert found, f"no block {name}"
    return found[1].strip()


def test_the_settings_are_those_that_the_service_has() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "function.settings"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert block("settings") == printed.strip()


def test_every_option_and_every_failure_code_is_explained() -> None:
    for name in options.PARSERS:
        assert f"`{name.upper()}`" in README, name
    for code in errors.FAILURE_CODES:
        assert re.search(rf"^\| `{code}` \|", README, re.MULTILINE), code
    for code in errors.RETRY_CODES:
        assert f"`{code}`" in README, code


def test_the_message_is_one_that_a_subscriber_could_get() -> None:
    text = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert text
    data = json.loads(text[1])
    kind = "completed" if data["status"] == "completed" else "failed"
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": data["key"],
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{data['source']['bucket']}",
        "ce-type": f"dev.cutdrop.image.{kind}.v1",
        "ce-subject": f"objects/{data['source']['name']}",
        "ce-time": "2026-11-22T12:00:00Z",
        "content-type": "application/json",
        "status": kind,
    }
    message = parse(json.dumps(data).encode(), attributes)
    assert message.key == data["key"]


def test_every_make_target_and_every_module_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= targets
    for module in set(re.findall(r"python -m ((?:tests|function|shared)[\w.]*)", README)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_output_of_terraform_that_a_command_asks_for_exists() -> None:
    outputs = set(re.findall(r'^output "(\w+)"', (ROOT / "infra" / "outputs.tf").read_text(), re.MULTILINE))
    asked = set(re.findall(r"output -raw (\w+)", README))
    assert asked
    assert asked <= outputs


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README
