# An environment of another checkout may be shared: VENV=../other/.venv make test
VENV ?= .venv
# The first Python that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check lock bench clean purge python environment environment-dev

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: environment ## Start everything, place a sample order; Ctrl-C stops (PORT=8000)
	@exec "$(BIN)/python" -m deploy.local.up

test: environment-dev ## Run all tests on private servers (ARGS="-k stock")
	@"$(BIN)/python" -m deploy.local.install
	@exec "$(BIN)/python" -m pytest tests $(ARGS)

check: environment-dev ## Style, types, layers of imports, and that the locks are current
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"
	"$(BIN)/python" -m deploy.local.lock --check

lock: environment-dev ## Write the lock files anew (ARGS=--upgrade takes newer releases)
	"$(BIN)/python" -m deploy.local.lock $(ARGS)

bench: environment-dev ## Measure Holdfast against its peers
	@"$(BIN)/python" -m deploy.local.install
	@exec "$(BIN)/python" -m bench $(ARGS)

clean: ## Remove the environment and caches; orders and .env stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

purge: clean ## Remove the private servers with every order, and .env
	rm -rf var .env

environment: python
	@"$(PYTHON)" -m deploy.local.venv "$(VENV)" requirements.txt

environment-dev: python
	@"$(PYTHON)" -m deploy.local.venv "$(VENV)" requirements-dev.txt

python:
	@if [ -z "$(PYTHON)" ] && ! command -v python3 >/dev/null \
		&& [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -q update && apt-get -qy install --no-install-recommends python3 python3-venv; \
	fi
	@"$(or $(PYTHON),python3)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Holdfast needs Python 3.11 or newer. Install one;' \
		'name it if it is not the first on the PATH: PYTHON=python3.12 make run'; exit 1; }
