"""A folder of Terraform files as plain Python: enough to hold promises about them without provider or account."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import hcl2

REFERENCE = re.compile(r"\$\{(var|local)\.(\w+)\}")


@dataclass(frozen=True)
class Terraform:
    """`resources["type.name"]`, `data["data.type.name"]`, `variables`, `locals`, `outputs` by their name.

    Nested blocks are lists.
    """

    folder: Path

    @cached_property
    def text(self) -> str:
        """All files without comments."""
        lines = "\n".join(path.read_text() for path in sorted(self.folder.glob("*.tf"))).splitlines()
        return "\n".join(re.sub(r"(^|\s)#.*$", "", line) for line in lines)

    @cached_property
    def _trees(self) -> list[dict[str, Any]]:
        return [_parse(path.read_text()) for path in sorted(self.folder.glob("*.tf"))]

    def _blocks(self, kind: str) -> Iterator[dict[str, Any]]:
        for tree in self._trees:
            yield from tree.get(kind, [])

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        return {
            f"{kind}.{name}": body
            for block in self._blocks("resource")
            for kind, named in block.items()
            for name, body in named.items()
        }

    @cached_property
    def data(self) -> dict[str, dict[str, Any]]:
        return {
            f"data.{kind}.{name}": body
            for block in self._blocks("data")
            for kind, named in block.items()
            for name, body in named.items()
        }

    @cached_property
    def variables(self) -> dict[str, dict[str, Any]]:
        return {name: body for block in self._blocks("variable") for name, body in block.items()}

    @cached_property
    def outputs(self) -> dict[str, dict[str, Any]]:
        return {name: body for block in self._blocks("output") for name, body in block.items()}

    @cached_property
    def locals(self) -> dict[str, Any]:
        return {name: value for block in self._blocks("locals") for name, value in block.items()}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The `terraform` block."""
        return {name: value for block in self._blocks("terraform") for name, value in block.items()}

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Resources of one type by their name."""
        return {name.partition(".")[2]: body for name, body in self.resources.items() if name.partition(".")[0] == kind}

    def value(self, given: object) -> object:
        """A literal, or what `${var.x}` and `${local.x}` inside it stand for while nobody sets a variable."""
        if not isinstance(given, str):
            return given
        if whole := REFERENCE.fullmatch(given):
            return self.value(self._named(whole[1], whole[2]))
        return REFERENCE.sub(lambda match: str(self.value(self._named(match[1], match[2]))), given)

    def _named(self, kind: str, name: str) -> object:
        return self.variables[name].get("default", "") if kind == "var" else self.locals[name]


@cache  # a changed copy of the folder differs in one file
def _parse(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = _clean(hcl2.loads(text))
    return parsed


def _clean(value: Any) -> Any:
    """Without the quotes that the parser leaves around texts and labels, and without its own notes."""
    if isinstance(value, dict):
        return {_text(key): _clean(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    return text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text
