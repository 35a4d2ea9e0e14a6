# The server with its weights: nothing is installed or downloaded when an instance starts.
#
#   docker build --build-arg TORCH_INDEX_URL=... [--build-arg CUDA=cu130] [--build-arg MODEL=...] -t cutdrop .
#
# CUDA must not be newer than the GPU's driver: cu126 for Cloud Run's L4, cu130 for its RTX PRO 6000.
# TORCH_INDEX_URL is PyTorch's own package index for that CUDA version; its installation page names it.

# checkov:skip=CKV_DOCKER_7: pinned by digest, in the argument
# checkov:skip=CKV_DOCKER_2: Cloud Run has probes of its own and never runs a HEALTHCHECK
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
ARG MODEL=ZhengPeng7/BiRefNet-portrait
ARG MODEL_REVISION=
ARG ESRGAN_MODEL=RealESRGAN_x2plus.pth
# Of ALPHA_MATTING=vitmatte; empty = not in the image. hustvl/vitmatte-small-composition-1k is the service's default.
ARG VITMATTE_MODEL=
ARG VITMATTE_REVISION=
# A known checkpoint is kept in this precision only: half the size, read in half the time. DTYPE must fit: auto on a GPU
# is float16. Empty = as published, which a CPU needs as well.
ARG WEIGHTS_DTYPE=float16

# ---- packages
FROM ${PYTHON_IMAGE} AS packages
ARG TORCH_INDEX_URL
ARG CUDA=cu126
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements.txt infra/requirements.lock infra/torch-*.lock ./

# --no-deps: the lock is complete but for torch, which spandrel asks for and which comes next.
RUN python -m venv /opt/venv && pip install --require-hashes --no-deps --requirement requirements.lock

# By hash if infra/lock.sh has made torch-CUDA.lock. The +cu126 makes the build fail, rather than the GPU stay idle, if the
# index holds another CUDA version.
RUN test -n "${TORCH_INDEX_URL}" || { echo "TORCH_INDEX_URL is missing: see the first lines of the Dockerfile" >&2; exit 1; }
RUN sed -nE "s/^(torch|torchvision)==.*/&+${CUDA}/p" requirements.txt > torch.txt \
    && if test -f "torch-${CUDA}.lock"; \
       then pip install --index-url "${TORCH_INDEX_URL}" --require-hashes --no-deps --requirement "torch-${CUDA}.lock"; \
       else echo "WARNING: no infra/torch-${CUDA}.lock: PyTorch's wheels are not checked by hash, see infra/lock.sh" >&2; \
            pip install --index-url "${TORCH_INDEX_URL}" --requirement torch.txt; fi \
    && pip freeze --all | grep -Fxf torch.txt | wc -l | grep -qx 2 \
    && pip check

# ---- weights; only what fetches them is copied, so that a change of code does not fetch them again
FROM packages AS weights
ARG MODEL MODEL_REVISION ESRGAN_MODEL VITMATTE_MODEL VITMATTE_REVISION WEIGHTS_DTYPE
COPY shared/__init__.py shared/errors.py shared/
COPY shared/models/__init__.py shared/models/checkpoints.py shared/models/device.py shared/models/limits.py shared/models/realesrgan.py shared/models/tiling.py shared/models/weights.py shared/models/
COPY shared/models/embedded/ shared/models/embedded/
RUN python -m shared.models.weights "${MODEL}" --revision "${MODEL_REVISION}" --dtype "${WEIGHTS_DTYPE}" --folder /opt/models \
    && python -c 'import sys, pathlib; from shared.models import realesrgan; realesrgan.load(sys.argv[1], folder=pathlib.Path("/opt/models"))' "${ESRGAN_MODEL}"
RUN test -z "${VITMATTE_MODEL}" \
    || python -m shared.models.weights "${VITMATTE_MODEL}" --revision "${VITMATTE_REVISION}" --folder /opt/models

# ---- the image; all files belong to root and nobody else may write them
FROM ${PYTHON_IMAGE}
ARG MODEL MODEL_REVISION ESRGAN_MODEL VITMATTE_MODEL VITMATTE_REVISION
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin cutdrop
COPY --from=packages /opt/venv /opt/venv
COPY --from=weights /opt/models /opt/models
WORKDIR /app
COPY function/ function/
COPY shared/ shared/
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    MODEL=${MODEL} \
    MODEL_REVISION=${MODEL_REVISION} \
    MODEL_FOLDER=/opt/models \
    ESRGAN_MODEL=${ESRGAN_MODEL} \
    VITMATTE_MODEL=${VITMATTE_MODEL} \
    VITMATTE_REVISION=${VITMATTE_REVISION}
RUN python -m compileall -q function shared
USER 10001
EXPOSE 8080
CMD ["gunicorn", "-c", "function/server.py"]
