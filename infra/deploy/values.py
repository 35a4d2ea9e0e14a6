"""What Terraform's variables are set to: their defaults in variables.tf, then infra/terraform.tfvars.

Terraform itself needs its provider, and sometimes an account, before it can say that; the deployment wants to know it
first. A value in a .tfvars file, and a default, is a literal, so that little of the language has to be read.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

Value = str | float | bool | list["Value"] | dict[str, "Value"] | None

TOKEN = re.compile(
    r"""(?P<skip>(?:\s|\#[^\n]*|//[^\n]*|/\*.*?\*/)+)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<word>[A-Za-z_][\w-]*)
      | (?P<mark>[\[\]{}=:,])""",
    re.VERBOSE | re.DOTALL,
)
WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}
OTHER_FILES = ("*.auto.tfvars", "*.auto.tfvars.json", "terraform.tfvars.json")


class UnreadableValues(Exception):
    """The variables cannot be read; the message is for the person who set them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The variables that the deployment itself looks at; variables.tf says what they mean."""

    project: str
    region: str
    name: str
    gpu: str
    gpu_quota: float
    memory_quota_gib: float
    cpu_quota: float
    zonal_redundancy: bool
    cpu: float
    memory_gib: float
    min_instances: float
    max_instances: float
    torch_index: str
    cuda: str
    model: str
    model_revision: str
    esrgan_model: str
    vitmatte_model: str
    vitmatte_revision: str
    weights_dtype: str
    gpu_regions: tuple[str, ...]  # that have this gpu

    @classmethod
    def read(cls, folder: Path, environ: Mapping[str, str], project: str = "") -> "Values":
        """folder: that of the Terraform files. project: overrides the variable. Raises UnreadableValues."""
        given = defaults((folder / "variables.tf").read_text()) | _environment(environ) | _tfvars(folder)
        given["project"] = project or given.get("project")
        if not given["project"]:
            raise UnreadableValues(
                "which project? Name it in infra/terraform.tfvars (project = ...), or: make deploy ARGS=--project=..."
            )
        regions = literal((folder / "service.tf").read_text(), "gpu_regions")
        more = given.get("more_gpu_regions")
        known = regions.get(str(given["gpu"])) if isinstance(regions, dict) else None
        given["gpu_regions"] = [*(known if isinstance(known, list) else []), *(more if isinstance(more, list) else [])]
        checked: dict[str, Any] = {each.name: _as(each.type, each.name, given.get(each.name)) for each in fields(cls)}
        return cls(**checked)


def _as(kind: object, name: str, value: Value) -> object:
    """`value` if it has the type of its field; quoted numbers and booleans count, as they do for Terraform."""
    if kind == tuple[str, ...] and isinstance(value, list):
        return tuple(str(each) for each in value)
    if isinstance(value, str) and kind in (float, bool) and (kind is float or value in WORDS):
        value = WORDS[value] if kind is bool else float(value)
    if isinstance(value, str | float | bool) and type(value) is kind:
        return value
    raise UnreadableValues(f"the variable {name} is {value!r}, which is no {getattr(kind, '__name__', kind)}")


def _environment(environ: Mapping[str, str]) -> dict[str, Value]:
    """Terraform reads TF_VAR_name, too; lists and maps in its own language."""
    given = {name.removeprefix("TF_VAR_"): text for name, text in environ.items() if name.startswith("TF_VAR_")}
    return {name: _value(_tokens(text)) if text[:1] in ("[", "{") else text for name, text in given.items()}


def _tfvars(folder: Path) -> dict[str, Value]:
    for pattern in OTHER_FILES:
        if found := sorted(folder.glob(pattern)):
            raise UnreadableValues(
                f"put what {found[0].name} says into terraform.tfvars: the deployment reads no other"
            )
    path = folder / "terraform.tfvars"
    if not path.is_file():
        return {}
    try:
        return assignments(path.read_text())
    except UnreadableValues as error:
        raise UnreadableValues(f"{path.name}: {error}") from error


def defaults(text: str) -> dict[str, Value]:
    """Default of each variable of variables.tf that has one. The file has Terraform's own formatting."""
    found: dict[str, Value] = {}
    for block in re.finditer(r'(?ms)^variable "(\w+)" \{\n(.*?)^\}', text):
        if re.search(r"(?m)^ *default +=", block[2]):
            found[block[1]] = literal(block[2], "default")
    return found


def assignments(text: str) -> dict[str, Value]:
    """`name = value` of a .tfvars file. Raises UnreadableValues."""
    tokens = _tokens(text)
    found = _pairs(tokens, closing="")
    if tokens:
        raise UnreadableValues(f"{tokens[0][1]} is not expected")
    return found


def literal(text: str, name: str) -> Value:
    """The value after the first line of `text` that begins with `name =`. Raises UnreadableValues."""
    found = re.search(rf"(?m)^ *{name} +=", text)
    if found is None:
        raise UnreadableValues(f"{name} is set nowhere")
    return _value(_tokens(text[found.end() :], strict=False))


Tokens = list[tuple[str, str]]


def _tokens(text: str, *, strict: bool = True) -> Tokens:
    """strict: everything must be a token; else the list ends where something is not."""
    found: Tokens = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            if strict:
                raise UnreadableValues(f"cannot read {text[position:].splitlines()[0]!r}")
            break
        position = match.end()
        if match.lastgroup and match.lastgroup != "skip":
            found.append((match.lastgroup, match[0]))
    return found


def _next(tokens: Tokens) -> tuple[str, str]:
    if not tokens:
        raise UnreadableValues("it ends too early")
    return tokens.pop(0)


def _value(tokens: Tokens) -> Value:
    kind, text = _next(tokens)
    if kind == "text":
        if re.search(r"(?<!\$)\$\{|(?<!%)%\{", text):
            raise UnreadableValues(f"{text} is no plain text")
        return str(json.loads(text.replace("\n", "\\n")))
    if kind == "number":
        return float(text)
    if kind == "word" and text in WORDS:
        return WORDS[text]
    if text == "[":
        return _list(tokens)
    if text == "{":
        return _pairs(tokens, closing="}")
    raise UnreadableValues(f"{text} is no value")


def _list(tokens: Tokens) -> list[Value]:
    found: list[Value] = []
    while tokens and tokens[0][1] != "]":
        found.append(_value(tokens))
        if tokens and tokens[0][1] == ",":
            tokens.pop(0)
    _next(tokens)
    return found


def _pairs(tokens: Tokens, *, closing: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    while tokens and tokens[0][1] != closing:
        kind, name = _next(tokens)
        if kind not in ("word", "text") or _next(tokens)[1] not in "=:":
            raise UnreadableValues(f"{name} is no name that a value follows")
        found[name.strip('"')] = _value(tokens)
        if tokens and tokens[0][1] == ",":
            tokens.pop(0)
    if closing:
        _next(tokens)
    return found
