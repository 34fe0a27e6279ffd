# Everything a newcomer needs: `make demo` and `make test`. Both set up a virtual environment first.
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && command -v $$p && break; done)
BIN := $(VENV)/bin
OUTPUT ?= demo-output
export PIP_DISABLE_PIP_VERSION_CHECK = 1
KERNELS := $(wildcard simulators/*/kernel/*.[ch] simulators/*/fast/*.[ch])

.PHONY: help setup demo test lint format benchmark browser sandbox slurm container clean
help:
	@echo 'make demo       simulate, run two methods, score and report, in about five minutes'
	@echo 'make test       run the test suite'
	@echo 'make lint       style and types'
	@echo 'make benchmark  speed against the public package'
	@echo 'make container  build the images from their registry base and run their tests'
	@echo 'make clean      remove what was built'

setup: $(VENV)/.demo-ready

$(VENV)/bin/pip:
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.11, 3.12 or 3.13 with the venv module found;' \
		'install one (Debian: apt-get install python3 python3-venv) or say which: make PYTHON=/path/to/python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Without a C compiler, the one that comes as a Python package builds the kernels.
define install
	@if command -v $${CC:-cc} >/dev/null; then CC="$${CC:-cc}"; else \
		$(BIN)/pip install --quiet -c constraints.txt ziglang && \
		CC="$$($(BIN)/python -c 'import ziglang; print(ziglang.__path__[0])')/zig cc"; fi; \
	echo "installing $(1) into $(VENV)"; \
	CC="$$CC" $(BIN)/pip install --quiet -c constraints.txt --editable '.[$(1)]'
endef

$(VENV)/.demo-ready: pyproject.toml setup.py constraints.txt $(KERNELS) | $(VENV)/bin/pip
	$(call install,all)
	@touch $@

$(VENV)/.test-ready: pyproject.toml setup.py constraints.txt $(KERNELS) | $(VENV)/bin/pip
	$(call install,dev)
	@touch $@ $(VENV)/.demo-ready

demo: $(VENV)/.demo-ready
	$(BIN)/fairuniverse simulate --events 20000 --output $(OUTPUT)/events.parquet
	$(BIN)/fairuniverse toys quick --sets 1 --toys 1 --output $(OUTPUT)/toys
	$(BIN)/fairuniverse run quick counting profile_likelihood --output $(OUTPUT)/runs
	$(BIN)/fairuniverse score $(OUTPUT)/runs --output $(OUTPUT)/scores
	$(BIN)/fairuniverse report $(OUTPUT)/runs --output $(OUTPUT)/report.html
	@echo 'open $(OUTPUT)/report.html in a browser'

test: $(VENV)/.test-ready browser sandbox slurm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Pages are tested in a real browser; where it cannot be installed these tests skip and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; }; } || \
		echo 'no Chromium, and it cannot be installed here: the tests of rendered pages will be skipped'

# Strangers' code is kept in by bubblewrap or podman; where one cannot be installed its tests skip and say so.
# The tests of the image build it themselves, with podman, from packages (tests/containers/images.py).
sandbox:
	@{ command -v bwrap && command -v podman && command -v runc; } >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends bubblewrap podman runc \
		>/dev/null; }; } || \
		echo 'no bubblewrap or podman, and it cannot be installed here: the tests of this sandbox will be skipped'

# Runs on a cluster are tested on a Slurm of two nodes, which the tests start on this machine and stop again.
slurm:
	@PATH="$$PATH:/usr/sbin"; { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends slurm-wlm munge >/dev/null; }; } || \
		echo 'no Slurm, and it cannot be installed here: the tests on it will be skipped'

# Types are checked on the package as it is installed: a tree of links brings its folders together.
lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && mkdir -p build/types/fairuniverse
	ln -s $(abspath $(wildcard src/fairuniverse/*) simulators scoring baselines configs) build/types/fairuniverse
	MYPYPATH=build/types $(BIN)/mypy --package fairuniverse

format: $(VENV)/.test-ready
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

benchmark: $(VENV)/.test-ready
	$(BIN)/python benchmarks/bench_pseudo_experiment.py
	$(BIN)/python benchmarks/bench_simulator.py
	$(BIN)/python benchmarks/bench_isolation.py
	$(BIN)/python benchmarks/bench_likelihood.py

# From the base that the recipe names. Without a registry, the tests' own images are built by `make test`.
PODMAN ?= podman
IMAGE ?= localhost/fairuniverse
container: $(VENV)/.test-ready
	$(PODMAN) build $(BUILD) -f scoring/Containerfile -t $(IMAGE) .
	$(PODMAN) build $(BUILD) -f scoring/Containerfile -t $(IMAGE)-platform --target platform .
	FAIRUNIVERSE_IMAGE=$(IMAGE) $(BIN)/python -m pytest tests/containers

clean:
	rm -rf $(VENV) build dist $(OUTPUT) src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find simulators -name '*.so' -delete
	@podman rmi localhost/fairuniverse-test localhost/fairuniverse-test-platform localhost/fairuniverse-test-base 2>/dev/null || true
