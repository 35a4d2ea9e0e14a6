"""The policy of one upload: what becomes of it, exactly once. Knows the cloud and the network only as `ports`.

Duplicates, late and reordered events, crashes and outages change nothing, by three rules: a result says which upload,
generation and options it was made from (its key); it is only written over what was seen before; and its message is
made from the stored result alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from function.last_failure import FOLDER as ATTEMPTS_FOLDER
from function.last_failure import LastFailures
from function.making import ResultMaker
from function.plan import Plan, PlannedOutput, plan_for
from function.ports import ObjectStore, Publisher
from function.progress import UploadProgress
from function.settings import Settings
from function.unstored import UnstoredResult, UnstoredResults
from shared import encoding
from shared.errors import (
    GaveUp,
    IsAResult,
    OutputNameTaken,
    PreconditionFailed,
    RejectedUpload,
    RetryLater,
    SourceGone,
    StorageUnavailable,
    Superseded,
    UploadMissing,
    UploadTooLarge,
)
from shared.events import needs_look_up
from shared.messages import completed, failed
from shared.records import EncodedImage, StoredObject, Upload
from shared.report import KEY, SOURCE, SOURCE_GENERATION, FurtherOutput, output_metadata, result_metadata
from shared.subscriber.message_types import REPLAYED_NOTE, CompletionMessage

OWN_FOLDERS = (ATTEMPTS_FOLDER, ".backfill/")  # under OUTPUT_PREFIX in the output bucket: this service's own notes
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
        maker: ResultMaker,
        settings: Settings,
        now: Callable[[], float] = time.time,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """now: Unix seconds. stopping: whether work in progress has to end before its next step."""
        self._store = store
        self._publisher = publisher
        self._maker = maker
        self._settings = settings
        self._now = now
        self._stopping = stopping
        self._unstored = UnstoredResults()
        self._failures = LastFailures(store, settings.output_prefix)

    def handle(self, upload: Upload) -> HandledUpload:
        """Make one upload's result or find out why there is none, and publish that.

        RetryLater if the same event may succeed later. Any other exception is a fault of this program: it is not
        caught here, so that the event is delivered again and becomes a dead letter in the end.
        """
        if unwanted := self._unwanted(upload):
            return HandledUpload(status="ignored", reason=unwanted)
        progress = self._progress(upload)
        try:
            plan = self._plan(progress)
            existing = self._inspect(plan, plan.name)
            progress.repeated = existing.result is not None
            message = completed(existing.result or self._cut_out(plan, existing, progress))
        except RejectedUpload as error:
            message = self._failure(error, progress)
        except Exception as error:
            self._failures.store(upload, error)
            raise
        return self._publish(message, progress)

    def give_up(self, upload: Upload) -> HandledUpload:
        """Publish the outcome of an upload that was delivered as often as its subscription allows.

        That is its result if one was stored after all, or the reason that can still be found, or `gave_up` with the
        last delivery's failure.
        """
        if unwanted := self._unwanted(upload):
            return HandledUpload(status="ignored", reason=unwanted)
        progress = self._progress(upload)
        try:
            plan = self._plan(progress)
            existing = self._inspect(plan, plan.name)
            if existing.result is None:
                raise self._final_failure(progress)
            progress.repeated = True
            message = completed(existing.result)
        except RejectedUpload as error:
            message = self._failure(error, progress)
        return self._publish(message, progress)

    def _progress(self, upload: Upload) -> UploadProgress:
        return UploadProgress(upload=upload, now=self._now, stopping=self._stopping)

    def _unwanted(self, upload: Upload) -> str:
        """Why this object is not an upload for this service; empty if it is one."""
        if not self._settings.takes_uploads_from(upload.bucket):
            return "UPLOAD_BUCKETS does not list its bucket, or results are written to it"
        if upload.bucket == self._settings.output_bucket and any(name.lower() == KEY for name in upload.metadata):
            return "it is a result of this service"
        own_folders = tuple(self._settings.output_prefix + folder for folder in OWN_FOLDERS)
        if upload.bucket == self._settings.output_bucket and upload.name.startswith(own_folders):
            return "it is a note of this service"
        if not upload.name.startswith(self._settings.upload_prefix):
            return "its name does not begin with UPLOAD_PREFIX"
        return "it is a folder's marker" if upload.name.endswith("/") else ""

    def _plan(self, progress: UploadProgress) -> Plan:
        """What is asked for. Fills in the upload and its plan, for the message that says how it ended."""
        upload = progress.upload = self._described(progress.upload)
        if any(name.lower() == KEY for name in upload.metadata):
            raise IsAResult("this object is a result of this service, copied back; its background is removed already")
        plan = progress.plan = plan_for(upload, self._settings, self._maker.cutter.weights_sha256)
        return plan

    def _described(self, upload: Upload) -> Upload:
        """The upload with its size and metadata, which are asked for if the event did not carry them."""
        if not needs_look_up(upload):
            return upload
        try:
            return self._store.look_up(upload)
        except UploadMissing as error:
            raise self._why_missing(upload) from error

    def _inspect(self, plan: Plan, name: str) -> ExistingResult:
        """What is stored under an output's name. Superseded or OutputNameTaken if it may not be replaced."""
        found = self._store.find(name)
        if found is None:
            return ExistingResult()
        if found.metadata.get(KEY) == plan.key:
            return ExistingResult(generation=found.generation, result=found)
        if found.metadata.get(SOURCE) != plan.upload.uri:
            raise OutputNameTaken(f"{found.uri} is not a result of this upload; nothing was overwritten")
        if _made_from(found) > plan.upload.generation:
            raise Superseded("a newer generation of this upload has its result already")
        return ExistingResult(generation=found.generation)

    def _cut_out(self, plan: Plan, primary: ExistingResult, progress: UploadProgress) -> StoredObject:
        """Make the result and store it. A result that cannot be stored now is kept for the next delivery."""
        # A name that is taken fails before any work.
        existing = [primary, *(self._inspect(plan, output.name) for output in plan.outputs[1:])]
        result = self._unstored.take(plan.key) or self._made(plan, progress)
        try:
            with progress.timed("upload"):
                return self._write_all(plan, result, existing)
        except RetryLater:
            self._unstored.put(plan.key, result)
            raise

    def _made(self, plan: Plan, progress: UploadProgress) -> UnstoredResult:
        with progress.timed("download"):
            data = self._read(plan.upload)
        return self._maker.make(data, plan, progress)

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

    def _write_all(self, plan: Plan, made: UnstoredResult, existing: Sequence[ExistingResult]) -> StoredObject:
        """Store every output, the primary one last: with it the set is complete, and its report names all of them."""
        further = []
        for output, image, seen in zip(plan.outputs[1:], made.images[1:], existing[1:], strict=True):
            stored = self._write(plan, output, image, output_metadata(plan.upload, plan.key, output.role), seen)
            further.append(
                FurtherOutput(
                    role=output.role,
                    suffix=encoding.suffix(output.options),
                    generation=str(stored.generation),
                    content_type=stored.content_type,
                    bytes=stored.size,
                    width=image.width,
                    height=image.height,
                    crc32c=stored.crc32c,
                )
            )
        report = replace(made.report, further=tuple(further))
        metadata = result_metadata(plan.upload, plan.key, report)
        return self._write(plan, plan.primary, made.images[0], metadata, existing[0])

    def _write(
        self,
        plan: Plan,
        output: PlannedOutput,
        image: EncodedImage,
        metadata: Mapping[str, str],
        existing: ExistingResult,
    ) -> StoredObject:
        """Store one output over what was seen. If that has changed, look again and decide again.

        A failed precondition may also be the success of this very write, if its answer was lost: the key says so.
        """
        for _ in range(WRITE_ATTEMPTS):
            if existing.result:
                return existing.result
            try:
                return self._store.write(output.name, image, metadata, if_generation_match=existing.generation)
            except PreconditionFailed:
                existing = self._inspect(plan, output.name)
        if existing.result:
            return existing.result
        raise StorageUnavailable(f"{output.name} changed {WRITE_ATTEMPTS} times while it was stored")

    def _final_failure(self, progress: UploadProgress) -> Exception:
        upload = progress.upload
        self._refuse_too_large(upload)
        if self._store.live_generation(upload.bucket, upload.name) != upload.generation:
            return self._why_missing(upload)
        reason = "it was delivered as often as the subscription allows, without success"
        if failure := self._failures.find(upload):
            progress.notes = {"last_code": failure.code, "last_reason": failure.reason}
            reason += f"; the last delivery ended with {failure.code}"
        return GaveUp(reason)

    def _failure(self, error: RejectedUpload, progress: UploadProgress) -> CompletionMessage:
        progress.detail = error.detail
        return failed(
            progress.upload,
            progress.key,
            error,
            decoded=progress.decoded,
            model=self._maker.cutter.model,
            options=progress.options,
            notes=progress.notes,
        )

    def _publish(self, message: CompletionMessage, progress: UploadProgress) -> HandledUpload:
        if progress.upload.replayed:
            message = replace(message, notes={**message.notes, REPLAYED_NOTE: progress.upload.replayed})
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


def _made_from(result: StoredObject) -> int:
    """The upload's generation that a result was made from; 0 if its metadata does not say."""
    text = result.metadata.get(SOURCE_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
