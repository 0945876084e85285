# Two commands do everything on a bare machine with Python 3.11 or newer:
#   make demo    super-resolve a photograph and show the result
#   make test    lint and run the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests of one file share what their fixtures make, so one worker gets all of them.
PYTEST := -n 2 --dist loadfile -rs

.PHONY: demo test setup clean

demo: setup
	$(BIN)/python -m gaussiansr_jax demo --output demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest $(PYTEST) --typecheck tests/ops tests/models
	$(BIN)/pytest $(PYTEST) --ignore tests/ops --ignore tests/models

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# setuptools warns of every editable installation.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo runs
