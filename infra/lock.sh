#!/usr/bin/env bash
# requirements.txt -> infra/requirements.lock: everything that the image installs, with hashes. Needs uv.
# PyTorch and what comes with it are left out: their build depends on the GPU's driver, and is chosen in the Dockerfile.
set -euo pipefail
cd "$(dirname "$0")/.."

{
  echo "# Made by infra/lock.sh from requirements.txt; do not edit."
  uv pip compile requirements.txt --quiet --generate-hashes --no-header --no-annotate \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 |
    awk '/^[^ ]/ { keep = !/^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/ } keep'
} > infra/requirements.lock.new
mv infra/requirements.lock.new infra/requirements.lock
