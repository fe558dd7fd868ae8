# Everything runs from the repository; needs Python 3.11 or newer, pip, a C++ compiler and make.
.DEFAULT_GOAL := help
.PHONY: help up test lint bench conformance fuzz soak lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  ARGS=\"...\" passes flags on, as in: make up ARGS=\"--model path/to/model.gguf\""

up: $(INSTALLED) ## Start broker, gateway and worker on this machine
	@$(BIN)/mesh up $(ARGS)

test: $(INSTALLED) ## Run the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED) ## Measure against the numbers of the design
	$(BIN)/python -m bench $(ARGS)

conformance: $(INSTALLED) ## Run the suites that others wrote against the gateway
	$(BIN)/python -m tests.conformance $(ARGS)

fuzz: $(INSTALLED) ## Send the gateway many bad bodies, repeatably by their seed
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(INSTALLED) ## Run durable jobs and batches for long while everything is killed, frozen and cut off
	$(BIN)/python -m tests.soak $(ARGS)

lock: $(INSTALLED) ## Pin the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --upgrade --universal --generate-hashes --no-header --extra dev \
	  --output-file requirements.lock pyproject.toml

clean: ## Remove caches and build outputs; the environment stays (rm -r .venv removes it)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -c 'import llama_cpp' 2>/dev/null || \
	  { echo "Installing. The first time, llama.cpp is compiled for this machine:"; \
	    echo "about 4 minutes at the line 'Building wheel for llama-cpp-python'."; }
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --editable .
	@touch $@
