"""Builds cutter and handler from settings, with the real adapters. The server and the backfill use it."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from function.cloud import GcsObjectStore, PubSubPublisher
from function.handler import Handler
from function.making import ResultMaker
from function.settings import Settings
from shared import memory
from shared.cutter import Cutter, Refiner, Upscaler
from shared.decoder_pool import DecoderPool
from shared.errors import InvalidOptions, NoSubject, SettingsError
from shared.memory import MemoryBudget
from shared.models import birefnet, realesrgan
from shared.options import AlphaMatting, CutOptions, EsrganStage
from shared.records import ModelInfo, SourceImage

LOG = logging.getLogger(__name__)


def build_cutter(settings: Settings) -> Cutter:
    """Weights loaded, on their device. Raises SettingsError, WeightsError, GpuUnavailable."""
    if settings.require_gpu:
        if settings.device == "cpu":
            raise SettingsError("REQUIRE_GPU=true and DEVICE=cpu contradict each other")
        birefnet.require_gpu()
    segmenter = birefnet.load(
        settings.model,
        revision=settings.model_revision,
        folder=Path(settings.model_folder) if settings.model_folder else None,
        device="cuda" if settings.require_gpu else settings.device,
        dtype=settings.dtype,
        size=settings.birefnet_size,
        patch_order=settings.patch_order,
    )
    return Cutter(
        segmenter,
        upscaler=_upscaler(settings, segmenter.info),
        refiner=_refiner(settings, segmenter.info),
        esrgan_max_side=settings.esrgan_max_side,
        max_batch=settings.max_batch,
        max_wait_ms=settings.max_batch_wait_ms,
        max_queue=settings.max_queue,
    )


def upscaler_folder(settings: Settings) -> Path:
    """Where Real-ESRGAN's checkpoints are looked for and kept."""
    return Path(settings.model_folder or Path.home() / ".cache" / "cutdrop")


def _upscaler(settings: Settings, beside: ModelInfo) -> Upscaler | None:
    """The enlarging network: downloaded if every upload is enlarged, else loaded only if its file is there already."""
    folder = upscaler_folder(settings)
    if settings.options.esrgan_stage is EsrganStage.OFF and not realesrgan.is_here(settings.esrgan_model, folder):
        return None
    return realesrgan.load(settings.esrgan_model, folder=folder, device=beside.device, dtype=beside.dtype)


def _refiner(settings: Settings, beside: ModelInfo) -> Refiner | None:
    """The matting network, if every upload goes through it; single uploads cannot ask for it, because it is slow."""
    if settings.options.alpha_matting is not AlphaMatting.VITMATTE:
        return None
    from shared.models import vitmatte  # it imports transformers, which is slow

    return vitmatte.load(
        settings.vitmatte_model,
        revision=settings.vitmatte_revision,
        folder=Path(settings.model_folder) if settings.model_folder else None,
        device=beside.device,
        dtype=beside.dtype,
    )


def build_decoder(settings: Settings) -> DecoderPool:
    """Decoder processes, none of which is started yet."""
    processes = settings.decode_processes
    if processes is None:
        processes = min(settings.concurrency, len(os.sched_getaffinity(0)))
    return DecoderPool(processes, timeout_s=settings.decode_timeout_s)


def build_budget(decoder: DecoderPool) -> MemoryBudget:
    """What this container leaves for uploads beside all that this process holds now."""
    held = memory.held_memory() + decoder.processes * memory.DECODER_PROCESS + decoder.kept_memory
    limit = memory.memory_limit()
    budget = MemoryBudget(memory.budget_for_uploads(held=held, limit=limit))
    LOG.info(
        "memory: uploads share %.0f MB of %.0f MB; model, runtime and decoder processes hold %.0f MB",
        *(size / memory.MB for size in (budget.capacity, limit, held)),
    )
    return budget


def build_maker(settings: Settings, cutter: Cutter, decoder: DecoderPool) -> ResultMaker:
    """What turns bytes into results. Measures memory: build it last."""
    return ResultMaker(cutter, settings, decoder=decoder, budget=build_budget(decoder))


def build_handler(settings: Settings, maker: ResultMaker, *, stopping: Callable[[], bool]) -> Handler:
    """A handler on the real cloud, or on the emulators that the environment names."""
    return Handler(
        store=GcsObjectStore.connect(settings.output_bucket, concurrency=settings.concurrency),
        publisher=PubSubPublisher.connect(settings.completion_topic),
        maker=maker,
        settings=settings,
        stopping=stopping,
    )


def warm_up(cutter: Cutter, options: CutOptions) -> None:
    """Cut one image: a process's first kernels are slow, and wrong options show before any upload. SettingsError."""
    columns = np.arange(256) % 64 < 32
    board = np.where(columns[:, None] ^ columns[None, :], 255, 0).astype(np.uint8)
    try:
        cutter(SourceImage(rgb=np.dstack([board] * 3)), options)
    except NoSubject:
        return  # it went through the network all the same
    except InvalidOptions as error:
        raise SettingsError(str(error)) from error
