"""The published checkpoints: which bytes they are, and what has to be known to use them well."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

PatchOrder = Literal["current", "legacy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One file at one revision of a Hugging Face repository."""

    id: str
    revision: str  # commit
    sha256: str
    size: int  # bytes
    dtype: str  # of the stored numbers
    licence: str = "MIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Published):
    """A checkpoint of BiRefNet."""

    backbone: str
    image_size: tuple[int, int]  # width, height at inference, pixels
    patch_order: PatchOrder  # order of the image tiles when it was trained
    trained_on_alpha: bool  # not on binary masks: its mask is opacity and needs no contrast


VITMATTE = Published(
    id="hustvl/vitmatte-small-composition-1k",
    revision="6a58ad7646403c1df626fbd746900aec7361ea1d",
    sha256="bda9289db1bb6762d978b42d1c62ae3f34daf7497171a347a1d09657efd788cb",
    size=103_294_572,
    dtype="float32",
    licence="Apache-2.0",
)


CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType(
    {
        checkpoint.id: checkpoint
        for checkpoint in (
            Checkpoint(
                id="ZhengPeng7/BiRefNet",
                revision="e2bf8e4460fc8fa32bba5ea4d94b3233d367b0e4",
                sha256="9ab37426bf4de0567af6b5d21b16151357149139362e6e8992021b8ce356a154",
                size=444_473_596,
                dtype="float16",
                backbone="swin_v1_l",
                image_size=(1024, 1024),
                patch_order="legacy",
                trained_on_alpha=False,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet-portrait",
                revision="b6561965a70070d9143fd9e558f6ca3c481510db",
                sha256="4a4eb3a5469b75f0cccaec6772c22fc30e6c12ed429c2c0ba71b43e3d8d97182",
                size=884_878_856,
                dtype="float32",
                backbone="swin_v1_l",
                image_size=(1024, 1024),
                patch_order="legacy",
                trained_on_alpha=False,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet-matting",
                revision="eccde0a8cbdce7ac5fecfeb06340fe7b949e85d9",
                sha256="a9875de5b1e6c8eb5fdaa8c727a82927ce442cdc87ba3abee6a77e6fa46c25bb",
                size=884_878_856,
                dtype="float32",
                backbone="swin_v1_l",
                image_size=(1024, 1024),
                patch_order="legacy",
                trained_on_alpha=True,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet_HR",
                revision="a7a562f6fd16021180f2f4348f4de003a2d3d1e1",
                sha256="9d678bafec0b0019fbb073b7fd02f05ede25dc4b15254f23b2fb0be333200c0d",
                size=444_473_596,
                dtype="float16",
                backbone="swin_v1_l",
                image_size=(2048, 2048),
                patch_order="current",
                trained_on_alpha=False,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet_HR-matting",
                revision="5d6b6f8adcb5b417c871b1d84ceaae9871355b7f",
                sha256="a5a4de698739ea5e0e8bbab28e1b293dde95092b87a442d566cbc585c53cef55",
                size=444_473_596,
                dtype="float16",
                backbone="swin_v1_l",
                image_size=(2048, 2048),
                patch_order="current",
                trained_on_alpha=True,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet_dynamic",
                revision="280306042f57b7a33854319da62fd86aaa89ec4c",
                sha256="e3d2e4884e51ff30f0cd630edc6b1e41b06b7f23a0a2a5169f7b7cb33a711c2d",
                size=444_473_596,
                dtype="float16",
                backbone="swin_v1_l",
                image_size=(1024, 1024),  # any size from 256 to 2304
                patch_order="current",
                trained_on_alpha=False,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet_lite",
                revision="7838f1c3472f827cd8ce13ab5ccc2ce48077360f",
                sha256="4417d89795250e698c3cb0ae8df15743810065f646f48a694fdfa7ca052d0815",
                size=177_634_392,
                dtype="float32",
                backbone="swin_v1_t",
                image_size=(1024, 1024),
                patch_order="legacy",
                trained_on_alpha=False,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet_lite-2K",
                revision="67d658fa863b1e716c3854270645e68860007d0e",
                sha256="aa2e4a5af5eb3904694feb40f2b39ec5dd7cd9110906590cfeb982f09a46021d",
                size=177_634_392,
                dtype="float32",
                backbone="swin_v1_t",
                image_size=(2560, 1440),
                patch_order="legacy",
                trained_on_alpha=False,
            ),
            Checkpoint(
                id="ZhengPeng7/BiRefNet_lite-matting",
                revision="99c33412e3f58e1f33187abdc8c435c645243690",
                sha256="ce8bcfc045e336322c0424a5863dcfb7e9ce8fed0a5fd4d1b2b20adf12d97243",
                size=88_965_896,
                dtype="float16",
                backbone="swin_v1_t",
                image_size=(1024, 1024),
                patch_order="current",  # its training date leaves the other one possible
                trained_on_alpha=True,
            ),
        )
    }
)

KNOWN: Mapping[str, Published] = MappingProxyType({**CHECKPOINTS, VITMATTE.id: VITMATTE})
