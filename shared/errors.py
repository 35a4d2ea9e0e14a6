"""Every error of the product, by the one question a caller has: would the same event succeed later?

CutdropError
├── RejectedUpload            never; acknowledge the event, publish a failure message with `code`
│   ├── UnsupportedMedia      unsupported_media
│   ├── CorruptImage          corrupt_image
│   ├── ImageTooLarge         image_too_large
│   ├── ImageTooComplex       image_too_complex
│   ├── UploadTooLarge        upload_too_large
│   ├── SourceGone            source_gone
│   ├── Superseded            superseded
│   ├── OutputNameTaken       output_name_taken
│   ├── InvalidOptions        invalid_options
│   ├── NoSubject             no_subject
│   ├── NetworkFailed         network_failed
│   ├── SourceUnreadable      source_unreadable
│   ├── OutputRefused         output_refused
│   ├── IsAResult             is_a_result
│   └── GaveUp                gave_up
├── RetryLater                perhaps; answer `status` so that the event is delivered again
│   ├── StorageUnavailable    storage_unavailable, 503
│   ├── PublisherUnavailable  publisher_unavailable, 503
│   ├── OutOfGpuMemory        out_of_gpu_memory, 503
│   ├── Busy                  busy, 429
│   └── ShuttingDown          shutting_down, 503
├── UnreadableEvent           the event is not one of ours or cannot be parsed: log, acknowledge
├── PreconditionFailed        the object changed since it was looked at: look again, decide again
├── UploadMissing             the upload's generation is gone: find out why, then reject
├── SettingsError             the environment is wrong; the server does not start
├── WeightsError              a checkpoint is missing, altered or of another network
└── GpuUnavailable            a GPU was required and does not run kernels
"""

from typing import ClassVar


class CutdropError(Exception):
    """Root of all errors that this product raises on purpose."""


class RejectedUpload(CutdropError):
    """This upload can never succeed. `str(error)` is a sentence for the uploader, `detail` is for the log alone."""

    code: ClassVar[str]

    def __init__(self, reason: str = "", *, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail  # what a library said; empty = nothing more is known


class UnsupportedMedia(RejectedUpload):
    """Not an image, or an image format outside the allow-list."""

    code = "unsupported_media"


class CorruptImage(RejectedUpload):
    """An image of a known format whose bytes are damaged or cut short."""

    code = "corrupt_image"


class ImageTooLarge(RejectedUpload):
    """More pixels than this service decodes."""

    code = "image_too_large"


class ImageTooComplex(RejectedUpload):
    """Decoding needs more time or memory than an image of this size may take."""

    code = "image_too_complex"


class UploadTooLarge(RejectedUpload):
    """More bytes than this service downloads."""

    code = "upload_too_large"


class SourceGone(RejectedUpload):
    """The upload was deleted before it could be read."""

    code = "source_gone"


class Superseded(RejectedUpload):
    """A newer generation of the same upload exists; that one gets the cutout."""

    code = "superseded"


class OutputNameTaken(RejectedUpload):
    """The result's name holds something that is not a result of this upload."""

    code = "output_name_taken"


class InvalidOptions(RejectedUpload):
    """The options in the upload's metadata are unknown, malformed or contradictory."""

    code = "invalid_options"


class NoSubject(RejectedUpload):
    """The network found nothing to cut out."""

    code = "no_subject"


class NetworkFailed(RejectedUpload):
    """A network gives values that are not numbers for this image, in float32 too."""

    code = "network_failed"


class SourceUnreadable(RejectedUpload):
    """Cloud Storage will never give this upload: a customer-supplied key, or its bucket is gone."""

    code = "source_unreadable"


class OutputRefused(RejectedUpload):
    """Cloud Storage will never take the result: a hold, a retention policy, or the output bucket is gone."""

    code = "output_refused"


class IsAResult(RejectedUpload):
    """The upload carries this service's key: a result that somebody copied into an upload bucket."""

    code = "is_a_result"


class GaveUp(RejectedUpload):
    """Delivered as often as the subscription allows, without success."""

    code = "gave_up"


class RetryLater(CutdropError):
    """The same event may succeed later."""

    code: ClassVar[str]
    status: ClassVar[int] = 503  # HTTP; every non-2xx answer is delivered again


class StorageUnavailable(RetryLater):
    """Cloud Storage could not be read or written."""

    code = "storage_unavailable"


class PublisherUnavailable(RetryLater):
    """The completion message could not be published."""

    code = "publisher_unavailable"


class OutOfGpuMemory(RetryLater):
    """The image did not fit into GPU memory, not even alone and in smaller tiles."""

    code = "out_of_gpu_memory"


class Busy(RetryLater):
    """The queue in front of the network is full."""

    code = "busy"
    status = 429


class ShuttingDown(RetryLater):
    """The instance is draining."""

    code = "shutting_down"


class UnreadableEvent(CutdropError):
    """The event cannot be parsed, or is of a type that is not ours."""


class PreconditionFailed(CutdropError):
    """A conditional write lost against another writer (or against its own, unanswered, first try)."""


class UploadMissing(CutdropError):
    """The generation that the event names is not there any more."""


class SettingsError(CutdropError):
    """The environment is wrong; the message lists every problem."""


class WeightsError(CutdropError):
    """A checkpoint is missing, altered, or of another network."""


class GpuUnavailable(CutdropError):
    """A GPU was required and does not run kernels."""


FAILURE_CODES: tuple[str, ...] = tuple(error.code for error in RejectedUpload.__subclasses__())
RETRY_CODES: tuple[str, ...] = tuple(error.code for error in RetryLater.__subclasses__())
