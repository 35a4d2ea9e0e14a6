#!/usr/bin/env bash
# requirements.txt -> infra/requirements.lock: everything that the image installs, with hashes. Needs uv.
#
#   infra/lock.sh
#   infra/lock.sh cu126 [INDEX]     infra/torch-cu126.lock: PyTorch and what comes with it, from PyTorch's package index
#
# PyTorch's build depends on the GPU's driver, so it has a lock for each CUDA version; commit that of the version in use.
set -euo pipefail
cd "$(dirname "$0")/.."

torch='^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)=='

# Reads requirements; prints the pins, with hashes, whose names match (or do not: !) the expression.
pins() {
  uv pip compile - --quiet --generate-hashes --no-header --no-annotate \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 "${@:3}" |
    awk -v names="$1" -v wanted="$2" '/^[^ ]/ { keep = ($0 ~ names) == wanted } keep'
}

if [[ $# -eq 0 ]]; then
  lock=infra/requirements.lock
  {
    echo "# Made by infra/lock.sh from requirements.txt; do not edit."
    pins "$torch" 0 < requirements.txt
  } > "$lock.new"
else
  cuda=$1 index=${2:-https://download.pytorch.org/whl/$1}
  lock=infra/torch-$cuda.lock
  {
    echo "# Made by infra/lock.sh $cuda from requirements.txt and PyTorch's package index; do not edit."
    sed -nE "s/^(torch|torchvision)==.*/&+$cuda/p" requirements.txt | pins "$torch" 1 --default-index "$index"
  } > "$lock.new"
fi
mv "$lock.new" "$lock"
