# Everything there is to do here; `make` lists it. Needs only make and Python 3.11 or newer.

PYTHON ?= python3
ARGS ?=
UV ?= build/uv/bin/uv

BIN := .venv/bin
STAMPS := .venv/.stamps
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test fuzz soak-cache citus lint audit bench format lock clean
.DELETE_ON_ERROR:

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="…" hands options on: make run ARGS="--port 8123 --seed none"'

run: $(STAMPS)/requirements ## Start everything; Ctrl-C stops it (ARGS: mercenary up)
	@exec $(BIN)/mercenary up $(ARGS)

# Tests start hundreds of Pythons: none of them shall compile anew what another has compiled.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMPS)/requirements-dev ## Run all tests against real servers (ARGS: pytest)
	@exec $(BIN)/pytest --numprocesses 2 $(ARGS)

lint: $(STAMPS)/requirements-dev ## Check style, types, the direction of imports, the place of SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_sql.py

audit: $(STAMPS)/requirements-dev ## Look for known holes in what is installed
	$(BIN)/python tools/audit.py

fuzz: $(STAMPS)/requirements-dev ## Ask a million made-up requests, at most an hour at a time (ARGS)
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

soak-cache: $(STAMPS)/requirements-dev ## Load two hosts for an hour, break things, judge what they show (ARGS)
	@exec $(BIN)/python -m tests.coherence $(ARGS)

citus: $(STAMPS)/requirements-dev ## Try it all on a Citus cluster (ARGS: its coordinator's database for tests)
	@exec $(BIN)/python -m tests.cluster $(ARGS)

bench: $(STAMPS)/requirements-bench ## Measure the API against its yardsticks (ARGS: mercenary bench)
	@exec $(BIN)/mercenary bench $(or $(ARGS),api)

format: $(STAMPS)/requirements-dev ## Lay out the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Keeps the versions that still fit; ARGS=--upgrade takes the newest.
LOCK = $(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11 $(ARGS) pyproject.toml

lock: $(UV) ## Make the lock files anew (ARGS: uv pip compile)
	$(LOCK) --extra build --output-file requirements.lock
	$(LOCK) --extra build --extra bench --output-file requirements-bench.lock
	$(LOCK) --extra build --extra bench --extra test --extra lint --output-file requirements-dev.lock

clean: ## Remove the environment and whatever tools left behind, but no data
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp a lock file. The package itself is installed from here, and fetches nothing.
$(STAMPS)/%: %.lock pyproject.toml | $(STAMPS)
	@echo 'Installing $< into .venv …'
	@$(INSTALL) --require-hashes --requirement $<
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS):
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) is not here; install Python 3.11 or newer' >&2; exit 2; }
	@$(PYTHON) tools/check_python.py
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 2; }
	@mkdir $@

build/uv/bin/uv:
	@$(PYTHON) tools/check_python.py
	@$(PYTHON) -m venv build/uv
	@build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
