# The door to the project. `make` alone says what there is.
# What a target needs and is missing, it installs: Debian packages, and cargo tools under $COUNTERSIGN_CACHE.

.DEFAULT_GOAL := help
.PHONY: help run client demo observe dashboards check-dashboards chart check-chart image k8s-up k8s-down \
  test-k8s test test-cluster simulate lint fmt doc deny bench bench-cluster install check-install clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: packages ## Build the service and run it here, with its data in ./data
	cargo build --release --locked -p countersign-service
	@exec scripts/run.sh

client: packages ## Build the client, `countersign`, and say where it is
	cargo build --release --locked -p countersign-client
	@echo "Built $${CARGO_TARGET_DIR:-target}/release/countersign. To go on: docs/client.md"

demo: packages ## Show what it does, against a server that lies too; renews the transcript in README.md
	cargo build --locked -p countersign-service -p countersign-client --bins --examples
	@scripts/demo.sh --write

observe: packages ## Run the service under load with Prometheus and node exporter, until Ctrl-C
	@scripts/install-packages.sh --observe
	cargo build --release --locked -p countersign-service -p countersign-loadtest --bins
	@exec scripts/observe.sh

dashboards: ## Write grafana/dashboards and docs/metrics.md from their description
	cargo run --quiet --locked -p countersign-dashboards -- write

check-dashboards: servers ## Ask every query of every dashboard on real processes under load and faults, and draw them
	@scripts/install-packages.sh --observe
	cargo build --locked --workspace --all-features --bins
	@scripts/check-dashboards.sh

chart: ## Write what is generated in charts/countersign: README.md, values.schema.json, copies of rules and dashboards
	@scripts/install-chart-tools.sh
	@"$${COUNTERSIGN_CACHE:-$$HOME/.cache/countersign}/chart-tools/python/bin/python" scripts/chart.py write

check-chart: packages ## Check the chart and the examples in k8s/, with Helm 3 and Helm 4
	cargo build --locked --workspace --all-features --bins
	@scripts/check-chart.sh

image: packages ## Build the images of service, client and load tester from nothing, as OCI archives (LOAD=1 loads them)
	@scripts/image.sh

test: servers ## Run all tests
	@scripts/test.sh

test-cluster: servers ## Run the tests of three pods over a cluster of three CQL nodes
	@scripts/test-cluster.sh

SEED ?=
MINUTES ?= 3
.PHONY: chaos
chaos: servers ## Run the ledger over three pods, three CQL nodes and six Valkeys while faults are done (SEED=7 MINUTES=5)
	@SEED=$(SEED) MINUTES=$(MINUTES) scripts/chaos.sh

SEEDS ?= 100000
FROM ?= 0
simulate: packages ## Run many more simulated worlds than `make test` does (SEEDS=1000000 takes a night, FROM=… goes on)
	SIMULATE_FROM=$(FROM) SIMULATE_SEEDS=$(SEEDS) cargo test --release --locked -p countersign-service --lib -- \
	  --nocapture simulation::no_seed_violates_an_invariant

lint: tools ## Check formatting, lints, documentation, scripts and dependencies
	@scripts/lint.sh

fmt: ## Format the code
	cargo fmt --all

k8s-up: packages ## Bring up a Kubernetes of two nodes on this machine, in namespaces of its own (as root; the first time 20 minutes)
	@k8s/cluster/cluster.sh up
	@echo "It is up. To look: k8s/cluster/cluster.sh in kubectl get pods --all-namespaces"

k8s-down: ## End it
	@k8s/cluster/cluster.sh down

test-k8s: servers ## Install the chart on that Kubernetes, and scale, upgrade, kill and drain it under load
	@scripts/install-chart-tools.sh
	@k8s/cluster/cluster.sh up
	@k8s/cluster/test.sh

doc: ## Build the code's documentation and say where it is
	cargo doc --workspace --no-deps --locked
	@echo "Open $${CARGO_TARGET_DIR:-target}/doc/countersign_protocol/index.html"

deny: tools ## Check the dependencies' licences, sources and advisories (VERBOSE=1: duplicates too)
	@scripts/deny.sh

bench: packages ## Run the benchmarks
	cargo bench --locked -p countersign-service
	cargo bench --locked -p countersign-loadtest --bench generator

.PHONY: experiments
experiments: servers ## Repeat the article's experiments and ours, and write docs/experiments (half an hour; as root)
	@scripts/experiments.sh

bench-cluster: servers ## Measure one pod and three pods over a CQL server and a Valkey cluster
	@scripts/bench-cluster.sh

.PHONY: bench-stores
bench-stores: servers ## Measure all stores side by side, and write docs/stores-measured.md (half an hour)
	@SECONDS_EACH=$(SECONDS_EACH) scripts/bench-stores.sh

SECONDS_EACH ?= 30
.PHONY: peers
peers: ## Measure the service beside the article's design and beside Matrix Synapse (SECONDS_EACH=10)
	@scripts/peers.sh install
	cargo build --release --locked -p countersign-service -p countersign-loadtest --bins
	$${CARGO_TARGET_DIR:-target}/release/countersign-loadtest peers --seconds $(SECONDS_EACH) --report data/peers

install: tools servers ## Install everything that the other targets need

check-install: ## Say which of the needed commands are there; install nothing
	@scripts/install-packages.sh --list

clean: ## Remove what was built; ./data stays
	cargo clean

.PHONY: packages servers tools
packages:
	@scripts/install-packages.sh
servers:
	@scripts/install-packages.sh --test
	@scripts/cql.sh install
	@scripts/dynamodb.sh install
	@scripts/peers.sh install article
tools:
	@scripts/install-packages.sh --lint
	@scripts/install-cargo-tools.sh
