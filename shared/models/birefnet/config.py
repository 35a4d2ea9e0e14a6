"""Every size of the network. The defaults of a backbone's name are the published architecture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

STRIDE = 32  # height and width of the network's input are multiples of this
STAGES = 4
BLOCK_STAGES = 7  # of an EfficientNet
MAPS = (1, 2, 4, 6)  # those of them that end at strides 4, 8, 16 and 32
COLOURS = 3

_SIZES: dict[str, dict[str, Any]] = {
    "swin_v1_l": {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48), "window_size": 12},
    "swin_v1_t": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "window_size": 7},
    "pvt_v2_b0": {
        "embed_dims": (32, 64, 160, 256),
        "depths": (2, 2, 2, 2),
        "num_heads": (1, 2, 5, 8),
        "mlp_ratios": (8, 8, 4, 4),
        "sr_ratios": (8, 4, 2, 1),
    },
    "efficientnet_lite0": {"block_widths": (16, 24, 40, 80, 112, 192, 320), "block_depths": (1, 2, 2, 3, 3, 4, 1)},
    "efficientnet_lite1": {"block_widths": (16, 24, 40, 80, 112, 192, 320), "block_depths": (1, 3, 3, 4, 4, 5, 1)},
    "efficientnet_lite2": {"block_widths": (16, 24, 48, 88, 120, 208, 352), "block_depths": (1, 3, 3, 4, 4, 5, 1)},
}
BACKBONES = tuple(_SIZES)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation that weights are published for
_CENTRED = ((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128: the lite EfficientNets'


@dataclass(kw_only=True)
class BiRefNetConfig:
    """Sizes of a BiRefNet and its input's scale. What is left at None takes the published value of `backbone`.

    Raises ValueError for an unknown backbone and for sizes that do not fit together.
    """

    model_type: ClassVar[str] = "birefnet"

    backbone: str = "swin_v1_l"
    depths: Sequence[int] | None = None  # blocks per stage
    num_heads: Sequence[int] | None = None  # attention heads per stage
    embed_dim: int | None = None  # swin: channels of stage 0; each stage doubles them
    window_size: int | None = None  # swin: tokens on a window's side
    embed_dims: Sequence[int] | None = None  # pvt: channels per stage
    mlp_ratios: Sequence[int] | None = None  # pvt: hidden over outer width per stage
    sr_ratios: Sequence[int] | None = None  # pvt: shrink of keys and values, per axis, per stage
    block_widths: Sequence[int] | None = None  # efficientnet: channels of each of its seven stages
    block_depths: Sequence[int] | None = None  # efficientnet: blocks of each stage
    image_mean: Sequence[float] | None = None  # of the input's red, green and blue, in 0..1
    image_std: Sequence[float] | None = None
    decoder_channels: int = 64  # inside every decoder block and image block
    aspp_channels: int = 256  # of each ASPP branch
    aspp_kernels: Sequence[int] = (1, 3, 7)  # deformable kernels beside the fixed 1x1 branch
    gradient_channels: int = 16  # of the gradient attention
    image_size: Sequence[int] = (1024, 1024)  # width, height at inference, pixels
    patch_order: str = "current"  # order of the image tiles that the stored weights expect: auto, current or legacy

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BiRefNetConfig":
        """The fields among `values`, as `config.json` holds them; what else is in them is ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        """The contents of `config.json`."""
        return {"model_type": self.model_type, **asdict(self)}

    def __post_init__(self) -> None:
        if self.backbone not in _SIZES:
            raise ValueError(f"backbone is {self.backbone!r}; known: {', '.join(_SIZES)}")
        for name, value in _SIZES[self.backbone].items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        scale = _CENTRED if self.backbone.startswith("efficientnet") else _IMAGENET
        self.image_mean = self.image_mean or scale[0]
        self.image_std = self.image_std or scale[1]
        for field in fields(self):
            value = getattr(self, field.name)
            setattr(self, field.name, tuple(value) if isinstance(value, list) else value)
        self._check_sizes()
        self._check_scale()

    def _check_sizes(self) -> None:
        for name in ("depths", "num_heads", "embed_dims", "mlp_ratios", "sr_ratios"):
            value = getattr(self, name)
            if value is not None and len(value) != STAGES:
                raise ValueError(f"{name} is {value}; expected {STAGES} numbers, one per stage")
        for name in ("block_widths", "block_depths"):
            value = getattr(self, name)
            if value is not None and (len(value) != BLOCK_STAGES or min(value) < 1):
                raise ValueError(f"{name} is {value}; expected {BLOCK_STAGES} positive numbers, one per stage")
        for width, heads in zip(self.widths, self.num_heads or (1,) * STAGES, strict=True):
            if width % heads or width < 4:
                raise ValueError(f"a stage of {width} channels cannot have {heads} heads (at least 4 channels)")
        if any(kernel % 2 == 0 for kernel in self.aspp_kernels):
            raise ValueError(f"aspp_kernels is {self.aspp_kernels}; kernels are odd")
        if len(self.image_size) != 2 or any(side < STRIDE or side % STRIDE for side in self.image_size):
            raise ValueError(f"image_size is {self.image_size}; expected width and height, multiples of {STRIDE}")
        if self.patch_order not in ("auto", "current", "legacy"):
            raise ValueError(f"patch_order is {self.patch_order!r}; known: auto, current, legacy")

    def _check_scale(self) -> None:
        for name in ("image_mean", "image_std"):
            value = getattr(self, name)
            if len(value) != COLOURS:
                raise ValueError(f"{name} is {value}; expected one number per colour")
        if min(self.image_std or ()) <= 0:
            raise ValueError(f"image_std is {self.image_std}; expected positive numbers")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the backbone's four outputs, finest first."""
        if self.block_widths is not None:
            return tuple(self.block_widths[stage] for stage in MAPS)
        if self.embed_dims is not None:
            return tuple(self.embed_dims)
        return tuple((self.embed_dim or 0) * 2**stage for stage in range(STAGES))


def published_sizes(backbone: str) -> dict[str, Any]:
    """The backbone's sizes by the names of the configuration's fields."""
    return dict(_SIZES[backbone])
