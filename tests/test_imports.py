"""What the server must not import, because it would start later: each of these takes a tenth of a second or more."""

import os
import subprocess
import sys

SLOW = (
    "transformers",
    "torchvision",
    "spandrel",
    "triton",
    "scipy",
    "sympy",
    "matplotlib",
    "pandas",
    "numba",
    "skimage",
    "onnxruntime",
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.tensor",
    "shared.models.vitmatte",
    "shared.models.embedded.training",
)
SERVER = "import function.main, function.server, sys; print(*sys.modules)"
CUT = """
import os, sys
from function import wiring
from function.settings import Settings
settings = Settings.from_env(os.environ)
cutter = wiring.build_cutter(settings)
wiring.warm_up(cutter, settings.options)
cutter.stop()
print(*sys.modules)
"""


def modules_after(code: str) -> set[str]:
    wanted = {"OUTPUT_BUCKET": "out", "COMPLETION_TOPIC": "projects/project/topics/topic", "MODEL": "embedded"}
    environment = os.environ | wanted
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    return set(output.splitlines()[-1].split())


def test_the_server_imports_no_slow_package():
    assert modules_after(SERVER) & set(SLOW) == set()


def test_the_first_image_imports_no_slow_package_either():
    loaded = modules_after(CUT)
    assert "shared.models.birefnet.network" in loaded
    assert loaded & set(SLOW) == set()
