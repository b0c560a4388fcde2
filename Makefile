# Everything runs in .venv, which the targets make and update themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := pyproject.toml lrtheory/__init__.py

.PHONY: install demo test test-all check-all lint types bench figures clean

install: $(VENV)/.installed
demo: $(VENV)/.installed
	$(BIN)/python -m lrtheory.sweep overparam_sensing --preset small
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest
test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not browser and not gpu"
check-all: lint types test-all
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
types: $(VENV)/.installed-dev
	$(BIN)/mypy
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks sensing
figures: demo
	cp results/overparam_sensing/figure.png figures/overparam_sensing.png
	cp results/overparam_sensing/figure.svg figures/overparam_sensing.svg

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
	rm -rf $(VENV) results build dist
