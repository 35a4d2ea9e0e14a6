"""What enlarging a cutout costs, against the `realesrgan` distribution in its own environment (`make oracle`).

    python -m tests.benchmarks.enlarging [--side 384] [--blocks 2] [--threads 2]

The network is RealESRGAN_x2plus with fewer blocks and weights filled by a rule, the same on both sides. Both get the
same image with a subject in about a third of it. Times are processor seconds of all threads, the best of two runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ORACLE_PYTHON = ROOT / ".venv-oracle" / "bin" / "python"


def picture(side: int) -> np.ndarray:
    """A straight-alpha cutout, uint8 HxWx4: an ellipse of noise and waves."""
    rows, columns = np.mgrid[:side, :side] / side
    noise = np.random.default_rng(0).normal(0, 12, (side, side, 3))
    colour = 128 + 60 * np.sin(20 * rows + 9 * columns)[..., None] + noise
    distance = np.hypot((rows - 0.5) / 0.42, (columns - 0.5) / 0.25)
    alpha = np.clip((1 - distance) * side / 16, 0, 1) * 255
    return np.clip(np.dstack([colour, alpha]), 0, 255).astype(np.uint8)


def best(step: Any) -> float:
    """Processor seconds of the faster of two calls, after one that is not counted."""
    step()
    taken = []
    for _ in range(2):
        began = time.process_time()
        step()
        taken.append(time.process_time() - began)
    return min(taken)


def theirs(checkpoint: Path, side: int, blocks: int, threads: int) -> float:
    """In the distribution's environment: writes the checkpoint, times RealESRGANer on the opaque image."""
    import torch

    sys.path.insert(0, str(ROOT))
    from tests.realesrgan_oracle import fill, networks

    networks()  # makes the distribution importable beside today's torchvision
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from realesrgan import RealESRGANer

    torch.set_num_threads(threads)
    network = RRDBNet(num_in_ch=3, num_out_ch=3, scale=2, num_feat=64, num_block=blocks, num_grow_ch=32)
    torch.save({"params_ema": fill({k: tuple(v.shape) for k, v in network.state_dict().items()})}, checkpoint)
    enlarger = RealESRGANer(scale=2, model_path=str(checkpoint), model=network, tile=0, pre_pad=10, half=False)
    image = np.ascontiguousarray(picture(side)[:, :, 2::-1])
    return best(lambda: enlarger.enhance(image))


def ours(checkpoint: Path, side: int, threads: int) -> dict[str, float]:
    import torch

    from shared.models import realesrgan
    from shared.upscaling import enlarge_cutout

    torch.set_num_threads(threads)
    enlarger = realesrgan.load(str(checkpoint), folder=checkpoint.parent)
    cutout = picture(side)
    opaque = np.ascontiguousarray(cutout[:, :, :3])
    return {
        "the cutout": best(lambda: enlarge_cutout(cutout, enlarger.enlarge, scale=2)),
        "the opaque image": best(lambda: enlarger.enlarge(opaque, scale=2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.theirs:
        print(json.dumps(theirs(given.theirs, given.side, given.blocks, given.threads)))
        return
    if not ORACLE_PYTHON.exists():
        sys.exit("the distribution's environment is missing: make oracle")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "x2plus.pth"
        sizes = [f"--side={given.side}", f"--blocks={given.blocks}", f"--threads={given.threads}"]
        command = [str(ORACLE_PYTHON), __file__, f"--theirs={checkpoint}", *sizes]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        reference = float(told.splitlines()[-1])
        print(f"RealESRGANer, the whole image: {reference:.2f} s")
        for name, seconds in ours(checkpoint, given.side, given.threads).items():
            print(f"ours, {name}: {seconds:.2f} s\nratio enlarging {name.split()[-1]} {reference / seconds:.2f}")


if __name__ == "__main__":
    main()
