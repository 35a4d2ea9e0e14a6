"""What the `realesrgan` distribution itself makes of an image: the oracle of our enlarger.

Runs in a virtual environment of its own, which `make oracle` sets up:

    .venv-oracle/bin/python tests/realesrgan_oracle.py OUT.npz

The networks have the published architectures at a smaller width, filled by a rule, so that both sides make the same
weights. RealESRGANer pads with zeros at the image's border; the image is mirrored outward here first and cut
afterwards, as our enlarger does.
"""

import sys
import types
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

MARGIN = 32
FILTERS, BLOCKS, GROWTH, CONVOLUTIONS = 8, 1, 32, 4


def fill(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights that keep an image's range about, each drawn from its own key."""
    state = {}
    for key, shape in shapes.items():
        draw = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape)
        scale = (1.2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.02
        state[key] = torch.from_numpy((draw * scale).astype(np.float32))
    return state


def picture(height: int = 45, width: int = 62) -> np.ndarray:
    """uint8 HxWx3: waves, an edge and noise."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.Generator(np.random.PCG64(7)).normal(0, 12, (height, width, 3))
    waves = np.stack([np.sin(rows / 9 + c) * 60 + np.cos(columns / (5 + c)) * 50 for c in range(3)], -1)
    edge = np.where(columns > rows, 40, -40)[..., None]
    return np.clip(128 + waves + edge + noise, 0, 255).astype(np.uint8)


def networks() -> dict[str, Any]:
    """The published networks' classes, from the distributions that define them."""
    from torchvision.transforms import functional

    stand_in = types.ModuleType("torchvision.transforms.functional_tensor")
    stand_in.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules.setdefault(stand_in.__name__, stand_in)
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from realesrgan.archs.srvgg_arch import SRVGGNetCompact

    sizes = {"num_feat": FILTERS, "num_block": BLOCKS, "num_grow_ch": GROWTH}
    return {
        "x2plus": RRDBNet(num_in_ch=3, num_out_ch=3, scale=2, **sizes),
        "x4plus": RRDBNet(num_in_ch=3, num_out_ch=3, scale=4, **sizes),
        "general-x4v3": SRVGGNetCompact(num_feat=FILTERS, num_conv=CONVOLUTIONS, upscale=4),
    }


def main(out: Path) -> None:
    arrays: dict[str, np.ndarray] = {"picture": picture()}
    for name, network in networks().items():
        from realesrgan import RealESRGANer

        scale = 2 if name == "x2plus" else 4
        state = fill({key: tuple(value.shape) for key, value in network.state_dict().items()})
        checkpoint = out.parent / f"{name}.pth"
        torch.save({"params_ema": state}, checkpoint)
        oracle = RealESRGANer(scale=scale, model_path=str(checkpoint), model=network, tile=0, pre_pad=0, half=False)
        mirrored = np.pad(picture(), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
        enlarged, _ = oracle.enhance(np.ascontiguousarray(mirrored[:, :, ::-1]))
        cut = slice(MARGIN * scale, -MARGIN * scale)
        arrays[name] = np.ascontiguousarray(enlarged[cut, cut, ::-1])
        arrays[f"{name} keys"] = np.array([f"{key} {','.join(map(str, v.shape))}" for key, v in state.items()])
        checkpoint.unlink()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # its stubs take any keyword for allow_pickle


if __name__ == "__main__":
    main(Path(sys.argv[1]))
