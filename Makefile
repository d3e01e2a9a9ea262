# make quickstart   learn a non-local potential energy surface in a few minutes
# make test         install everything, then lint, type-check and test
# make docs         build the site of docs/ into docs/_build (no warnings allowed)
# make test-lowest  the fast tests with the oldest versions that pyproject.toml allows (gigabytes of torch)
# make test-wheel   install the wheel alone into an empty environment and train there (gigabytes of torch)

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A CPU build where the package index has one; for CUDA install torch yourself first (see README.md).
TORCH ?= torch==2.13.0
FREE_GIB := $(shell awk '/MemAvailable/ {print int($$2 / 1048576)}' /proc/meminfo 2>/dev/null || echo 4)

.PHONY: quickstart test test-slow test-lowest test-wheel lint docs clean

quickstart: .venv/.installed
	$(BIN)/equireann quickstart

# Two processes, each with whole files: tests of one file share what they have trained. In the order of names, for files of few
# tests would else be last, and these are often the longest.
test: .venv/.tested lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/.tested
	$(BIN)/python -m pytest -m slow

test-lowest:
	tests/lowest.sh

test-wheel:
	tests/wheel.sh

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.documented
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "docs/_build/index.html"

# torch first: everything else is happy with the build that is there.
.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q --upgrade pip setuptools wheel
	$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) install -q "$(TORCH)" numpy
	$(PIP) install -q -e .
	touch $@

# torch_scatter and torch_cluster come as source and need the torch that is installed; each compiler job takes
# up to 2 GiB.
.venv/.tested: .venv/.installed
	$(PIP) install -q ninja
	PATH="$(CURDIR)/$(BIN):$$PATH" MAX_JOBS=$${MAX_JOBS:-$(shell n=$$(( $(FREE_GIB) / 3 )); c=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 1 ? 1 : n < c ? n : c )))} \
		$(PIP) install -q --no-build-isolation -e ".[pyg,test]"
	$(BIN)/python -c "import torch_scatter, torch_cluster"
	@# Kernels are tested through the interpreter of 3.9 or later; a torch for CUDA insists on the Triton it was built with.
	$(BIN)/python -c "import sys, torch; sys.exit(sys.platform == 'linux' and not torch.backends.cuda.is_built())" || $(PIP) install -q "triton>=3.9"
	touch $@

.venv/.documented: .venv/.installed
	$(PIP) install -q -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build *.egg-info docs/_build docs/generated
