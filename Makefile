# `make demo` and `make test` work on a fresh machine with Python >= 3.10: they make .venv here, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types bench readme clean

demo: $(VENV)/.runtime
	@mkdir -p out
	$(BIN)/python -m stereotalker_core demo --out out/demo.mp4

# one process per core, one thread each
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/python tools/check_types.py

bench: $(VENV)/.runtime
	$(BIN)/python benchmarks/talk.py

readme: $(VENV)/.runtime
	$(BIN)/python tools/readme_tables.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "installing the requirements into $(VENV) (once, some minutes)"
	$(PIP) --requirement requirements.txt
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.runtime
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache *.egg-info
