"""The policy of one upload: what becomes of it, exactly once. Knows the cloud and the network only as `ports`.

Duplicates, late and reordered events, crashes and outages change nothing, by three rules: a result says which upload,
generation and options it was made from (its key); it is only written over what was seen before; and its message is
made from the stored result alone.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from function.plan import Plan, plan_for
from function.ports import ImageCutter, ObjectStore, Publisher
from function.progress import UploadProgress
from function.settings import Settings
from shared import decoding, encoding
from shared.errors import (
    Busy,
    GaveUp,
    IsAResult,
    OutputNameTaken,
    PreconditionFailed,
    RejectedUpload,
    ShuttingDown,
    SourceGone,
    StorageUnavailable,
    Superseded,
    UploadMissing,
    UploadTooLarge,
)
from shared.events import needs_look_up
from shared.messages import CompletionMessage, completed, failed
from shared.options import CutOptions
from shared.records import Cutout, EncodedImage, SourceImage, StoredObject, Upload
from shared.report import KEY, SOURCE, SOURCE_GENERATION, ImageInfo, Report, result_metadata

WRITE_ATTEMPTS = 4  # each failed one means that another delivery stored something in the meantime


@dataclass(frozen=True, slots=True, kw_only=True)
class HandledUpload:
    """How one delivery of an event ended, for the log."""

    status: str  # "completed" | "failed" | "ignored"
    code: str = ""  # of a failure
    reason: str = ""  # of a failure, or why the event was ignored
    detail: str = ""  # of a failure: what a library said
    key: str = ""
    message: CompletionMessage | None = None  # as published; None if ignored
    repeated: bool = False  # the result was there already
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # of this delivery, per step and in all


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingResult:
    """What is stored under a result's name, seen from one upload."""

    generation: int = 0  # 0 = nothing
    result: StoredObject | None = None  # set if it is this upload's own result, by an earlier delivery


