# `make demo` and `make test` work on a fresh Debian machine that has git and make; `make` lists the rest.

SHELL := /bin/bash
# Where the installer puts cargo, for the shell that has not been told yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

MODEL := models/all-MiniLM-L6-v2
TIDEMILL := target/release/tidemill
IDLE := target/idle

.DEFAULT_GOAL := help
.PHONY: help setup build model demo up bench test test-services lint audit sbom

help: ## list what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: ## install what is missing: Rust, Redis, PostgreSQL, a C++ compiler
	@scripts/setup.sh

build: setup ## build every program
	cargo build --locked --release --workspace --bins

model: build ## fetch the embedding model (90 MB, once)
	@$(TIDEMILL) model fetch $(MODEL) || \
	  echo "model: none could be fetched; the fleet falls back to hashing, which finds near repeats only"

demo: model ## run the sample events through a fleet of its own and show where each ended
	$(TIDEMILL) demo

up: model ## run a fleet until Ctrl-C
	$(TIDEMILL) up

# The binaries with idle brains are copied away and the real ones put back before anything is measured.
bench: setup ## measure events a second, latency and memory against the floor
	cargo build --locked --release --workspace --bins --features tidemill-fleet/idle-brains
	@mkdir -p $(IDLE) && cp target/release/tidemill-* $(IDLE)/ && rm -f $(IDLE)/*.d
	cargo build --locked --release --workspace --bins
	target/release/spine --programs $(IDLE)

lint: setup ## format, lints, dependency rule, deployment files
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features tidemill-tests/services -- -D warnings
	scripts/check-dependencies.sh
	scripts/check-deploy.sh

audit: setup ## licenses, bans, sources and known vulnerabilities of dependencies; the Helm chart
	@scripts/setup-tools.sh cargo-deny helm schemas
	scripts/audit.sh
	scripts/check-deploy.sh chart

sbom: setup ## a bill of materials (CycloneDX) of each program, in target/sbom
	@scripts/setup-tools.sh cargo-cyclonedx
	@scripts/audit.sh sbom

test: lint ## every check and every test
	@cargo run --locked --quiet -p tidemill-cli --bin tidemill -- model fetch $(MODEL) || \
	  echo "model: none could be fetched; the tests that need it are left out"
	cargo build --locked --workspace --bins
	@[ -d $(MODEL) ] || export TIDEMILL_WITHOUT_MODEL=1; set -x; cargo test --locked --workspace

test-services: setup ## tests on a real WordPress and Weaviate, and beside the release before
	@scripts/setup-services.sh
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --features tidemill-tests/services --test services
