# Everything a newcomer or CI types. Needs Python 3.11 and make; it makes its own environment.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install test check lint types layers demo bench simulate kills fuzz docs picture clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[sandbox,dev]'
	@touch $@

install: $(VENV)/.ready  ## make the environment; then: . .venv/bin/activate

JOBS ?= 2
test: $(VENV)/.ready  ## install what it needs and run every test, JOBS=2 at a time
	$(PYTEST) -n $(JOBS) --dist loadgroup

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

layers: $(VENV)/.ready
	$(BIN)/lint-imports

check: lint types layers test  ## style, types, layers and every test

demo: $(VENV)/.ready  ## break a platform, roll it back, see it hold: about two minutes
	$(BIN)/taly demo

bench: $(VENV)/.ready  ## the measurements that the README quotes
	$(BIN)/python -m bench

SEEDS ?= 10000
FOR_S ?= 0
REAL_S ?= 30
simulate: $(VENV)/.ready  ## play SEEDS=10000 incidents, then REAL_S=30 seconds with the real providers
	$(BIN)/python -m taly.simulate.main --seeds $(SEEDS) --seconds $(FOR_S) --real-seconds $(REAL_S)

fuzz: $(VENV)/.ready  ## hostile input for every reader, for FOR_S=60 seconds on both cores
	$(BIN)/python -m tools.fuzz --seconds $(or $(filter-out 0,$(FOR_S)),60)
	if $(BIN)/python -c 'import atheris' 2>&-; then $(BIN)/python -m tools.fuzz.guided --seconds 6; fi

ROUNDS ?= 10
kills: $(VENV)/.ready  ## kill, freeze and cut off real processes: ROUNDS=10 times at random
	TALY_KILL_ROUNDS=$(ROUNDS) $(PYTEST) -n 2 tests/e2e/test_kill_matrix.py

docs: $(VENV)/.ready  ## write the reference pages that come from the code
	$(BIN)/python -m tools.write_reference

picture: $(VENV)/.ready  ## record docs/rollback.svg from a real run
	$(BIN)/python -m tools.record_picture

clean:           ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
