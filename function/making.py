"""Bytes of an upload -> its result: decode, cut, encode. Each step is timed, and none begins while stopping."""

import sys

from function.plan import Plan
from function.ports import ImageCutter, ImageDecoder
from function.progress import UploadProgress
from function.settings import Settings
from function.unstored import UnstoredResult
from shared import decoding, encoding, memory, rendition
from shared.context import trace_of, uploader_metadata
from shared.decoder_pool import DecoderPool
from shared.errors import Busy
from shared.memory import MemoryBudget
from shared.options import CutOptions, EsrganStage
from shared.records import Cutout, EncodedImage, SourceImage
from shared.report import ImageInfo, Report


class ResultMaker:
    """Makes results, from any number of threads."""

    def __init__(
        self,
        cutter: ImageCutter,
        settings: Settings,
        *,
        decoder: ImageDecoder | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        """decoder: None = in this process. budget: memory that all uploads in work share; None = unlimited."""
        self.cutter = cutter
        self._settings = settings
        self._decoder = decoder or DecoderPool(processes=0)
        self._budget = budget or MemoryBudget(sys.maxsize)

    def make(self, data: bytes, plan: Plan, progress: UploadProgress) -> UnstoredResult:
        """All outputs of an upload's bytes, from one pass of the network, with the report that is stored with them.

        RejectedUpload if there is none; Busy, ShuttingDown and what the networks raise if it may succeed later.
        """
        inspected = decoding.inspect(data, max_pixels=self._settings.max_pixels)
        needed = memory.upload_bytes(inspected, len(data), scale=_enlargement(plan.options))
        with self._budget.reserved(needed):
            return self._made(data, memory.decoding_bytes(inspected, len(data)), plan, progress)

    def _made(self, data: bytes, decoding_bytes: int, plan: Plan, progress: UploadProgress) -> UnstoredResult:
        image = self._decoded(data, decoding_bytes, progress)
        cutout = self._cut(image, plan.options, progress)
        with progress.timed("encode"):
            rendered = [rendition.render(cutout, output.options) for output in plan.outputs]
            images = tuple(
                encoding.encode(one, output.options) for one, output in zip(rendered, plan.outputs, strict=True)
            )
        return UnstoredResult(images, self._report(rendered[0], images[0], progress))

    def _decoded(self, data: bytes, decoding_bytes: int, progress: UploadProgress) -> SourceImage:
        with progress.timed("decode"):
            image = self._decoder(data, max_pixels=self._settings.max_pixels, memory=decoding_bytes)
        progress.notes = image.notes
        progress.decoded = ImageInfo(
            content_type=image.content_type, bytes=len(data), width=image.width, height=image.height
        )
        return image

    def _cut(self, image: SourceImage, options: CutOptions, progress: UploadProgress) -> Cutout:
        """Run the network, unless the upload reaches it too late: then the event is delivered again.

        After the network the time budget does not count any more: the result is stored, and the next delivery finds it.
        """
        progress.check_not_stopping()
        if progress.now() - progress.started > self._settings.request_budget_s:
            raise Busy(f"the network was not reached within {self._settings.request_budget_s} s")
        cutout = self.cutter.cut(image, options)
        progress.timings_ms |= {step: round(spent, 1) for step, spent in cutout.timings_ms.items()}
        return cutout

    def _report(self, cutout: Cutout, encoded: EncodedImage, progress: UploadProgress) -> Report:
        return Report(
            source=progress.decoded or ImageInfo(),
            output=ImageInfo(content_type=encoded.content_type, width=encoded.width, height=encoded.height),
            subject=cutout.subject,
            review=0 < cutout.subject.confidence < self._settings.review_below,
            model=self.cutter.model,
            options=progress.options,
            notes={**progress.notes, **cutout.notes},
            timings_ms=dict(progress.timings_ms),
            started_ms=int(progress.started * 1000),
            encoded_ms=int(progress.now() * 1000),
            metadata=uploader_metadata(progress.upload),
            trace=trace_of(progress.upload),
        )


def _enlargement(options: CutOptions) -> int:
    """How many times wider and higher than the upload the cutout becomes."""
    return 1 if options.esrgan_stage is EsrganStage.OFF else options.esrgan_scale
