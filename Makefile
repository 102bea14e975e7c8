# `make` or `make help` lists what there is. Everything lives in .venv, .mir-demo and .mir-try of
# this checkout; `make clean` removes them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter of a version that we support; `make install PYTHON=…` names another.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(if $(shell \
  $(name) -c 'import sys; print("yes" * ((3, 11) <= sys.version_info < (3, 14)))' 2>/dev/null),$(name))))

RUNNER ?= process
LABELS ?= oracle
ANNOTATOR ?= script
ROUNDS ?= 2
SEED ?= 0
KEEP ?= 1
MIR_STORE ?=
DIR ?=
CLASSES ?=
IMAGES ?= sample detector
BASE_IMAGE ?= mir-ops/base:bookworm
COMPOSE ?= docker-compose
CODE := mir_ops plugins dags executors tests benchmarks

.PHONY: help
help: ## Show this list
	@echo "Usage: make TARGET [NAME=VALUE ...]"; echo
	@awk 'BEGIN {FS = ":.*## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2} \
	  /^#> / {printf "  %-13s   %s\n", "", substr($$0, 4)}' $(MAKEFILE_LIST)

## Use it

.PHONY: demo
demo: install $(if $(filter label-studio,$(LABELS)),label-studio) ## Run two active-learning rounds on handwritten digits, on a real Airflow
#> RUNNER=process|docker  ROUNDS=2  SEED=0  LABELS=oracle|label-studio
#> ANNOTATOR=person waits for you at Label Studio, instead of a script that labels there
#> KEEP=0 stops Airflow at the end instead of waiting for Enter
#> MIR_STORE=s3://bucket/prefix?endpoint_url=…  with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
	@$(BIN)/python -m mir_ops.demo --runner '$(RUNNER)' --labels '$(LABELS)' \
	  --annotator '$(ANNOTATOR)' --rounds '$(ROUNDS)' \
	  --seed '$(SEED)' --keep '$(KEEP)' --store '$(MIR_STORE)'

.PHONY: try
try: install ## Look at your own folder of images: make try DIR=path
#> DIR=… a folder or zip: Pascal VOC (images/ and annotations/), or images alone
#> CLASSES=cat,dog takes these classes only; by default every class that occurs
	@$(BIN)/python -m mir_ops.demo.try_folder --classes '$(CLASSES)' -- '$(DIR)'

.PHONY: label-studio
label-studio: ## Install Label Studio, in an environment of its own, for make demo and tests
#> about 1 GB in .mir-label-studio
	@PYTHON='$(PYTHON)' bash scripts/install-label-studio.sh

.PHONY: install
install: ## Make .venv with everything in it, at the versions of constraints.txt
	@PYTHON='$(PYTHON)' VENV='$(VENV)' bash scripts/install.sh

## Work on it

.PHONY: test
test: install ## Run the tests
	@$(BIN)/pytest -m 'not long' --numprocesses 2 $(ARGS)

.PHONY: test-long
test-long: install ## Run the tests that take minutes: the demo, every fault, thorough fuzzing
#> goes on where it was stopped, by what .mir-test/long.jsonl says of the same source
	@$(BIN)/pytest -m long --results .mir-test/long.jsonl $(ARGS)

.PHONY: lint
lint: install ## Check style and types
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy mir_ops plugins/mir_airflow

.PHONY: format
format: install ## Rewrite the code in our style
	@$(BIN)/ruff check --fix --quiet $(CODE) || true
	@$(BIN)/ruff format $(CODE)

.PHONY: constraints
constraints: ## Resolve constraints.txt anew (wants uv: https://docs.astral.sh/uv)
#> ARGS=--upgrade takes the newest versions of everything
	@uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-header \
	  --no-annotate --extra all --extra dev $(ARGS) pyproject.toml --output-file constraints.txt
	@printf '%s\n' '# Exact versions of everything that `make install` brings, for Python 3.11 to 3.13.' \
	  '# Written by `make constraints`; do not edit.' | cat - constraints.txt > constraints.new
	@mv constraints.new constraints.txt

.PHONY: images
images: ## Build the executors' images, and the base they are made of, with no registry
#> IMAGES="sample detector"  BASE_IMAGE=…  PIP_WHEELS=folder  WEIGHTS=file of weights, for torchvision
	@docker image inspect '$(BASE_IMAGE)' >/dev/null 2>&1 || docker/base/build.sh '$(BASE_IMAGE)'
	@for name in $(IMAGES); do BASE_IMAGE='$(BASE_IMAGE)' executors/build.sh "$$name"; done

.PHONY: clean
clean: ## Remove what make demo, make try and make install left in this checkout
	@rm -rf .mir-demo .mir-try .mir-test .mir-label-studio $(VENV) build *.egg-info

## Deploy it (docker-compose.yaml; needs a filled-in .env, see .env.example)

.PHONY: config
config: ## Check docker-compose.yaml and .env
	@test -f .env || { echo "error: no .env; hint: cp .env.example .env and fill it in" >&2; exit 1; }
	@sh docker/check-env.sh .env
	@$(COMPOSE) config --quiet && echo "docker-compose.yaml and .env: valid"

.PHONY: up
up: config ## Start Airflow, PostgreSQL and the S3 server on 127.0.0.1:12001
	@$(COMPOSE) up -d

.PHONY: down
down: ## Stop them; the data stays
	@$(COMPOSE) down
