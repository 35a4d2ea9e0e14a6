"""The records that the steps of one upload pass on, in order of use. Frozen; their arrays are read-only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

# passed on: they are records of an upload, too
from shared.subscriber.message_types import EMPTY as EMPTY  # noqa: PLC0414
from shared.subscriber.message_types import ModelInfo as ModelInfo  # noqa: PLC0414
from shared.subscriber.message_types import Subject as Subject  # noqa: PLC0414


def seal(array: NDArray[np.generic], *, dtype: type[np.generic], ndim: int) -> None:
    """Check an array's dtype and number of axes, then make it read-only (frozen records do not freeze contents)."""
    if array.dtype != dtype or array.ndim != ndim:
        raise TypeError(f"expected {ndim} axes of {np.dtype(dtype)}, got {array.ndim} of {array.dtype}")
    array.flags.writeable = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One finalized generation of one object in the upload bucket, as its event describes it."""

    bucket: str
    name: str
    generation: int
    size: int = 0  # bytes; 0 = the event did not say
    content_type: str = ""  # what the uploader claimed; never trusted
    metadata: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # custom object metadata
    event_id: str = ""
    event_time: str = ""  # RFC 3339, when the object was finalized
    traceparent: str = ""  # of the event, W3C Trace Context
    tracestate: str = ""
    replayed: str = ""  # RFC 3339, when an operator sent this event again; empty = it was not

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SourceImage:
    """A decoded upload, upright.

    rgb: uint8, HxWx3, in the colour space of `icc_profile` (sRGB if that is empty).
    alpha: uint8, HxW, the upload's own opacity; None if it is opaque everywhere.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc_profile: bytes = b""
    content_type: str = ""  # what the bytes are, by their signature
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # what was ignored or converted, for the message

    def __post_init__(self) -> None:
        seal(self.rgb, dtype=np.uint8, ndim=3)
        if self.alpha is not None:
            seal(self.alpha, dtype=np.uint8, ndim=2)

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cutout:
    """The subject without its background.

    rgba: uint8, HxWx4, straight alpha: the colour is the subject's own, never darkened by alpha.
    timings_ms: milliseconds per step ("segment", "matte", "upscale").
    notes: what was asked for and not done, for the message ({"upscale": "skipped: ..."}).
    """

    rgba: NDArray[np.uint8]
    subject: Subject
    icc_profile: bytes = b""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    def __post_init__(self) -> None:
        seal(self.rgba, dtype=np.uint8, ndim=3)

    @property
    def width(self) -> int:
        return int(self.rgba.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgba.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """A result file, ready to be stored."""

    data: bytes
    content_type: str
    width: int  # pixels
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object in the output bucket, as the store describes it."""

    bucket: str
    name: str
    generation: int
    content_type: str
    size: int  # bytes
    crc32c: str  # base64, as Cloud Storage gives it
    created: datetime  # when this generation was finalized; the store's clock, UTC
    metadata: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"
