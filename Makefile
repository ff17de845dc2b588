.DEFAULT_GOAL := help
CARGO ?= cargo
GO ?= go
TARGET := $(or $(CARGO_TARGET_DIR),target)
# `make dockerfile PROFILE=release` runs the lines as the image does, which takes some ten minutes.
PROFILE ?= dev
BIN := $(TARGET)/debug
RELEASE := $(TARGET)/release

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

gitops: build ## Find or build the judgement of Argo CD and Flux (about 2 minutes, once a machine)
	@$(BIN)/envtest gitops

test: build controlplane helm gitops ## Every test, strict: nothing is left out
	@hack/test.sh

dockerfile: ## Judge the Dockerfile, and run its lines on only what it copies, in the debug profile (no container engine needed)
	cd hack/dockerfile && $(GO) test ./... && $(GO) run . lint ../../Dockerfile
	cd hack/dockerfile && CARGO_TARGET_DIR=$(abspath $(TARGET)/dockerfile) $(GO) run . try ../../Dockerfile ../.. $(abspath $(TARGET)/image) PROFILE=$(PROFILE)

sbom: ## Write the bill of materials of the operator's binary, in CycloneDX, to target/sbom.cdx.json, and judge it by the schema
	hack/sbom.sh $(TARGET)/sbom.cdx.json

reproducible: ## Build the release twice, in different folders, and compare byte by byte (about 20 minutes on two cores)
	hack/reproducible.sh

check: ## Format, lints, docs, generated files, licences, workflows, bill of materials
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	$(MAKE) generate
	git diff --exit-code -- crds config charts docs
	hack/licences.sh
	test -z "$$(gofmt -l hack)"
	$(GO) run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck= -pyflakes=
	$(MAKE) sbom

generate: ## Write the generated files: crds/ and roles with their copies in config/ and charts/, docs/{rbac,reference,metrics}.md
	$(CARGO) run --quiet --locked -- crds --output-dir crds
	cp crds/*.yaml config/crd/bases/
	cp crds/*.yaml charts/databricks-app-operator/files/crds/
	$(CARGO) run --quiet --locked -- role > config/rbac/role.yaml
	$(CARGO) run --quiet --locked -- role --format secrets > config/rbac/secrets/role.yaml
	$(CARGO) run --quiet --locked -- role --format rules > charts/databricks-app-operator/files/rules.yaml
	$(CARGO) run --quiet --locked -- role --format table > docs/rbac.md
	$(CARGO) run --quiet --locked -- reference > docs/reference.md
	$(CARGO) run --quiet --locked -- metrics > docs/metrics.md

.PHONY: help build demo bench playground playground-down controlplane helm gitops test dockerfile sbom reproducible check generate
