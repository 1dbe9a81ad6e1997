# An environment of another checkout may be shared: VENV=../other/.venv make test
VENV ?= .venv
# The first Python that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN = $(VENV)/bin
FUZZ_VENV ?= .venv-fuzz

.DEFAULT_GOAL := help
.PHONY: help run test test-cluster test-rabbitmq4 rabbitmq4 torture torture-selftest fuzz \
	check check-deploy documents lock bench scale clean purge \
	python environment environment-dev environment-fuzz

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

run: environment ## Start everything, place a sample order; Ctrl-C stops (PORT=8000)
	@exec "$(BIN)/python" -m deploy.local.up

# Some processes, a file at a time, in the order of tests/conftest.py. On two cores four of them are
# the fewest that keep both at work: half of a test's time it waits.
SIDE_BY_SIDE = --numprocesses $(PROCESSES) --dist loadgroup --no-loadscope-reorder
PROCESSES = 4

test: environment-dev ## Run all tests on private servers (ARGS="-k stock")
	@"$(BIN)/python" -m deploy.local.install --tests
	@exec "$(BIN)/python" -m pytest tests --ignore tests/cluster \
		$(SIDE_BY_SIDE) $(ARGS)

test-cluster: environment-dev ## Run the tests of gateway, replicas, failover, monitoring (ARGS="-k gateway")
	@"$(BIN)/python" -m deploy.local.install --cluster
	@"$(BIN)/python" -m pytest tests/cluster $(SIDE_BY_SIDE) $(ARGS)

# What speaks to RabbitMQ, or does without it.
ON_RABBITMQ = $(patsubst %,tests/integration/test_%.py,channels generations settling full_queues queues \
	limits controls failures operations transient_faults inbox lanes) \
	$(patsubst %,tests/e2e/test_%.py,outages under_load smoke orders torture)

test-rabbitmq4: environment-dev rabbitmq4 ## Run the tests of messaging on RabbitMQ 4 (ARGS="-k settling")
	@"$(BIN)/python" -m deploy.local.install
	@HOLDFAST_TEST_RABBITMQ=4 "$(BIN)/python" -m pytest $(ON_RABBITMQ) \
		$(SIDE_BY_SIDE) $(ARGS)

rabbitmq4: environment ## Unpack Debian 13's RabbitMQ 4 below var/, once, for tests
	@"$(BIN)/python" -m deploy.local.rabbitmq4

torture: environment-dev ## Break a whole system in every way and count (SEED=7 MINUTES=20 FAULTS='kill-*')
	@exec "$(BIN)/python" -m tests.torture $(if $(SEED),--seed $(SEED)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(FAULTS),--faults '$(FAULTS)')

torture-selftest: environment-dev ## Take out one safety at a time; the torture has to notice (ARGS="--only trap")
	@exec "$(BIN)/python" -m tests.torture.selftest $(ARGS)

fuzz: environment-dev environment-fuzz ## Look for input that breaks a decoder or a process (MINUTES=10)
	@"$(BIN)/python" -m deploy.local.install
	@exec "$(BIN)/python" -m tests.fuzz "$(or $(MINUTES),10)" "$(FUZZ_VENV)/bin/python"

check: environment-dev ## Style, types, layers, security, and that the locks are current
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"
	"$(BIN)/bandit" --quiet --configfile pyproject.toml --recursive .
	"$(BIN)/python" -m deploy.local.lock --check
	"$(BIN)/python" -m deploy.local.audit

check-deploy: environment-dev ## Check what is deployed by each format's own validator (ARGS=gateway)
	@"$(BIN)/python" -m deploy.local.install --cluster
	@exec "$(BIN)/python" -m deploy.check $(ARGS)

documents: environment-dev ## Write the Postman collection and docs/asyncapi.json anew
	@"$(BIN)/python" -m deploy.local.install --cluster
	@exec "$(BIN)/python" -m deploy.documents

lock: environment-dev ## Write the lock files anew (ARGS=--upgrade takes newer releases)
	"$(BIN)/python" -m deploy.local.lock $(ARGS)

bench: environment-dev ## Measure Holdfast against its peers
	@"$(BIN)/python" -m deploy.local.install
	@exec "$(BIN)/python" -m bench $(ARGS)

scale: environment-dev ## Measure what an order costs, predict 1 to 100 processes (docs/scaling.md)
	@"$(BIN)/python" -m deploy.local.install
	@exec "$(BIN)/python" -m bench.scale $(ARGS)

clean: ## Remove the environment and caches; orders and .env stay
	rm -rf .venv .venv-fuzz .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

purge: clean ## Remove the private servers with every order, and .env
	rm -rf var .env

environment-fuzz: python
	@"$(PYTHON)" -m deploy.local.venv "$(FUZZ_VENV)" requirements-fuzz.txt

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
