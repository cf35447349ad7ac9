# `make` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
DATA ?= build/data/movielens-100k
MODELS ?= build/demo/recommender
DEMO_DATA := build/data/movielens-100k
# Ten users hold a third of the test pairs, so the verdict is on a metric that counts each user once.
DEMO_FLAGS ?= --set evaluation.primary=user_recall_at_20
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url
.PHONY: help setup demo serve test lint format lock schema tables check-tables clean

help:  ## list the targets
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv from the lock that fits this machine (LOCK=default|next|serve and PYTHON=... to choose)
	@tools/setup.sh

demo: setup  ## logs to A/B report on MovieLens-100K (DATA=DIR for your own copy)
	@[ "$(DATA)" != "$(DEMO_DATA)" ] || [ -e $(DATA)/ml-100k.inter ] || \
		$(BIN)/recsys-ssl data movielens-100k --to $(DATA)
	@$(BIN)/recsys-ssl run feature_specs/movielens-100k.yaml --data "$(DATA)" --workdir build/demo $(DEMO_FLAGS)

serve: setup  ## answer requests with what the demo built (MODELS=DIR for other models)
	@[ -e "$(MODELS)" ] || { echo "no $(MODELS): run \`make demo\` first, or name a directory, MODELS=DIR" >&2; exit 1; }
	@$(BIN)/recsys-ssl serve --models "$(MODELS)"

test: setup  ## unit tests and one end-to-end run
	@$(BIN)/pytest -n 2 --dist loadfile

lint: setup  ## ruff: rules and formatting; mypy: types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup  ## compile setup.py and requirements*.in into the locks
	@$(COMPILE) --all-extras --python-version 3.11 setup.py requirements.in -o requirements.lock
	@$(COMPILE) --all-extras --universal --python-version 3.12 --override requirements-next.override \
		setup.py requirements-next.in -o requirements-next.lock
	@$(COMPILE) --extra serve --python-version 3.11 --constraint requirements.lock --override requirements-serve.override \
		setup.py requirements-serve.in -o requirements-serve.lock

schema: setup  ## write feature_specs/schema.json, which editors check specs by
	@$(BIN)/python -c 'from recsys_ssl.spec_files import json_schema; print(json_schema(), end="")' > feature_specs/schema.json

tables: setup  ## write the tables of README and docs from benchmarks/results
	@$(BIN)/python -m benchmarks.tables

check-tables: setup  ## fail when a table of README or docs is not what benchmarks/results give
	@$(BIN)/python -m benchmarks.tables --check

clean:  ## remove what can be made again, but .venv
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
