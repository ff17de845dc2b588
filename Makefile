.DEFAULT_GOAL := help

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the operator (debug)
	cargo build --locked

generate: ## Write the generated files: crds/, role.yaml
	cargo run --quiet --locked -- crds --output-dir crds
	cp crds/*.yaml config/crd/bases/
	cp crds/*.yaml charts/databricks-app-operator/files/crds/
	cargo run --quiet --locked -- role > config/rbac/role.yaml
	cp config/rbac/role.yaml charts/databricks-app-operator/role.yaml

check: ## Format, lints, docs, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	$(MAKE) generate
	git diff --exit-code -- crds config charts
	@! grep -q '"aws-lc' Cargo.lock || (echo 'aws-lc found in Cargo.lock: the TLS provider is ring alone' && false)

test: ## Every test, strict
	DAO_TEST_STRICT=1 cargo test --workspace --locked

.PHONY: help build generate check test