class Handler:
    """Takes uploads, one call each, from any number of threads."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        publisher: Publisher,
        cutter: ImageCutter,
        settings: Settings,
        now: Callable[[], float] = time.time,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """now: Unix seconds. stopping: whether work in progress has to end before its next step."""
        self._store = store
        self._publisher = publisher
        self._cutter = cutter
        self._settings = settings
        self._now = now
        self._stopping = stopping

    def handle(self, upload: Upload) -> HandledUpload:
        """Make one upload's result or find out why there is none, and publish that.

        RetryLater if the same event may succeed later. Any other exception is a fault of this program: it is not
        caught here, so that the event is delivered again and becomes a dead letter in the end.
        """
        if unwanted := self._unwanted(upload):
            return HandledUpload(status="ignored", reason=unwanted)
        progress = UploadProgress(upload=upload, now=self._now)
        try:
            plan = self._plan(progress)
            existing = self._inspect(plan)
            progress.repeated = existing.result is not None
            message = completed(existing.result or self._cut_out(plan, existing, progress))
        except RejectedUpload as error:
            message = self._failure(error, progress)
        return self._publish(message, progress)

    def give_up(self, upload: Upload) -> HandledUpload:
        """Publish the outcome of an upload that was delivered as often as its subscription allows.

        That is its result if one was stored after all, or the reason that can still be found, or `gave_up`.
        """
        if unwanted := self._unwanted(upload):
            return HandledUpload(status="ignored", reason=unwanted)
        progress = UploadProgress(upload=upload, now=self._now)
        try:
            existing = self._inspect(self._plan(progress))
            if existing.result is None:
                raise self._final_failure(progress.upload)
            progress.repeated = True
            message = completed(existing.result)
        except RejectedUpload as error:
            message = self._failure(error, progress)
        return self._publish(message, progress)

    def _unwanted(self, upload: Upload) -> str:
        """Why this object is not an upload for this service; empty if it is one."""
        buckets = self._settings.upload_buckets
        if buckets and upload.bucket not in buckets:
            return "its bucket is not in UPLOAD_BUCKETS"
        if not buckets and upload.bucket == self._settings.output_bucket:
            return "it is in the output bucket"
        if upload.bucket == self._settings.output_bucket and any(name.lower() == KEY for name in upload.metadata):
            return "it is a result of this service"
        if not upload.name.startswith(self._settings.upload_prefix):
            return "its name does not begin with UPLOAD_PREFIX"
        return "it is a folder's marker" if upload.name.endswith("/") else ""

    def _plan(self, progress: UploadProgress) -> Plan:
        """What is asked for. Fills in the upload and its plan, for the message that says how it ended."""
        upload = progress.upload = self._described(progress.upload)
        if any(name.lower() == KEY for name in upload.metadata):
            raise IsAResult("this object is a result of this service, copied back; its background is removed already")
        plan = progress.plan = plan_for(upload, self._settings, self._cutter.weights_sha256)
        return plan

    def _described(self, upload: Upload) -> Upload:
        """The upload with its size and metadata, which are asked for if the event did not carry them."""
        if not needs_look_up(upload):
            return upload
        try:
            return self._store.look_up(upload)
        except UploadMissing as error:
            raise self._why_missing(upload) from error

    def _inspect(self, plan: Plan) -> ExistingResult:
        """What is stored under the result's name. Superseded or OutputNameTaken if it may not be replaced."""
        found = self._store.find(plan.name)
        if found is None:
            return ExistingResult()
        if found.metadata.get(KEY) == plan.key:
            return ExistingResult(generation=found.generation, result=found)
        if found.metadata.get(SOURCE) != plan.upload.uri:
            raise OutputNameTaken(f"{found.uri} is not a result of this upload; nothing was overwritten")
        if _made_from(found) > plan.upload.generation:
            raise Superseded("a newer generation of this upload has its result already")
        return ExistingResult(generation=found.generation)

    def _cut_out(self, plan: Plan, existing: ExistingResult, progress: UploadProgress) -> StoredObject:
        """Download, decode, cut, encode, store."""
        image = self._decoded(plan.upload, progress)
        cutout = self._cut(image, plan.options, progress)
        with self._timed("encode", progress):
            encoded = encoding.encode(cutout, plan.options)
        metadata = result_metadata(plan.upload, plan.key, self._report(cutout, encoded, progress))
        with self._timed("upload", progress):
            return self._write(plan, existing, encoded, metadata)

    def _decoded(self, upload: Upload, progress: UploadProgress) -> SourceImage:
        with self._timed("download", progress):
            data = self._read(upload)
        with self._timed("decode", progress):
            image = decoding.decode(data, max_pixels=self._settings.max_pixels)
        progress.notes = image.notes
        progress.decoded = ImageInfo(
            content_type=image.content_type, bytes=len(data), width=image.width, height=image.height
        )
        return image

    def _read(self, upload: Upload) -> bytes:
        self._refuse_too_large(upload)
        try:
            return self._store.read(upload, max_bytes=self._settings.max_upload_bytes)
        except UploadMissing as error:
            raise self._why_missing(upload) from error

    def _refuse_too_large(self, upload: Upload) -> None:
        if upload.size > self._settings.max_upload_bytes:
            raise UploadTooLarge(f"{upload.size} bytes; at most {self._settings.max_upload_bytes} are taken")

    def _why_missing(self, upload: Upload) -> Exception:
        live = self._store.live_generation(upload.bucket, upload.name)
        if live == upload.generation:
            return StorageUnavailable(f"{upload.uri}#{upload.generation} is live and cannot be read")
        if live is not None:
            return Superseded("a newer generation of this upload exists; that one gets the cutout")
        return SourceGone("the upload was deleted before it could be read")

    def _cut(self, image: SourceImage, options: CutOptions, progress: UploadProgress) -> Cutout:
        """Run the network, unless the upload reaches it too late: then the event is delivered again.

        After the network the time budget does not count any more: the result is stored, and the next delivery finds it.
        """
        self._check_not_stopping()
        if self._now() - progress.started > self._settings.request_budget_s:
            raise Busy(f"the network was not reached within {self._settings.request_budget_s} s")
        cutout = self._cutter(image, options)
        progress.timings_ms |= {step: round(spent, 1) for step, spent in cutout.timings_ms.items()}
        return cutout

    def _report(self, cutout: Cutout, encoded: EncodedImage, progress: UploadProgress) -> Report:
        return Report(
            source=progress.decoded or ImageInfo(),
            output=ImageInfo(content_type=encoded.content_type, width=encoded.width, height=encoded.height),
            subject=cutout.subject,
            model=self._cutter.model,
            options=progress.options,
            notes={**progress.notes, **cutout.notes},
            timings_ms=dict(progress.timings_ms),
            started_ms=int(progress.started * 1000),
            encoded_ms=int(self._now() * 1000),
        )

    def _write(
        self, plan: Plan, existing: ExistingResult, encoded: EncodedImage, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store the result over what was seen. If that has changed, look again and decide again.

        A failed precondition may also be the success of this very write, if its answer was lost: the key says so.
        """
        for _ in range(WRITE_ATTEMPTS):
            try:
                return self._store.write(plan.name, encoded, metadata, if_generation_match=existing.generation)
            except PreconditionFailed:
                existing = self._inspect(plan)
            if existing.result:
                return existing.result
        raise StorageUnavailable(f"{plan.name} changed {WRITE_ATTEMPTS} times while its result was stored")

    def _final_failure(self, upload: Upload) -> Exception:
        self._refuse_too_large(upload)
        if self._store.live_generation(upload.bucket, upload.name) != upload.generation:
            return self._why_missing(upload)
        return GaveUp("it was delivered as often as the subscription allows, without success")

    def _failure(self, error: RejectedUpload, progress: UploadProgress) -> CompletionMessage:
        progress.detail = error.detail
        model, options = self._cutter.model, progress.options
        return failed(progress.upload, progress.key, error, decoded=progress.decoded, model=model, options=options)

    def _publish(self, message: CompletionMessage, progress: UploadProgress) -> HandledUpload:
        self._publisher.publish(message)
        return HandledUpload(
            status=message.status,
            code=message.code,
            reason=message.reason,
            detail=progress.detail,
            key=message.key,
            message=message,
            repeated=progress.repeated,
            timings_ms=progress.timings_ms | {"total": progress.spent_ms()},
        )

    def _timed(self, step: str, progress: UploadProgress) -> AbstractContextManager[None]:
        """Time one step. ShuttingDown if the instance is stopping."""
        self._check_not_stopping()
        return progress.timed(step)

    def _check_not_stopping(self) -> None:
        if self._stopping():
            raise ShuttingDown("this instance is stopping; the event goes to another one")


def _made_from(result: StoredObject) -> int:
    """The upload's generation that a result was made from; 0 if its metadata does not say."""
    text = result.metadata.get(SOURCE_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
