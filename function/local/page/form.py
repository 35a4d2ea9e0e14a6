"""The options as a form: described, checked and written as command lines, from the table that the service checks."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from function.plan import OPTION_PREFIX, OUTPUTS_OPTION, asked_outputs
from function.settings import Settings, table
from shared.errors import InvalidOptions
from shared.options import DOCS, PARSERS, canonical_name
from shared.outputs import AFTER_THE_NETWORK

Absent = Mapping[tuple[str, str], str]  # (option, value) -> why it cannot be asked for
LOCAL_DEFAULT_MODEL = "embedded"
SEPARATORS = ",;|@~"  # of --custom-metadata; any other than the comma is declared in front of the first entry


def describe(settings: Settings, absent: Absent) -> list[dict[str, Any]]:
    """Every option in the table's order: name, kind, range, choices, the service's own value, meaning, part.

    part: `cut` = up to the mask and its edge, `result` = what is written. absent: {value: why} of its choices.
    """
    defaults = _defaults(settings)
    options = []
    for name, parser in PARSERS.items():
        options.append(
            {
                "name": name,
                "kind": parser.kind,
                "low": parser.low,
                "high": parser.high,
                "step": parser.step,
                "choices": parser.choices,
                "default": defaults[name],
                "doc": DOCS[name],
                "part": "result" if name in AFTER_THE_NETWORK else "cut",
                "absent": {value: why for (option, value), why in absent.items() if option == name},
            }
        )
    outputs = next(setting.doc for setting in table() if setting.name == OUTPUTS_OPTION.upper())
    default = defaults[OUTPUTS_OPTION]
    options.append(
        {"name": OUTPUTS_OPTION, "kind": "text", "low": 0, "high": 0, "step": 0, "choices": (), "default": default,
         "doc": outputs, "part": "result", "absent": {}}
    )  # fmt: skip
    return options


def check(texts: Mapping[str, str], settings: Settings, absent: Absent) -> dict[str, Any]:
    """{"changed": options that differ from the service's, "problems": {option: sentence}, "problem": of them together}.

    The texts of `changed` are the canonical ones; it is empty if there is any problem.
    """
    texts = {canonical_name(name): text for name, text in texts.items()}
    problems = {name: problem for name, text in texts.items() if (problem := _problem(name, text, absent))}
    if problems:
        return {"changed": {}, "problems": problems, "problem": ""}
    try:
        asked = asked_outputs({f"{OPTION_PREFIX}{name}": text.strip() for name, text in texts.items()}, settings)
    except InvalidOptions as error:
        return {"changed": {}, "problems": {}, "problem": str(error)}
    wanted = asked[0].options.as_texts() | {OUTPUTS_OPTION: texts.get(OUTPUTS_OPTION, settings.outputs).strip()}
    defaults = _defaults(settings)
    changed = {name: text for name, text in wanted.items() if text != defaults[name]}
    return {"changed": changed, "problems": {}, "problem": ""}


def command_lines(changed: Mapping[str, str], *, file: str, model: str) -> dict[str, str]:
    """Shell commands that give the same result: `cloud` uploads to the service, `local` runs it on this machine."""
    metadata = [f"{OPTION_PREFIX}{name.replace('_', '-')}={text}" for name, text in changed.items()]
    cloud = ["gcloud", "storage", "cp", file, "gs://UPLOAD_BUCKET/"]
    if metadata:
        cloud.append(f"--custom-metadata={_joined(metadata)}")
    local = ["python", "-m", "function.local"]
    if model != LOCAL_DEFAULT_MODEL:
        local += ["--set", f"MODEL={model}"]
    for name, text in changed.items():
        local += ["--option", f"{name}={text}"]
    return {"cloud": shlex.join(cloud), "local": shlex.join([*local, file])}


def _defaults(settings: Settings) -> dict[str, str]:
    return settings.options.as_texts() | {OUTPUTS_OPTION: settings.outputs}


def _problem(name: str, text: str, absent: Absent) -> str:
    if name == OUTPUTS_OPTION:
        return ""
    if name not in PARSERS:
        return "is not an option"
    try:
        value = PARSERS[name](text.strip())
    except ValueError as error:
        return str(error)
    return absent.get((name, str(value)), "")


def _joined(entries: Sequence[str]) -> str:
    """Entries of a dictionary flag of gcloud; `gcloud topic escaping` describes the declared separator."""
    separator = next(sign for sign in SEPARATORS if not any(sign in entry for entry in entries))
    return ("" if separator == "," else f"^{separator}^") + separator.join(entries)
