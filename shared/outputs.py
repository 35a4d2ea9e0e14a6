"""Several outputs from one pass of the network: `cutout; preview: size=512x512 format=webp; mask: channels=alpha`.

`cutout` is the primary output, made in any case, with the upload's own options. Every other output has a name and the
options that are applied after the network; those that it does not set have their defaults.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from shared.errors import InvalidOptions
from shared.options import CutOptions
from shared.subscriber.message_types import PRIMARY

MOST_OUTPUTS = 8
ROLE = re.compile(r"[a-z][a-z0-9-]{0,19}")
AFTER_THE_NETWORK = ("output_format", "channels", "bg_color", "crop", "crop_margin", "size", "scale", "position")
SETTING = re.compile(r"([A-Za-z][\w-]*)=")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output: its role and all of its options."""

    role: str
    options: CutOptions


def parse_outputs(text: str, base: CutOptions) -> tuple[OutputSpec, ...]:
    """The outputs that a text asks for, the primary one first. base: the primary's options.

    InvalidOptions if a role is malformed or named twice, an option belongs to the network, or there are too many.
    """
    defaults: dict[str, Any] = {f.name: f.default for f in fields(CutOptions) if f.name in AFTER_THE_NETWORK}
    plain = replace(base, **defaults)
    specs = {PRIMARY: OutputSpec(PRIMARY, base)}
    for number, part in enumerate(filter(None, (part.strip() for part in text.split(";")))):
        role, _, wanted = (piece.strip() for piece in part.partition(":"))
        if not ROLE.fullmatch(role):
            raise InvalidOptions(f"outputs: {role[:40]!r} is not a name of at most 20 letters, digits and dashes")
        if role in specs and (role != PRIMARY or number):
            raise InvalidOptions(f"outputs: {role} is named twice, or {PRIMARY} not first")
        options = _options(role, wanted, base if role == PRIMARY else plain)
        specs[role] = OutputSpec(role, options)
    if len(specs) > MOST_OUTPUTS:
        raise InvalidOptions(f"outputs: {len(specs)} are more than {MOST_OUTPUTS}")
    return tuple(specs.values())


def _options(role: str, text: str, base: CutOptions) -> CutOptions:
    """Options from `name=value name=value`; a value may have blanks."""
    marks = list(SETTING.finditer(text))
    if text[: marks[0].start() if marks else None].strip():
        raise InvalidOptions(f"outputs: {role}: {text[:40]!r} is not name=value")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    texts = {mark[1]: text[mark.end() : ends[number]].strip() for number, mark in enumerate(marks)}
    if len(texts) < len(marks):
        raise InvalidOptions(f"outputs: {role}: an option is given twice")
    try:
        options = CutOptions.from_texts(texts, base=base)
    except InvalidOptions as error:
        raise InvalidOptions(f"outputs: {role}: {error}") from error
    before, after = base.as_texts(), options.as_texts()
    if touched := [name for name in after if name not in AFTER_THE_NETWORK and after[name] != before[name]]:
        raise InvalidOptions(f"outputs: {role}: {', '.join(touched)} cannot differ between outputs")
    return options
