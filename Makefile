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
FIRST_ADMIN ?=
YMIR_PATH ?=
DIR ?=
CLASSES ?=
IMAGES ?= sample detector
BASE_IMAGE ?= mir-ops/base:bookworm
COMPOSE ?= docker-compose
OBJECTS ?=
OVERWRITE ?=
STAMP = $(shell date -u +%Y-%m-%dT%H%M%SZ)
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

## Deploy it (docker-compose.yaml; docs/deployment.md)

.PHONY: env
env: ## Write .env with fresh secrets, unless there is one
#> FIRST_ADMIN=e-mail address  YMIR_PATH=work folder (default: ymir-workplace in this checkout)
	@FIRST_ADMIN='$(FIRST_ADMIN)' YMIR_PATH='$(YMIR_PATH)' bash scripts/make-env.sh

.PHONY: stack-images
stack-images: ## Build all images of the stack, with no registry
#> docker-compose.build.yaml says of what; BASE_IMAGE=…
	@docker image inspect '$(BASE_IMAGE)' >/dev/null 2>&1 || docker/base/build.sh '$(BASE_IMAGE)'
	@BASE_IMAGE='$(BASE_IMAGE)' sh docker/build.sh

.PHONY: config
config: ## Check docker-compose.yaml and .env
	@test -f .env || { echo "error: no .env; hint: make env" >&2; exit 1; }
	@sh docker/check-env.sh .env
	@$(COMPOSE) config --quiet && echo "docker-compose.yaml and .env: valid"

.PHONY: up
up: config ## Start the stack, and wait until all of it is healthy: http://127.0.0.1:12001
#> Label Studio, too, where LABEL_TOOL=label_studio in .env: http://127.0.0.1:12007
	@COMPOSE='$(COMPOSE)' sh docker/stack.sh up

.PHONY: down
down: ## Stop it; the data stays
	@COMPOSE='$(COMPOSE)' sh docker/stack.sh down

.PHONY: status
status: ## What of it runs, how healthy it is, and what `mir doctor` says in it
	@COMPOSE='$(COMPOSE)' sh docker/stack.sh status

.PHONY: mir
mir: ## Run `mir` in the stack: make mir ARGS="project list"
	@$(COMPOSE) exec -T airflow-scheduler mir $(ARGS)

.PHONY: logs
logs: ## Follow what its services say: make logs ARGS="--tail 100 airflow-scheduler"
	@$(COMPOSE) logs --follow $(ARGS)

.PHONY: backup
backup: ## Back up all databases and the store's refs, while it runs: make backup DIR=backups/name
#> OBJECTS=s3://… copies the store's objects there, too; docs/backup.md
	@COMPOSE='$(COMPOSE)' OBJECTS='$(OBJECTS)' bash docker/upkeep.sh backup '$(or $(DIR),backups/$(STAMP))'

.PHONY: restore
restore: ## Bring a backup back: make restore DIR=backups/name
#> OVERWRITE=1 where there are runs; OBJECTS=s3://… where the store itself is lost
	@COMPOSE='$(COMPOSE)' OBJECTS='$(OBJECTS)' OVERWRITE='$(OVERWRITE)' bash docker/upkeep.sh restore '$(DIR)'

.PHONY: tidy
tidy: ## Empty what only grows in Airflow's database, past KEEP_DAYS of .env
	@COMPOSE='$(COMPOSE)' bash docker/upkeep.sh tidy

.PHONY: upgrade
upgrade: config ## After git pull: back up, build, stop, migrate, start, and look how it is
	@COMPOSE='$(COMPOSE)' OBJECTS='$(OBJECTS)' bash docker/upkeep.sh upgrade '$(or $(DIR),backups/before-upgrade-$(STAMP))'
