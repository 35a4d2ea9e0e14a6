"""The story of one upload: policy, idempotency, timings. Knows neither cloud nor network, only its ports.

Duplicates, late and reordered events, crashes and outages change nothing, by three rules: a result says which upload,
generation and options it was made from (its key); it is only ever written over what was seen; and a message is rebuilt
from the stored result alone.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from function.plan import Plan, plan_for
from function.progress import UploadProgress
from function.settings import Settings
from shared import decoding
from shared.errors import (
    Busy,
    GaveUp,
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
from shared.records import Cutout, EncodedImage, ModelInfo, SourceImage, StoredObject, Upload
from shared.report import KEY, SOURCE, SOURCE_GENERATION, ImageInfo, Report, result_metadata

WRITE_ATTEMPTS = 4  # each lost one means that another delivery stored something meanwhile


class ObjectStore(Protocol):
    """Cloud Storage as this service needs it. Every method may raise StorageUnavailable."""

    def read(self, upload: Upload, *, max_bytes: int) -> bytes:
        """All bytes of exactly this generation. UploadMissing where it is gone, UploadTooLarge above max_bytes."""

    def look_up(self, upload: Upload) -> Upload:
        """The same generation with size, content type and metadata filled in. UploadMissing where it is gone."""

    def live_generation(self, bucket: str, name: str) -> int | None:
        """The generation that lives under this name now; None where there is none."""

    def find(self, name: str) -> StoredObject | None:
        """What the output bucket holds under this name; None where nothing."""

    def write(
        self, name: str, image: EncodedImage, metadata: Mapping[str, str], *, if_generation_match: int
    ) -> StoredObject:
        """Store a result over exactly the generation that was seen (0 = none). PreconditionFailed on any other."""


class Publisher(Protocol):
    """The completion topic."""

    def publish(self, message: CompletionMessage) -> None:
        """Return only when the topic has taken the message. PublisherUnavailable otherwise."""


class Cutter(Protocol):
    """SourceImage to Cutout."""

    @property
    def model(self) -> ModelInfo: ...

    def weights_sha256(self, options: CutOptions) -> str:
        """Hash over every checkpoint that these options run."""

    def __call__(self, image: SourceImage, options: CutOptions) -> Cutout: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HandledUpload:
    """What one delivery of an event came to, for the log."""

    status: str  # "completed" | "failed" | "ignored"
    code: str = ""  # of a failure
    reason: str = ""  # of a failure, or why the event was ignored
    key: str = ""
    message: CompletionMessage | None = None  # as published; None where ignored
    repeated: bool = False  # the result was there already
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # of this delivery, per step and in all


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingResult:
    """What lives under a result's name, seen from one upload."""

    generation: int = 0  # 0 = nothing
    result: StoredObject | None = None  # set where it is this upload's own result, by an earlier delivery


