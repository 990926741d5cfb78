# Every target installs what it needs into $(VENV) first: nothing is to be done by hand.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.innbench-installed
BENCH_INSTALLED := $(VENV)/.innbench-bench-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test check bench clean

quickstart: $(INSTALLED)
	$(BIN)/innbench quickstart

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Some half an hour on two cores; `python -m benchmarks --help` runs parts of it.
bench: $(BENCH_INSTALLED)
	$(BIN)/python -m benchmarks
	$(BIN)/python analysis/bench_picture.py build/bench.parquet build/bench.svg

clean:
	rm -rf $(VENV) build dist

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "innbench needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make $(MAKECMDGOALS) PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[dev]'
	@touch $@

# What the benchmark needs beside: no other target waits for it.
$(BENCH_INSTALLED): $(INSTALLED)
	$(INSTALL) --editable '.[dev,bench]'
	@touch $@
