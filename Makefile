# Everything runs in .venv, made from the hashed locks in requirements/. Only Python 3.11 and make are needed beforehand.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo $(VENV)/tools/bin/uv)
EXTRAS := data train pipelines serve monitor stream
BENCHES := features models sanitation serving rollout sites
CLUSTER ?= ../shared/cluster
BUILD_IMAGE ?= $(CLUSTER)/build-image
SERVING_IMAGE ?= dev.local/vigil-python:1
PIPELINE_IMAGE ?= dev.local/vigil-pipeline-python:1
REDIS_IMAGE ?= dev.local/vigil-redis:1
PROMETHEUS_IMAGE ?= dev.local/vigil-prometheus:1

export PYTHONHASHSEED := 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench $(addprefix bench-,$(BENCHES)) docs lock clean image cluster-test

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Create .venv from the hashed locks

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@command -v uv >/dev/null 2>&1 || { \
	  echo "uv is not installed: putting it into $(VENV)/tools"; \
	  $(PYTHON) -m venv $(VENV)/tools && $(VENV)/tools/bin/pip install --quiet --disable-pip-version-check uv; }
	@test -x $(BIN)/python || $(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@echo "Installing the locked environment into $(VENV) (a few minutes on the first run)"
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lint: setup ## Ruff, mypy strict, size gate, import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python tests/gates/sizes.py
	@$(BIN)/python tests/gates/imports.py

format: setup ## Let ruff rewrite what it can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

demo: setup ## Raw data to a served model and live traffic: make demo [DATA=file SOURCE=fraud_handbook]
	@$(BIN)/vigil demo $(if $(DATA),--data "$(DATA)") $(if $(SOURCE),--source $(SOURCE))

test: lint ## Lint, then every test that needs no cluster
	@$(BIN)/pytest

image: ## Build the images of servers, components and services (BUILD_IMAGE="docker build -t" where there is Docker)
	@$(BUILD_IMAGE) $(SERVING_IMAGE) --target serving -f kserve/Dockerfile .
	@$(BUILD_IMAGE) $(PIPELINE_IMAGE) --target pipeline -f kserve/Dockerfile .
	@$(BUILD_IMAGE) $(REDIS_IMAGE) --target redis -f kserve/Dockerfile .
	@$(BUILD_IMAGE) $(PROMETHEUS_IMAGE) --target prometheus -f kserve/Dockerfile .

cluster-test: setup ## Bring up a cluster, build the images, run the tests that need both, and stop it
	@if ! test -x $(CLUSTER)/up; then \
	  echo "There is no cluster to test on: $(CLUSTER) lacks the command up. Set CLUSTER to a folder that has up, down and build-image."; \
	else \
	  trap '$(CLUSTER)/down' EXIT; \
	  export KUBECONFIG=$${KUBECONFIG:-$${XDG_CACHE_HOME:-$$HOME/.cache}/vigil-cluster/kubeconfig}; \
	  $(CLUSTER)/up && $(MAKE) --no-print-directory image && \
	  TEST_SERVING_IMAGE=$(SERVING_IMAGE) TEST_PIPELINE_IMAGE=$(PIPELINE_IMAGE) \
	    $(BIN)/pytest -m cluster -n 0 tests/cluster; \
	fi

bench: $(addprefix bench-,$(BENCHES)) ## Every comparison (slow); bench-NAME runs one

$(addprefix bench-,$(BENCHES)): bench-%: setup
	@$(BIN)/python -m tests.benchmarks.$*

docs: setup ## Generate docs/features.md and docs/schemas from the code
	@$(BIN)/vigil features catalogue --output docs/features.md
	@$(BIN)/vigil schemas --output docs/schemas

lock: ## Resolve pyproject.toml again into requirements/*.txt
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
	  --custom-compile-command "make lock" pyproject.toml --extra dev -o requirements/dev.txt
	@for extra in $(EXTRAS); do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command "make lock" -c requirements/dev.txt pyproject.toml --extra $$extra \
	    -o requirements/$$extra.txt || exit 1; done
	@echo "hatchling" | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" -c requirements/dev.txt - -o requirements/build.txt

clean: ## Stop the demo's endpoint and remove everything that the targets made, .venv excepted
	@if test -d .vigil/demo/runtime; then VIGIL_HOME=.vigil/demo $(BIN)/vigil down --force; fi
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .vigil
	@find src tests components pipelines notebooks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
