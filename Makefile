# Everything runs in .venv, made on first use: `make demo` and `make test` need python3.11 and make, no more.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

# A process per core, each with one thread: small matrices gain nothing from two.
AT_ONCE := --numprocesses=auto --dist=worksteal

# Without their bytecode, torch and the tests are compiled anew in every process, and tests start many.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test quick lint bench clean

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/'

demo: $(VENV)/.installed  ## train a VAE on MNIST and write its report to runs/mnist
	$(BIN)/vaekit fit mnist -o runs/mnist --overwrite

test: $(VENV)/.installed-test no-cuda  ## run all tests
	$(BIN)/python -m pytest $(AT_ONCE)

quick: $(VENV)/.installed-test no-cuda  ## run the tests that take seconds
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow and not gpu"

lint: $(VENV)/.installed-test  ## check the style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench:  ## measure speed beside other projects, in environments of their own (about 40 minutes)
	$(PYTHON) benchmarks/run.py

clean:  ## remove .venv, caches and build artefacts; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp marks what is installed; it is renewed when these files change.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing vaekit into $(VENV) (about a minute the first time)"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing vaekit and its test tools into $(VENV) (about a minute the first time)"
	$(PIP) -e ".[test]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.PHONY: no-cuda
no-cuda: $(VENV)/.installed-test
	@packages="$$($(BIN)/python -m pip list --format=freeze --disable-pip-version-check)" || exit 1; \
	if found="$$(echo "$$packages" | grep -iE '^(nvidia-|cuda)')"; then \
	  echo "Expected a CPU installation, but pip brought CUDA packages:" $$found; \
	  echo "Show pip a CPU build of the torch in constraints.txt (--find-links or an index), then: make clean test"; \
	  exit 1; \
	fi
