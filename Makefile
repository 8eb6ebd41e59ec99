# Everything a developer does with knarr. Each target installs what it misses
# (Debian or Ubuntu, as root) and can be run again at any time.

VENV ?= .venv
BIN := $(VENV)/bin
export VENV

# What `make test` runs; e.g. make test TESTS=tests/unit  or  JOBS=4
TESTS ?= tests
JOBS ?= 2
# Which kernels `make test-vm` boots, and which jobs it runs on each.
KERNELS ?= 5.10 6.1 6.12
VM_JOBS ?= suite power-loss bare

# How long `make stress` goes on, each time; the seed of its random numbers.
SECONDS ?= 300
SEED ?=
# How many configurations `make fuzz` makes up, for each of its two tests.
EXAMPLES ?= 5000

.DEFAULT_GOAL := help
.PHONY: help demo test stress fuzz check format bench test-vm test-vm-smoke clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

demo:  ## bootstrap two images, run containers, show what knarr does
	@sh tools/ensure demo
	@$(BIN)/python tools/demo.py

test:  ## unit, contract, integration and crash tests
	@sh tools/ensure test
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS) $(PYTEST_ARGS)

stress:  ## random lives of 500 containers from 8 shells, twice five minutes; SEED=... repeats one
	@sh tools/ensure test
	@KNARR_STRESS_SECONDS=$(SECONDS) KNARR_STRESS_CONTAINERS=500 KNARR_STRESS_RUNNING=100 \
		KNARR_STRESS_SEED=$(SEED) $(BIN)/python -m pytest -s tests/stress $(PYTEST_ARGS)

fuzz:  ## config.json as enemies write it, EXAMPLES=5000 of them; signals at every call of knarr-oci
	@sh tools/ensure test
	@KNARR_FUZZ_EXAMPLES=$(EXAMPLES) KNARR_KILL_STEP=1 $(BIN)/python -m pytest -n $(JOBS) \
		tests/unit/oci tests/integration/oci/test_config_fuzz.py \
		tests/integration/oci/test_killed.py $(PYTEST_ARGS)

check:  ## ruff, mypy --strict, import-linter, file and function sizes
	@sh tools/ensure check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/python tools/sizes.py src tools tests benchmarks examples

format:  ## rewrite the sources as ruff wants them
	@sh tools/ensure check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench:  ## measure against a C floor, podman, crun and runc; print ratios
	@sh tools/ensure bench
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

test-vm:  ## the marked part of the tests on Debian's kernels under QEMU
	@sh tools/ensure vm
	@$(BIN)/python -m tests.vm matrix --kernels "$(KERNELS)" --jobs "$(VM_JOBS)"

test-vm-smoke:  ## a few minutes of the above: kernel 6.1 only
	@sh tools/ensure vm
	@$(BIN)/python -m tests.vm matrix --kernels 6.1 --jobs smoke

clean:  ## remove what the targets above have built here
	rm -rf $(VENV) build dist benchmarks/out .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
