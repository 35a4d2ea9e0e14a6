"""What the handler needs from the cloud and from the pixel pipeline, as Protocols.

`cloud`, `shared.decoder_pool` and `shared.cutter` provide it.
"""

from collections.abc import Mapping
from typing import Protocol

from shared.options import CutOptions
from shared.records import Cutout, EncodedImage, ModelInfo, SourceImage, StoredObject, Upload
from shared.subscriber.messages import CompletionMessage


class ObjectStore(Protocol):
    """Cloud Storage as this service needs it.

    Every method may raise StorageUnavailable; about an upload SourceUnreadable, about the output bucket OutputRefused.
    """

    def read(self, upload: Upload, *, max_bytes: int) -> bytes:
        """All bytes of exactly this generation. UploadMissing if it is gone, UploadTooLarge above max_bytes."""

    def look_up(self, upload: Upload) -> Upload:
        """The same generation with size, content type and metadata filled in. UploadMissing if it is gone."""

    def live_generation(self, bucket: str, name: str) -> int | None:
        """The generation that is live under this name now; None if there is none."""

    def find(self, name: str) -> StoredObject | None:
        """What the output bucket holds under this name; None if nothing."""

    def write(
        self, name: str, image: EncodedImage, metadata: Mapping[str, str], *, if_generation_match: int
    ) -> StoredObject:
        """Store a result over exactly the generation that was seen (0 = none). PreconditionFailed on any other."""

    def read_text(self, name: str) -> str | None:
        """A small text in the output bucket; None if there is none."""

    def write_text(self, name: str, text: str, *, best_effort: bool = False) -> None:
        """Store a small text in the output bucket, over what is there. best_effort: try once, give up soon."""


class Publisher(Protocol):
    """The completion topic."""

    def publish(self, message: CompletionMessage) -> None:
        """Return only when the topic has taken the message. PublisherUnavailable otherwise."""


class ImageDecoder(Protocol):
    """Bytes of an upload to SourceImage."""

    def __call__(self, data: bytes, /, *, max_pixels: int, memory: int) -> SourceImage:
        """memory: bytes that decoding may take. RejectedUpload if there is no picture."""


class ImageCutter(Protocol):
    """SourceImage to Cutout."""

    @property
    def model(self) -> ModelInfo: ...

    def weights_sha256(self, options: CutOptions) -> str:
        """Hash over every checkpoint that these options run."""

    def cut(self, image: SourceImage, options: CutOptions) -> Cutout:
        """The subject at its place in the image, before anything that differs between outputs."""
