# Two commands do all their own set-up: `make demo` runs the main job, `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LITELLM := .venv-litellm

.PHONY: help setup litellm demo test lint types contracts check features notebooks bench screenshots clean

help:            ## list the commands
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: *[^#]*## */\t/' | expand -t 14

setup: $(VENV)/.ready  ## make .venv with the locked dependencies and the package

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fingerprint needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "setup: creating $(VENV) and installing the locked dependencies (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

litellm: $(LITELLM)/.ready  ## make .venv-litellm, in which the tests of fingerprint[litellm] start a proxy

$(LITELLM)/.ready: requirements-litellm.lock
	@echo "litellm: creating $(LITELLM): LiteLLM's proxy and the tools of $(VENV) need different versions of rich"
	@$(PYTHON) -m venv $(LITELLM)
	@$(LITELLM)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements-litellm.lock
	@touch $@

demo: setup      ## world, features, training, tracking, export, held-out scores: the main job on a small world
	@$(BIN)/python -m training demo

test: setup      ## all tests; those of training one after another, LightGBM fills the cores
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/training
	$(BIN)/python -m pytest tests/training

lint: setup      ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup     ## mypy, strict
	$(BIN)/mypy

contracts: setup ## import-linter: dependencies point one way
	$(BIN)/lint-imports --no-cache

check: lint types contracts test  ## everything that the gate runs

features: setup  ## write docs/features.md anew
	$(BIN)/python -m training features-doc

notebooks: setup ## write each notebooks/*.ipynb anew from the .py beside it, which is the one to edit
	$(BIN)/jupytext --quiet --to ipynb --update notebooks/*.py

bench: setup     ## the figures of docs/benchmarks.md, side by side with their peers
	$(BIN)/python -m training bench

screenshots: setup  ## take the pictures of docs/images anew, of the run that make demo left
	$(BIN)/python tests/mlflow_pages.py demo/mlflow.db docs/images

clean:           ## remove the environment and what demo wrote
	rm -rf $(VENV) $(LITELLM) demo build dist
