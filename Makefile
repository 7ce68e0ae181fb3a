# Two commands matter: `make demo` and `make test`. They need Python 3.11+, git and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Hashed requirement files; whatever package index the machine is configured for is used.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-unit test-full lint requirements clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## Run a live network beside its twin: verify, push, watch, report
	$(BIN)/twinloop demo

test: lint test-unit ## Lint, types, borders, unit, doctests, contracts, integration and crash tests on real services
	$(BIN)/pytest -n 2 --dist loadfile -m "(integration or crash) and not full" tests

# Two processes of one thread each: more threads than cores wait for each other.
test-unit: export OMP_NUM_THREADS = 1
test-unit: $(VENV)/.dev ## Unit and contract tests and doctests, without services
	$(BIN)/pytest -q -n 2 --dist loadscope -m "not integration and not crash and not full" --doctest-modules tests/unit tests/contracts schemas streams twin_core processors loops

test-full: $(VENV)/.dev ## The legs that need root, Debian packages or the recordings; nothing is skipped
	TWINLOOP_FULL=1 $(BIN)/pytest -m full tests

lint: $(VENV)/.dev ## Ruff, mypy strict, import borders
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## Build the documentation into site/
	$(BIN)/twinloop docs generate
	$(BIN)/mkdocs build --strict

requirements: $(VENV)/.uv ## Compile the hashed requirement files anew
	for part in demo:all dev:dev; do \
	  $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --extra $${part#*:} pyproject.toml -o requirements/$${part%:*}.txt || exit 1; done

clean: ## Remove what builds and runs leave behind (not the environment)
	rm -rf var site dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	  f"twinloop needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.demo: $(VENV)/.uv requirements/demo.txt requirements/build.txt pyproject.toml
	@echo "Installing twinloop into $(VENV) (the first time fetches about 3 GB, most of it torch) …"
	$(INSTALL) -r requirements/demo.txt
	$(INSTALL) -r requirements/build.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt
	$(INSTALL) -r requirements/dev.txt
	@touch $@
