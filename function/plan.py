"""What decides one upload's result before any byte of it is read: its options, its key, its name."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from function.settings import Settings
from shared import encoding
from shared.options import CutOptions
from shared.outputs import OutputSpec, parse_outputs
from shared.records import Upload
from shared.report import RESERVED, output_ending

OUTPUTS_OPTION = "outputs"
OPTION_PREFIX = "cutdrop-"  # of custom metadata: cutdrop-mask-threshold, cutdrop-format ...
IMAGE_SUFFIXES = frozenset(  # in lower case, without the dot
    "avif avifs bmp dib gif heic heics heif heifs hif jfif jpe jpeg jpg pjp pjpeg png apng tif tiff webp".split()  # noqa: SIM905
)
LONGEST_NAME = 1024  # bytes of UTF-8 in an object's name, Cloud Storage's rule


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOutput:
    """One file to make."""

    role: str
    options: CutOptions
    name: str  # in the output bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One upload with all that decides its result."""

    upload: Upload
    key: str  # equal keys, equal pixels
    outputs: tuple[PlannedOutput, ...]  # the primary one first

    @property
    def primary(self) -> PlannedOutput:
        return self.outputs[0]

    @property
    def options(self) -> CutOptions:
        """Of the primary output."""
        return self.primary.options

    @property
    def name(self) -> str:
        """Of the primary output in the output bucket."""
        return self.primary.name


def plan_for(upload: Upload, settings: Settings, weights_sha256: Callable[[CutOptions], str]) -> Plan:
    """What one upload asks for. InvalidOptions if its metadata asks for what does not exist."""
    specs = asked_outputs(upload.metadata, settings)
    options = specs[0].options
    deciding: dict[str, object] = {
        "options": options.as_texts(),
        "weights": weights_sha256(options),
        "settings": settings.pixel_settings(),
    }
    if len(specs) > 1:
        deciding["outputs"] = {spec.role: spec.options.as_texts() for spec in specs}
    endings = [output_ending(spec.role, encoding.suffix(spec.options)) for spec in specs]
    stem = result_stem(upload.name, prefix=settings.output_prefix, ending_bytes=max(len(e.encode()) for e in endings))
    outputs = tuple(
        PlannedOutput(role=spec.role, options=spec.options, name=stem + ending)
        for spec, ending in zip(specs, endings, strict=True)
    )
    return Plan(upload=upload, key=_key(upload, deciding), outputs=outputs)


def asked_outputs(metadata: Mapping[str, str], settings: Settings) -> tuple[OutputSpec, ...]:
    """The outputs that an upload's custom metadata asks for, the primary one first.

    InvalidOptions if it asks for what does not exist.
    """
    asked = {
        name[len(OPTION_PREFIX) :]: text
        for name, text in metadata.items()
        if name.lower().startswith(OPTION_PREFIX) and name.lower() not in RESERVED
    }
    wanted = settings.outputs
    for name in [name for name in asked if name.lower() == OUTPUTS_OPTION]:
        wanted = asked.pop(name)
    return parse_outputs(wanted, CutOptions.from_texts(asked, base=settings.options))


def unplanned_key(upload: Upload) -> str:
    """The key of an upload that is rejected before its options are known: over what was asked for, word by word."""
    return _key(upload, {"asked": dict(upload.metadata)})


def result_name(upload_name: str, *, prefix: str, suffix: str) -> str:
    """`shoes/12.jpg` -> prefix + `shoes/12` + suffix: the name of an only output."""
    return result_stem(upload_name, prefix=prefix, ending_bytes=len(suffix.encode())) + suffix


def result_stem(upload_name: str, *, prefix: str, ending_bytes: int) -> str:
    """`shoes/12.jpg` -> prefix + `shoes/12`: the part of the names that all outputs of an upload share.

    Only the suffix of a known image format is replaced; any other name keeps all of itself (`Mr. Smith` -> `Mr. Smith`
    + its output's suffix), and so does one that is a suffix alone (`.jpg`). One that would become longer than
    Cloud Storage allows is cut and ends in a hash of the upload's name, so that two such uploads never get one name.
    """
    folder, slash, base = upload_name.rpartition("/")
    stem, _, ending = base.rpartition(".")
    kept_base = stem if stem.strip(".") and ending.lower() in IMAGE_SUFFIXES else base
    wanted = prefix + folder + slash + kept_base
    if len(wanted.encode()) + ending_bytes <= LONGEST_NAME:
        return wanted
    mark = "~" + hashlib.sha256(upload_name.encode()).hexdigest()[:16]
    kept = wanted.encode()[: LONGEST_NAME - len(mark) - ending_bytes].decode(errors="ignore")
    return kept + mark


def _key(upload: Upload, deciding: Mapping[str, object]) -> str:
    facts = {"source": upload.uri, "generation": str(upload.generation), **deciding}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
