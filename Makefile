# Two commands do everything on a bare machine with Python 3.11 or newer:
#   make demo    super-resolve a photograph and show the result
#   make test    lint and run the tests, but for the slow ones:
#   make test-processes    training on several hosts, the page in a browser, the wheel, the examples
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each worker runs neighbours, which share fixtures; one that is done takes tests from the other.
PYTEST := $(BIN)/pytest -n 2 --dist worksteal -rs
# Tests in which all arguments and results must have the types and shapes of the signatures. Those of
# porting pass, too, but take twice as long; upscaling holds fields of models as numpy arrays.
CHECKED := tests/ops tests/models tests/images tests/evaluation tests/data
# The tests' processes compile the package's modules once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-processes setup clean

demo: setup
	$(BIN)/python -m gaussiansr_jax demo --output demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -m 'not processes' --typecheck $(CHECKED)
	$(PYTEST) -m 'not processes' $(CHECKED:%=--ignore %)
	@echo 'Left out: tests with several processes, a browser, the wheel, scripts: make test-processes'

test-processes: setup
	$(PYTEST) -m processes

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# setuptools warns of every editable installation.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo runs
