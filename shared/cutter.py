"""SourceImage to Cutout: segment, matte, foreground colours, [upscale], rendition."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from shared import colour, enhancement, foreground, rendition
from shared.batching import MicroBatcher
from shared.confidence import confidence
from shared.errors import InvalidOptions
from shared.local_colours import LocalColours
from shared.matting import refine_alpha
from shared.models import scaling
from shared.options import AlphaMatting, CutOptions, Denoise, EsrganStage, ExistingAlpha, MaskPreset
from shared.records import Cutout, ModelInfo, SourceImage, Subject
from shared.subject import measure
from shared.transparency import on_contrasting_ground, without_own_edges
from shared.upscaling import enlarge_cutout

NLM_STRENGTH = 5.0  # levels of 255, for lightness and colour alike

log = logging.getLogger(__name__)


class Segmenter(Protocol):
    """A network that finds the subject."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its input, pixels."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def trained_on_alpha(self) -> bool:
        """Whether the checkpoint was trained on alpha (not on binary masks): its mask is opacity already."""

    def __call__(self, batch: Sequence[NDArray[np.uint8]], /) -> Sequence[NDArray[np.float32]]:
        """Images of that size in sRGB, uint8 HxWx3 -> the probability of subject for each, float32 HxW, 0..1."""


class Upscaler(Protocol):
    """A super-resolution network."""

    sha256: str

    def enlarge(
        self, rgb: NDArray[np.uint8], /, *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """An opaque image, uint8 HxWx3, `scale` times wider and higher; only what is near `wanted` pixels is needed."""


class Refiner(Protocol):
    """A matting network."""

    sha256: str

    def __call__(self, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """An image, uint8 HxWx3, and its alpha, uint8 HxW -> refined alpha, uint8 HxW."""


@dataclass(slots=True)
class _Report:
    """Timings and notes of one image."""

    timings_ms: dict[str, float] = field(default_factory=lambda: {"segment": 0.0, "matte": 0.0, "upscale": 0.0})
    notes: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings_ms[step] = (time.perf_counter() - started) * 1000


class Cutter:
    """Cuts subjects out. Thread-safe: images of several threads go through the network in batches."""

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        upscaler: Upscaler | None = None,
        refiner: Refiner | None = None,
        esrgan_max_side: int = 3000,
        max_batch: int = 1,
        max_wait_ms: float = 5.0,
        max_queue: int = 64,
    ) -> None:
        """esrgan_max_side: pixels; above it nothing is enlarged or denoised. The rest as in MicroBatcher."""
        self._segmenter = segmenter
        self._upscaler = upscaler
        self._refiner = refiner
        self._max_side = esrgan_max_side
        self._segment = MicroBatcher[NDArray[np.uint8], NDArray[np.float32]](
            segmenter, max_batch=max_batch, max_wait_ms=max_wait_ms, max_queue=max_queue
        )

    @property
    def model(self) -> ModelInfo:
        return self._segmenter.info

    def weights_sha256(self, options: CutOptions) -> str:
        """Hash over every checkpoint that these options run. Raises InvalidOptions if one is not loaded."""
        used = [self._segmenter.info.sha256]
        if upscaler := self._upscaler_for(options):
            used.append(upscaler.sha256)
        if refiner := self._refiner_for(options):
            used.append(refiner.sha256)
        return used[0] if len(used) == 1 else hashlib.sha256(" ".join(used).encode()).hexdigest()

    def stop(self) -> None:
        """Refuse images that have not reached the network (ShuttingDown); return when the running batch is done."""
        self._segment.stop()

    def __call__(self, image: SourceImage, options: CutOptions) -> Cutout:
        """The result of one image, by the options: `cut`, then `rendition.render`; raises what they raise."""
        return rendition.render(self.cut(image, options), options)

    def cut(self, image: SourceImage, options: CutOptions) -> Cutout:
        """The subject of one image, at its place: what every output of it is made from. Its box is in pixels.

        Raises NoSubject, InvalidOptions (a network that is not loaded is asked for), Busy, ShuttingDown, NetworkFailed,
        and what the networks raise (OutOfGpuMemory).
        """
        self._check_networks(options)
        report = _Report()
        if image.alpha is not None and options.existing_alpha is ExistingAlpha.KEEP:
            with report.timed("matte"):
                rgba = foreground.with_own_colours(image.rgb, image.alpha)
                subject = measure(image.alpha, present=1)
        else:
            rgba, subject = self._cut_out(image, options, report)
        with report.timed("upscale"):
            rgba, scale = self._enlarged(rgba, options, report)
        return Cutout(
            rgba=rgba,
            subject=replace(subject, box=_scaled(subject.box, scale)),
            icc_profile=image.icc_profile,
            timings_ms=report.timings_ms,
            notes=report.notes,
        )

    def _cut_out(self, image: SourceImage, options: CutOptions, report: _Report) -> tuple[NDArray[np.uint8], Subject]:
        """The cutout at the upload's size, and its subject."""
        seen = image.rgb if image.alpha is None else on_contrasting_ground(image.rgb, image.alpha)
        with report.timed("segment"):
            probability = self._segment(self._network_input(seen, image.icc_profile, options, report))
        with report.timed("matte"):
            matte, colours = self._alpha(seen, probability, options)
            if image.alpha is not None:
                matte, colours = without_own_edges(matte, image.alpha), None
            if options.refine_foreground:
                colours = colours or LocalColours.estimate(image.rgb, matte)
                rgba = foreground.estimate_foreground(image.rgb, matte, colours)
            else:
                rgba = foreground.with_own_colours(image.rgb, matte)
            if image.alpha is not None:
                rgba = foreground.multiply_alpha(rgba, image.alpha)
            result = None if image.alpha is None else cv2.extractChannel(rgba, 3)
            subject = measure(matte, result)
        return rgba, replace(subject, confidence=confidence(probability))

    def _check_networks(self, options: CutOptions) -> None:
        """Raises InvalidOptions if the options ask for a network that is not loaded."""
        self._upscaler_for(options)
        self._refiner_for(options)

    def _network_input(
        self, rgb: NDArray[np.uint8], icc_profile: bytes, options: CutOptions, report: _Report
    ) -> NDArray[np.uint8]:
        """The image at the network's size: uint8, HxWx3, sRGB."""
        upscaler = self._upscaler_for(options)
        too_large = self._too_large(rgb)
        if upscaler and options.esrgan_stage is EsrganStage.BEFORE:
            if too_large:
                report.notes["upscale"] = too_large
            else:
                log.warning(
                    "esrgan_stage=before adds halos and invented texture to what the network sees: measure only"
                )
                rgb = upscaler.enlarge(rgb, scale=options.esrgan_scale)
        small = colour.to_srgb(scaling.to_network(rgb, self._segmenter.size), icc_profile)
        if options.denoise is not Denoise.NLM:
            return small
        if too_large:
            report.notes["denoise"] = too_large
            return small
        log.warning("denoise=nlm smooths what the network sees: measure only")
        return _denoised(small)

    def _alpha(
        self, rgb: NDArray[np.uint8], probability: NDArray[np.float32], options: CutOptions
    ) -> tuple[NDArray[np.uint8], LocalColours | None]:
        """Alpha, and the local colours by it if the refinement found them."""
        size = (rgb.shape[1], rgb.shape[0])
        opacity = enhancement.enhance(probability, options, self._preset(options))
        alpha = scaling.to_image(opacity, size)
        if options.alpha_matting is AlphaMatting.OFF:
            return alpha, None
        unknown = scaling.to_image(enhancement.unknown_band(opacity, probability, options), size)
        if refiner := self._refiner_for(options):
            return refiner(rgb, unknown), None
        colours = LocalColours.estimate(rgb, unknown)
        alpha = refine_alpha(rgb, alpha, unknown, colours)
        return alpha, colours.updated(alpha)

    def _enlarged(self, rgba: NDArray[np.uint8], options: CutOptions, report: _Report) -> tuple[NDArray[np.uint8], int]:
        """The cutout, and how many times wider and higher it became."""
        upscaler = self._upscaler_for(options)
        if upscaler is None or options.esrgan_stage is not EsrganStage.AFTER:
            return rgba, 1
        if too_large := self._too_large(rgba):
            report.notes["upscale"] = too_large
            return rgba, 1
        return enlarge_cutout(rgba, upscaler.enlarge, scale=options.esrgan_scale), options.esrgan_scale

    def _preset(self, options: CutOptions) -> MaskPreset:
        if options.mask_preset is not MaskPreset.AUTO:
            return options.mask_preset
        return MaskPreset.SOFT if self._segmenter.trained_on_alpha else MaskPreset.STANDARD

    def _upscaler_for(self, options: CutOptions) -> Upscaler | None:
        if options.esrgan_stage is EsrganStage.OFF:
            return None
        if self._upscaler is None:
            raise InvalidOptions(
                f"esrgan_stage={options.esrgan_stage} needs Real-ESRGAN, which this service has not loaded; "
                "ESRGAN_STAGE=after loads it, or its checkpoint in MODEL_FOLDER (build argument ESRGAN_MODEL)"
            )
        return self._upscaler

    def _refiner_for(self, options: CutOptions) -> Refiner | None:
        if options.alpha_matting is not AlphaMatting.VITMATTE:
            return None
        if self._refiner is None:
            raise InvalidOptions(
                "alpha_matting=vitmatte needs ViTMatte, which this service has not loaded; the setting "
                "ALPHA_MATTING=vitmatte loads it (build argument VITMATTE_MODEL)"
            )
        return self._refiner

    def _too_large(self, pixels: NDArray[np.uint8]) -> str:
        """The note about a step that is skipped because the image is too large for it; empty if it is not."""
        side = max(pixels.shape[:2])
        if side <= self._max_side:
            return ""
        return f"skipped: {side} pixels is more than the {self._max_side} that this service enlarges"


def _scaled(box: tuple[int, int, int, int], times: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return (left * times, top * times, right * times, bottom * times)


def _denoised(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    bgr = np.ascontiguousarray(rgb[..., ::-1])  # the order in which OpenCV separates lightness from colour
    quiet = cv2.fastNlMeansDenoisingColored(bgr, None, NLM_STRENGTH, NLM_STRENGTH, 7, 21)
    return np.ascontiguousarray(quiet[..., ::-1])
