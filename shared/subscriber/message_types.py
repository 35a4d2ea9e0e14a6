"""The records of a completion message and the codes of a failure. Imports the standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

SCHEMA = 1
TYPES = {"completed": "dev.cutdrop.image.completed.v1", "failed": "dev.cutdrop.image.failed.v1"}
PRIMARY = "cutout"  # role of the first output
REPLAYED_NOTE = "replayed"  # when an operator sent the upload through the service again
EMPTY: Mapping[str, str] = MappingProxyType({})
STRICT = {"strict": True, "allow_inf_nan": False}  # pydantic's settings of a record that is read from JSON


class Code(StrEnum):
    """Why an upload has no cutout. A later version of the service may send others."""

    UNSUPPORTED_MEDIA = "unsupported_media"  # not an image, or not of an accepted format
    CORRUPT_IMAGE = "corrupt_image"  # damaged or cut short
    IMAGE_TOO_LARGE = "image_too_large"  # more pixels than the service takes
    IMAGE_TOO_COMPLEX = "image_too_complex"  # decoding exceeds its time or memory
    UPLOAD_TOO_LARGE = "upload_too_large"  # more bytes than the service takes
    SOURCE_GONE = "source_gone"  # deleted before it was read
    SUPERSEDED = "superseded"  # a newer generation gets the cutout
    OUTPUT_NAME_TAKEN = "output_name_taken"  # the result's name holds something else
    INVALID_OPTIONS = "invalid_options"  # the upload's metadata asks for what does not exist
    NO_SUBJECT = "no_subject"  # nothing to cut out
    NETWORK_FAILED = "network_failed"  # the network gives no numbers for this image
    SOURCE_UNREADABLE = "source_unreadable"  # Cloud Storage never gives this upload
    OUTPUT_REFUSED = "output_refused"  # Cloud Storage never takes the result
    IS_A_RESULT = "is_a_result"  # a result of the service, copied into an upload bucket
    GAVE_UP = "gave_up"  # delivered as often as the subscription allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """W3C Trace Context; empty = none. https://www.w3.org/TR/trace-context/."""

    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The upload. Width, height and the true content type are known once it was decoded."""

    bucket: str = ""
    name: str = ""
    generation: str = ""  # text: 64 bits do not fit JavaScript's numbers
    content_type: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    metadata: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # the uploader's own, 2 KiB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One stored result."""

    role: str = ""  # PRIMARY, or the name of a further output
    bucket: str = ""
    name: str = ""
    generation: str = ""
    uri: str = ""
    content_type: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    crc32c: str = ""  # base64, big-endian, as Cloud Storage gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Where the subject is and how sure the matte is of it, measured on the upload's pixels; all 0 = unknown."""

    coverage: float = 0.0  # mean alpha, 0..1
    uncertain: float = 0.0  # share of pixels that are neither opaque nor transparent, 0..1
    box: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, top, right, bottom in pixels; right and bottom exclusive
    confidence: float = 0.0  # the probability that the cutout is good, 0..1; 0 = unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Which weights ran, and how; all empty = unknown."""

    id: str = ""
    revision: str = ""
    sha256: str = ""
    device: str = ""  # "cpu" | "cuda"
    dtype: str = ""  # "float32" | "float16" | "bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds per step; 0 = the step did not run."""

    download: float = 0.0
    decode: float = 0.0
    segment: float = 0.0
    matte: float = 0.0
    upscale: float = 0.0
    encode: float = 0.0
    upload: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionMessage:
    """The one outcome of one upload. Field by field what the JSON says; `time` and below travel as attributes."""

    __pydantic_config__: ClassVar = STRICT

    status: str = ""  # "completed" | "failed"; empty only in what `parse` refuses
    code: str = ""  # of a failure, see Code
    reason: str = ""  # a sentence for a person
    key: str = ""
    source: Source = field(default_factory=Source)
    outputs: tuple[Output, ...] = ()  # the primary one first; empty if it failed
    subject: Subject = Subject()
    model: ModelInfo = ModelInfo()
    options: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    timings_ms: Timings = Timings()
    time: str = ""  # RFC 3339; empty = unknown
    review: bool = False  # a person should look at the result: its confidence is low
    trace: Trace = Trace()

    @property
    def event_id(self) -> str:
        """The attribute ce-id: the key, which repeated messages share; a replay's outcome is an event of its own."""
        replayed = self.notes.get(REPLAYED_NOTE)
        return f"{self.key}-{replayed}" if replayed else self.key

    @property
    def failure(self) -> Code | None:
        """The code of a failure; None if it completed, or if the code is one that this version does not know."""
        return Code(self.code) if self.code in set(Code) else None

    def output(self, role: str = PRIMARY) -> Output | None:
        """The output of a role; None if there is none."""
        return next((output for output in self.outputs if output.role == role), None)
