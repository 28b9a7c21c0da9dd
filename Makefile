# Everything below sets itself up: a virtual environment in .venv, made anew when pyproject.toml or the core changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard quantum_pulse/core/native/*)

.PHONY: demo test lab check bench docs clean

demo: $(VENV)/.base  ## record a real program and show what is slow in it
	$(BIN)/quantum-pulse demo

test: $(VENV)/.test  ## run the tests
	$(BIN)/python -m pytest

lab: $(VENV)/.lab  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks

check: $(VENV)/.test $(VENV)/.check  ## linters, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench  ## benchmarks; nothing else should run meanwhile
	$(BIN)/python -m tests.perf $(ONLY)

docs: $(VENV)/.base  ## what is generated from the code
	$(BIN)/python -m quantum_pulse.capture.format

$(VENV)/.base: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test]'
	$(BIN)/python -m tests.browser || { apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; }
	touch $@

$(VENV)/.lab: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[lab]'
	touch $@

$(VENV)/.bench: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[bench]'
	touch $@

$(VENV)/.check: $(VENV)/.base
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[check]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info quantum_pulse/core/*.so
