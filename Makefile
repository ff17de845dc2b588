.DEFAULT_GOAL := help
CARGO ?= cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build operator, fake workspace and test environment (debug)
	$(CARGO) build --workspace --locked

demo: build controlplane helm ## Watch a fleet roll out: drift repaired, a failing canary taken back, a fix, a prune that asks (about 50 s once built)
	@$(BIN)/envtest demo

playground: build controlplane helm ## Start an API server, a fake workspace and the operator, and leave them running
	@$(BIN)/envtest playground up

bench: build controlplane helm ## Count what the operator costs, up to 5,000 apps (about 25 minutes); BENCH="--apps 20" or "--fleet" measures a part
	$(CARGO) bench --locked --bench fleet --no-run
	@DAO_OPERATOR_BIN=$(or $(DAO_OPERATOR_BIN),$(abspath $(RELEASE)/databricks-app-operator)) $(BIN)/envtest bench $(BENCH)

playground-down: ## End the playground
	@if [ -x $(BIN)/envtest ]; then $(BIN)/envtest playground down; else echo 'no playground: nothing is built'; fi

controlplane: build ## Find or build the Kubernetes control plane (about 5 minutes, once a machine)
	@$(BIN)/envtest controlplane

helm: build ## Find or build helm, which installs the chart (about a minute, once a machine)
	@$(BIN)/envtest helm

test: build controlplane helm ## Every test, strict: nothing is left out
	@hack/test.sh

check: ## Format, lints, docs, generated files, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	$(MAKE) generate
	git diff --exit-code -- crds config charts docs
	hack/licences.sh
	test -z "$$(gofmt -l hack/controlplane)"

generate: ## Write the generated files: crds/ and roles with their copies in config/ and charts/, docs/{rbac,reference}.md
	$(CARGO) run --quiet --locked -- crds --output-dir crds
	cp crds/*.yaml config/crd/bases/
	cp crds/*.yaml charts/databricks-app-operator/files/crds/
	$(CARGO) run --quiet --locked -- role > config/rbac/role.yaml
	$(CARGO) run --quiet --locked -- role --format secrets > config/rbac/secrets/role.yaml
	$(CARGO) run --quiet --locked -- role --format rules > charts/databricks-app-operator/files/rules.yaml
	$(CARGO) run --quiet --locked -- role --format table > docs/rbac.md
	$(CARGO) run --quiet --locked -- reference > docs/reference.md

.PHONY: help build demo bench playground playground-down controlplane helm test check generate
