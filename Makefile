# Everything runs in .venv, which the targets make and update themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := pyproject.toml lrtheory/__init__.py

.PHONY: install demo test test-all check-all lint types bench figures report chromium clean

install: $(VENV)/.installed
demo: $(VENV)/.installed
	$(BIN)/python -m lrtheory.sweep overparam_sensing --preset small
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n logical --dist loadfile
test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n logical --dist loadfile -m "not browser and not gpu"
check-all: lint types test-all chromium
	$(BIN)/python -m pytest -m browser -rs
# For the tests that look at the report: from Debian, where that can be installed. Elsewhere they skip and say so.
chromium:
	@if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then \
	  { command -v apt-get >/dev/null && apt-get -qq update && \
	    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium chromium-driver; } \
	  || echo "no Chromium here, and none that could be installed: the browser tests will skip"; fi
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
types: $(VENV)/.installed-dev
	$(BIN)/mypy
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks sensing
figures: $(VENV)/.installed
	$(BIN)/python -m paper_repro --figures figures
report: $(VENV)/.installed
	$(BIN)/python -m paper_repro

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(f"lrtheory needs Python 3.11 or newer, this is {sys.version.split()[0]}" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
$(VENV)/.installed: $(PACKAGE) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e .
	touch $@
$(VENV)/.installed-dev: $(PACKAGE) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) results build dist paper_repro/report
