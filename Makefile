# Every target sets up .venv by itself when it is missing or older than the requirements.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
SOURCES := function shared tests infra/deploy
IMAGE ?= function/local/samples
OUT ?= out

.PHONY: deploy undeploy setup run page test test-page coverage mutants check format bench quality oracle lock clean
.DEFAULT_GOAL := check

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements-dev.txt
	# without its dependencies: it excludes newer numpy and OpenCV than it was released with; tests hold its measures
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps pysodmetrics==1.6.2
	touch $@

# make run, or make run IMAGE=photo.jpg, or make run IMAGE=folder OUT=results
run: $(READY)
	$(BIN)/python -m function.local --out "$(OUT)" "$(IMAGE)"

# make page, or make page IMAGES="photo.jpg folder"; prints an address to open
page: $(READY)
	$(BIN)/python -m function.local --page $(IMAGES)

test: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest

# the page in Chromium, which is installed if it is missing and may be
test-page: $(READY)
	$(BIN)/python -m tests.browser
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m browser

# the tests once more, with the lines and branches that none of them reaches; half as long again
coverage: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --cov --cov-report=term

# faults put into the code one by one: each must make its test fail
mutants: $(READY)
	$(BIN)/python -m tests.mutants

check: $(READY)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

# figures as ratios against a peer or a limit of the same run
bench: $(READY)
	$(BIN)/python -m tests.benchmarks.memory
	$(BIN)/python -m tests.benchmarks.codec
	$(BIN)/python -m tests.benchmarks.matting
	$(BIN)/python -m tests.benchmarks.scale

quality: $(READY)
	$(BIN)/python -m tests.benchmarks.quality --sheet "$(OUT)/quality.png"

# the `realesrgan` distribution, which tests/test_realesrgan_parity.py asks when it is there; it needs torch to be built
oracle:
	test -x .venv-oracle/bin/python || $(PYTHON) -m venv .venv-oracle
	.venv-oracle/bin/python -m pip install --quiet wheel setuptools $(shell grep -E '^(torch|torchvision)==' requirements.txt)
	.venv-oracle/bin/python -m pip install --quiet --no-build-isolation realesrgan==0.3.0

# into a Google Cloud project: infra/README.md. ARGS=--dry-run prints every command and touches nothing. Needs no .venv.
deploy:
	$(PYTHON) -m infra.deploy deploy $(ARGS)

# removes it again; asks first
undeploy:
	$(PYTHON) -m infra.deploy undeploy $(ARGS)

# infra/requirements.lock from requirements.txt, with hashes; needs uv
lock:
	infra/lock.sh

clean:
	rm -rf "$(OUT)" .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