class Handler:
    """Takes uploads, one call each, from any number of threads."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        publisher: Publisher,
        cutter: Cutter,
        settings: Settings,
        now: Callable[[], float] = time.time,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """now: Unix seconds. stopping: whether work under way has to end before its next step."""
        self._store = store
        self._publisher = publisher
        self._cutter = cutter
        self._settings = settings
        self._now = now
        self._stopping = stopping

    def handle(self, upload: Upload) -> HandledUpload:
        """Bring one upload to its outcome and announce it.

        RetryLater where the same event may succeed later. Any other exception is a fault of ours: it is not caught
        here, so that the event is delivered again and dead-lettered in the end.
        """
        return self._settle(upload, self._cut_out)

    def give_up(self, upload: Upload) -> HandledUpload:
        """Announce the outcome of an upload that was delivered as often as its subscription allows.

        That is its result, where one was stored after all, or the reason that can still be found, or `gave_up`.
        """
        return self._settle(upload, self._final_failure)

    def _settle(
        self, upload: Upload, finish: Callable[[Plan, ExistingResult, UploadProgress], StoredObject]
    ) -> HandledUpload:
        if unwanted := self._unwanted(upload):
            return HandledUpload(status="ignored", reason=unwanted)
        progress = UploadProgress(upload=upload, now=self._now)
        try:
            progress.upload = self._described(upload)
            if any(name.lower() == KEY for name in progress.upload.metadata):
                return HandledUpload(status="ignored", reason="it is a result of this service")
            message = completed(self._result(progress, finish))
        except RejectedUpload as error:
            message = self._failure(progress, error)
        self._publisher.publish(message)
        return self._outcome(progress, message)

    def _result(
        self, progress: UploadProgress, finish: Callable[[Plan, ExistingResult, UploadProgress], StoredObject]
    ) -> StoredObject:
        plan = progress.plan = plan_for(progress.upload, self._settings, self._cutter.weights_sha256)
        existing = self._inspect(plan)
        progress.repeated = existing.result is not None
        return existing.result or finish(plan, existing, progress)

    def _unwanted(self, upload: Upload) -> str:
        """Why this object is none of our uploads; empty where it is one."""
        buckets = self._settings.upload_buckets
        if buckets and upload.bucket not in buckets:
            return "its bucket is not in UPLOAD_BUCKETS"
        if not buckets and upload.bucket == self._settings.output_bucket:
            return "it lies in the output bucket"
        if not upload.name.startswith(self._settings.upload_prefix):
            return "its name does not begin with UPLOAD_PREFIX"
        return "it is a folder's marker" if upload.name.endswith("/") else ""

    def _described(self, upload: Upload) -> Upload:
        """The upload with its size and metadata, asked for where the event did not carry them."""
        if not needs_look_up(upload):
            return upload
        try:
            return self._store.look_up(upload)
        except UploadMissing as error:
            raise self._why_missing(upload) from error

    def _inspect(self, plan: Plan) -> ExistingResult:
        """Look at the result's name and decide: ours already, ours to write, or a reason to reject."""
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
        image = self._decoded(plan.upload, progress)
        cutout = self._cut(image, plan.options, progress)
        with self._timed("encode", progress):
            encoded = decoding.encode(cutout, plan.options)
        metadata = result_metadata(plan.upload, plan.key, self._report(cutout, encoded, progress))
        with self._timed("upload", progress):
            return self._write(plan, existing, encoded, metadata)

    def _decoded(self, upload: Upload, progress: UploadProgress) -> SourceImage:
        with self._timed("download", progress):
            data = self._read(upload)
        with self._timed("decode", progress):
            image = decoding.decode(data, max_pixels=self._settings.max_pixels)
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
            return StorageUnavailable(f"{upload.uri}#{upload.generation} lives and cannot be read")
        if live is not None and live > upload.generation:
            return Superseded("a newer generation of this upload exists; that one gets the cutout")
        return SourceGone("the upload was deleted before it could be read")

    def _cut(self, image: SourceImage, options: CutOptions, progress: UploadProgress) -> Cutout:
        """The network's turn. An upload that comes to it too late gives its slot to others.

        Afterwards the budget counts no more: a cutout that exists is stored, so that the next delivery finds it.
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
            notes=cutout.notes,
            timings_ms=dict(progress.timings_ms),
            started_ms=int(progress.started * 1000),
            encoded_ms=int(self._now() * 1000),
        )

    def _write(
        self, plan: Plan, existing: ExistingResult, encoded: EncodedImage, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store the result over what was seen. Where that has changed, look again and decide again.

        A 412 may also be our own success whose answer was lost: then the key says so.
        """
        for _ in range(WRITE_ATTEMPTS):
            try:
                return self._store.write(plan.name, encoded, metadata, if_generation_match=existing.generation)
            except PreconditionFailed:
                existing = self._inspect(plan)
            if existing.result:
                return existing.result
        raise StorageUnavailable(f"{plan.name} changed {WRITE_ATTEMPTS} times while its result was stored")

    def _final_failure(self, plan: Plan, existing: ExistingResult, progress: UploadProgress) -> StoredObject:
        upload = plan.upload
        self._refuse_too_large(upload)
        if self._store.live_generation(upload.bucket, upload.name) != upload.generation:
            raise self._why_missing(upload)
        raise GaveUp("it was delivered as often as the subscription allows, without success")

    def _failure(self, progress: UploadProgress, error: RejectedUpload) -> CompletionMessage:
        model, options = self._cutter.model, progress.options
        return failed(progress.upload, progress.key, error, decoded=progress.decoded, model=model, options=options)

    def _outcome(self, progress: UploadProgress, message: CompletionMessage) -> HandledUpload:
        return HandledUpload(
            status=message.status,
            code=message.code,
            reason=message.reason,
            key=message.key,
            message=message,
            repeated=progress.repeated,
            timings_ms=progress.timings_ms | {"total": progress.spent_ms()},
        )

    def _timed(self, step: str, progress: UploadProgress) -> AbstractContextManager[None]:
        """Time one step, unless the instance is stopping: then ShuttingDown."""
        self._check_not_stopping()
        return progress.timed(step)

    def _check_not_stopping(self) -> None:
        if self._stopping():
            raise ShuttingDown("this instance is stopping; the event goes to another one")


def _made_from(result: StoredObject) -> int:
    """The upload's generation that a result was made from; 0 where its metadata does not say."""
    text = result.metadata.get(SOURCE_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
