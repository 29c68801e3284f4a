# Two commands do everything: `make demo` and `make test`. Both install what is missing first.
SHELL := /bin/bash
ROOT  := scripts/as-root
BIN   := .venv/bin
# A proxy in the environment must not see the lab's addresses.
export no_proxy := *
export NO_PROXY := *

.PHONY: help demo test setup lint types contracts unit proto soak kernel lab e2e bench-proto cluster-setup cluster-up cluster-down clean
help: ## Say what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 22

demo: setup ## Wake a service at zero with a real SYN, and show how long each step took (RUNS=n)
	$(ROOT) $(BIN)/wangell-lab demo $(if $(RUNS),--runs $(RUNS)) --json out/demo.json --plot out/demo.png

# Two at a time: what needs no kernel, then what does. The labs wait for timers and processes most of
# the time, which leaves the machine to the programs that are compiled beside them.
test: setup ## Everything that proves the project
	$(MAKE) --no-print-directory -j2 --output-sync=target lint types contracts unit proto
	$(MAKE) --no-print-directory -j2 --output-sync=target kernel lab

setup: ## Install what is missing: Debian packages, .venv
	@$(ROOT) scripts/setup

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict
	$(BIN)/mypy

contracts: setup ## import-linter: which way imports may point
	$(BIN)/lint-imports

unit: setup ## Unit and property tests: no root, no kernel
	$(BIN)/pytest tests/repo tests/vocabulary tests/daemon tests/benchmarks tests/kube --ignore tests/benchmarks/test_processes.py

proto: setup ## wangell_proto alone: its wheel, its two dependencies, its tests, 100 % branch coverage
	scripts/proto-lane

kernel: setup ## BPF in the real kernel, real processes
	$(ROOT) $(BIN)/pytest tests/controller tests/kernel tests/benchmarks/test_processes.py

lab: setup ## Whole cold starts in network namespaces
	$(ROOT) $(BIN)/pytest tests/lab

e2e: cluster-setup ## A real two-node Kubernetes: the harness and all that runs on it (first: 10 minutes to build)
	$(ROOT) $(BIN)/python -m tests.cluster build
	$(ROOT) $(BIN)/pytest -p tests.cluster.fixtures -o timeout=900 --durations=12 tests/cluster $(wildcard tests/e2e)

soak: setup ## Random histories of the protocol, by seed, for as long as asked (MINUTES=10, SEED=n)
	$(BIN)/python -m tests.proto.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

bench-proto: setup ## The protocol beside a bare UDP echo and gRPC: out/bench_proto.json, .png
	$(ROOT) $(BIN)/python -m benchmarks.proto --json out/bench_proto.json --plot out/bench_proto.png

cluster-setup: setup
	@$(ROOT) scripts/setup cluster

cluster-up: cluster-setup ## Keep a two-node Kubernetes up, and say how to use it (KUBE_PROXY=nftables)
	$(ROOT) $(BIN)/python -m tests.cluster up --image controller --image daemon $(if $(KUBE_PROXY),--kube-proxy $(KUBE_PROXY))

cluster-down: ## End it
	$(ROOT) $(BIN)/python -m tests.cluster down

clean: ## Remove .venv, out/ and caches
	rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
