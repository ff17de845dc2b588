.DEFAULT_GOAL := help
CARGO ?= cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build operator, fake workspace and test environment (debug)
	$(CARGO) build --workspace --locked

demo: build controlplane ## Watch a fleet roll out: drift repaired, a failing canary taken back, a fix, a prune that asks (about 50 s once built)
	@$(BIN)/envtest demo

playground: build controlplane ## Start an API server, a fake workspace and the operator, and leave them running
	@$(BIN)/envtest playground up

bench: build controlplane ## Count what the operator costs, up to 5,000 apps (about 25 minutes); BENCH="--apps 20" or "--fleet" measures a part
	$(CARGO) bench --locked --bench fleet --no-run
	@DAO_OPERATOR_BIN=$(or $(DAO_OPERATOR_BIN),$(abspath $(RELEASE)/databricks-app-operator)) $(BIN)/envtest bench $(BENCH)

playground-down: ## End the playground
	@if [ -x $(BIN)/envtest ]; then $(BIN)/envtest playground down; else echo 'no playground: nothing is built'; fi

controlplane: build ## Find or build the Kubernetes control plane (about 5 minutes, once a machine)
	@$(BIN)/envtest controlplane

gitops: build ## Find or build the judgement of Argo CD and Flux (about 2 minutes, once a machine)
	@$(BIN)/envtest gitops

test: build controlplane gitops ## Every test, strict: nothing is left out
	@hack/test.sh

check: ## Format, lints, docs, generated files, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	$(MAKE) generate
	git diff --exit-code -- crds config charts docs
	hack/licences.sh
	test -z "$$(gofmt -l hack/controlplane hack/gitops)"

generate: ## Write the generated files: crds/, role.yaml, their copies in config/ and charts/, docs/reference.md
	$(CARGO) run --quiet --locked -- crds --output-dir crds
	cp crds/*.yaml config/crd/bases/
	cp crds/*.yaml charts/databricks-app-operator/files/crds/
	$(CARGO) run --quiet --locked -- role > config/rbac/role.yaml
	cp config/rbac/role.yaml charts/databricks-app-operator/role.yaml
	$(CARGO) run --quiet --locked -- reference > docs/reference.md

.PHONY: help build demo bench playground playground-down controlplane gitops test check generate
