# `make help` lists what there is. Needs: Rust (rustup reads the version from Cargo.toml's rust-version upwards), a C compiler,
# Python 3.10 or newer with venv. Synapse is installed from PyPI into ${XDG_CACHE_HOME:-~/.cache}/mimi-gateway, never here.

# The cargo profile of the gateway that the demo and the silos run; the tests use `dev`, the benches always `release`.
PROFILE ?= quick
TEST_PROFILE ?= dev
PYTHON ?= python3
LAUNCH := $(PYTHON) tests/silos/launch.py

.DEFAULT_GOAL := help
.PHONY: help demo silos test unit e2e bench fmt lint docs deny

help: ## This list
	@grep -E '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1	/' | expand -t 16

demo: ## Two homeservers, two gateways, a conversation as a transcript (DEMO_ONCE=1 ends after it)
	@GATEWAY_PROFILE=$(PROFILE) $(LAUNCH) demo

silos: ## The same environment without the play, until Ctrl-C (SILOS_BASE_PORT moves its ports; see target/silos/env.json)
	@GATEWAY_PROFILE=$(PROFILE) $(LAUNCH) silos

test: ## All tests: cargo's, then end to end on two real Synapses (E2E_MESSAGES, E2E_SEED)
	@TEST_PROFILE=$(TEST_PROFILE) $(PYTHON) tests/all.py

unit: ## Only cargo's tests
	cargo test --locked --profile $(TEST_PROFILE)

e2e: ## Only the end-to-end tests (ONLY="part of a name" for some)
	@GATEWAY_PROFILE=$(TEST_PROFILE) $(LAUNCH) e2e $(if $(ONLY),"$(ONLY)")

bench: ## Ratios: MLS against raw OpenMLS, gateways against Synapse, end to end against a baseline (release build)
	cargo bench --locked
	@GATEWAY_PROFILE=release $(LAUNCH) bench

fmt: ## Formats the Rust code
	cargo fmt

lint: ## Format and clippy, as CI asks for them
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

docs: ## API documentation into target/doc; warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

deny: ## Licences, sources and duplicate versions of the dependencies
	@bash .ci/deny
