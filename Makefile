# `make` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
UV := uv==0.13.9
STAMP := $(VENV)/.installed
DATA ?= build/data/movielens-100k
DEMO_DATA := build/data/movielens-100k
DEMO_FLAGS ?= --set train.temperature=0.2 --set train.batch_size=512 --set train.ssl.batch_size=256 --set train.steps=600
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock schema tables check-tables clean

help:  ## list the targets
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv from requirements.lock (Python 3.10; PYTHON=... to name it)

# The first of these that runs and is Python 3.10: a pyenv shim may exist and still fail.
define FIND_PYTHON
for python in $${PYTHON:+"$$PYTHON"} python3.10 "$$(pyenv root 2>/dev/null || true)"/versions/3.10.*/bin/python \
	"$$HOME"/.pyenv/versions/3.10.*/bin/python python3; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; then break; fi; \
	python=""; \
done; \
if [ -z "$$python" ]; then \
	echo "setup: Python 3.10 must be installed and none was found. Install it (pyenv install 3.10," \
		"uv python install 3.10, ...) or name it: make setup PYTHON=/path/to/python3.10" >&2; \
	exit 1; \
fi
endef

# Bytecode is compiled at installation, or the first import of TensorFlow takes minutes.
$(STAMP): requirements.lock setup.py
	@$(FIND_PYTHON); \
	echo "setup: $$($$python --version) ($$python) -> $(VENV)"; \
	[ -x $(BIN)/python ] || "$$python" -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'; \
	export VIRTUAL_ENV="$$PWD/$(VENV)"; \
	echo "setup: installing $$(grep -c '^[A-Za-z0-9]' requirements.lock) packages of requirements.lock"; \
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/uv pip install --quiet --require-hashes --compile-bytecode -r requirements.lock; \
	echo "setup: installing recsys_ssl (editable)"; \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .; \
	touch $@; \
	echo "setup: done, $(BIN)/recsys-ssl --help"

demo: setup  ## logs to A/B report on MovieLens-100K (DATA=DIR for your own copy)
	@[ "$(DATA)" != "$(DEMO_DATA)" ] || [ -e $(DATA)/ml-100k.inter ] || \
		$(BIN)/recsys-ssl data movielens-100k --to $(DATA)
	@$(BIN)/recsys-ssl run feature_specs/movielens-100k.yaml --data "$(DATA)" --workdir build/demo $(DEMO_FLAGS)

test: setup  ## unit tests and one end-to-end run
	@$(BIN)/pytest -n 2 --dist loadfile

lint: setup  ## ruff: rules and formatting; mypy: types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup  ## compile requirements.in into requirements.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.10 \
		requirements.in -o requirements.lock

schema: setup  ## write feature_specs/schema.json, which editors check specs by
	@$(BIN)/python -c 'from recsys_ssl.spec import json_schema; print(json_schema(), end="")' > feature_specs/schema.json

tables: setup  ## write the tables of README and docs from benchmarks/results
	@$(BIN)/python -m benchmarks.tables

check-tables: setup  ## fail when a table of README or docs is not what benchmarks/results give
	@$(BIN)/python -m benchmarks.tables --check

clean:  ## remove what can be made again, but .venv
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
