# Two commands matter: `make run` shows the main job working, `make test` passes everything.
# Both do all set-up by themselves.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' ottoscaler/__init__.py)

.PHONY: help run test check format unit component test-cluster test-orchestrator bench bench-orchestrator proof-orchestrator chart-schema proof-faults proof-fuzz proof-orchestrator-logs proof-pipelines proof-redis-model proof-soak bench-sources proto lock \
	images cluster-up cluster-down clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(READY): requirements/dev.lock pyproject.toml
	@PYTHON=$(PYTHON) scripts/bootstrap venv
	@echo "installing the packages of $< into $(VENV): once, a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY) ## the main job on this machine: jobs come and go, the metric follows
	@scripts/bootstrap run
	@$(BIN)/python examples/demo.py

test: $(READY) ## everything, on real parts
	@scripts/bootstrap test
	$(BIN)/python -m tests

check: $(READY) ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m ottoscaler.orchestrator.protocol --check
	$(BIN)/python scripts/chart_schema.py --check

proto: $(READY) ## the generated code of the gRPC protocol anew
	$(BIN)/python -m ottoscaler.orchestrator.protocol

format: $(READY) ## ruff's format and safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit: $(READY) ## tests without any other process
	$(BIN)/python -m pytest tests/unit

component: $(READY) ## tests with real Redis, Firestore emulator, Prometheus
	@scripts/bootstrap test
	$(BIN)/python -m pytest tests/component

test-cluster: $(READY) ## tests on a real control plane
	@scripts/bootstrap test
	$(BIN)/python -m tests.cluster pytest tests/cluster

test-orchestrator: $(READY) ## the orchestrator on a real control plane
	@scripts/bootstrap test
	$(BIN)/python -m tests.cluster pytest tests/cluster -k orchestrator

bench: $(READY) ## our server beside the Go library that other adapters embed, as ratios in one run
	@scripts/bootstrap test
	$(BIN)/python -m tests.bench.serving

bench-sources: $(READY) ## what 1,000 streams and 100 RTDB queues cost, and how soon work is seen; result in docs/results/
	@scripts/bootstrap test
	$(BIN)/python -m tests.bench.sources --report docs/results/sources.md

bench-orchestrator: $(READY) ## events per second, latency and memory of the orchestrator; result in docs/results/
	@scripts/bootstrap test
	$(BIN)/python -m tests.cluster run $(BIN)/python -m tests.bench.orchestrator --report docs/results/orchestrator.md

proof-orchestrator: $(READY) ## 500 workers at once, 20 kills during 200 events, restarts; result in docs/results/
	@scripts/bootstrap test
	$(BIN)/python -m tests.cluster.orchestrator.proof --report docs/results/orchestrator.md

chart-schema: $(READY) ## charts/ottoscaler/values.schema.json anew from the configuration's types
	$(BIN)/python scripts/chart_schema.py

proof-fuzz: $(READY) ## ten minutes of fuzzing the borders; result in docs/results/
	$(BIN)/python -m tests.fuzz --seconds 600 --report docs/results/fuzz.md

images: ## the images by docker, for `KUBECONFIG=… make test` on a cluster that runs containers
	docker build --tag ottoscaler:$(VERSION) .
	docker build --tag ottoscaler-tests:$(VERSION) --file tests/cluster/Dockerfile .

cluster-up: $(READY) ## a control plane to play with; prints its kubeconfig
	@scripts/bootstrap test
	@$(BIN)/python -m tests.cluster up

cluster-down: $(READY) ## ends it
	@$(BIN)/python -m tests.cluster down

proof-faults: $(READY) ## 2,000 seeded faults on each backend while every answer is judged; result in docs/results/
	@scripts/bootstrap test
	$(BIN)/python -m tests.faultrun all 2000 $(SEED)

proof-orchestrator-logs: $(READY) ## 100 workers × 1,000 lines to a handler that misbehaves and is killed; result in docs/results/
	@scripts/bootstrap test
	OTTOSCALER_WORKERS=100 OTTOSCALER_LINES=1000 OTTOSCALER_REPORT=docs/results/orchestrator-logs.md \
		$(BIN)/python -m tests.cluster pytest -s -q tests/cluster/test_orchestrator_logs.py

proof-pipelines: $(READY) ## 2,000 random pipelines in virtual time, with failing calls, deaths and late lists
	PIPELINE_EXAMPLES=2000 $(BIN)/python -m pytest -q tests/unit/orchestrator/test_pipeline_engine.py

proof-redis-model: $(READY) ## ten thousand random commands against a model; result in docs/results/
	@scripts/bootstrap run
	$(BIN)/python -m tests.redis.proof

proof-soak: $(READY) ## 20 real minutes and 8 simulated hours of every source, changing and failing; result in docs/results/
	@scripts/bootstrap test
	$(BIN)/python -m tests.soak real --report docs/results/soak.md
	$(BIN)/python -m tests.soak compressed --report docs/results/soak.md

lock: ## the locks anew from pyproject.toml (needs uv)
	scripts/lock

clean: ## removes what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
