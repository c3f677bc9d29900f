# make setup | train | test | test-all | test-faults | lint | benchmarks | clean
#
# PYTHON=python3.12 chooses the interpreter of a new .venv; uv is used where it is installed.

PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)

ifdef UV
    NEW_VENV := $(UV) venv --quiet --seed --allow-existing --python $(PYTHON) .venv
    INSTALL := $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt
else
    NEW_VENV := $(PYTHON) -m venv .venv
    INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
endif

BENCHMARKS := lm_throughput recurrent_throughput tiny_step generate_throughput startup memory \
	translation ddp masked_lm finetune sweep_overhead template_faults
LITGPT := .venv/litgpt
TESTS := OMP_NUM_THREADS=1 WANDB_MODE=offline $(BIN)/python -m pytest -n auto

.PHONY: setup train test test-all test-faults lint benchmarks clean

setup: .venv/installed

train: setup
	$(BIN)/python train.py

test: lint
	$(TESTS)

test-all: lint
	$(TESTS) -m "slow or not slow"

test-faults: .venv/installed-dev
	$(TESTS) -m "faults and not slow" --durations=40 tests/faults

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src

benchmarks: .venv/installed-benchmarks
	@missed=; for name in $(BENCHMARKS); do \
		$(BIN)/python benchmarks/$$name.py || missed="$$missed $$name"; \
	done; \
	test -z "$$missed" || { echo "missed or failed:$$missed"; exit 1; }

clean:
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp is written only after its install has succeeded, so an interrupted one is done again.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv: one to five minutes, once."
	$(NEW_VENV)
	$(INSTALL) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) -e '.[dev]'
	@touch $@

.venv/installed-benchmarks: .venv/installed-dev
	$(INSTALL) -e '.[dev,benchmarks]'
	$(INSTALL) --no-deps --target $(LITGPT) litgpt==0.5.13
	@touch $@
