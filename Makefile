.DEFAULT_GOAL := help
.PHONY: help build test lint demo controlplane stand-in generate

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## Build the operator for release
	cargo build --release --bin edge-credential-operator

demo: ## Watch tokens being requested, mounted and renewed on a local control plane (DEMO=once ends by itself)
	cargo build --bin edge-credential-operator
	cargo run -p kit --bin demo

test: controlplane ## Run all tests, also those on a real API server
	cargo test --workspace

lint: ## Check the formatting, and lint with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

controlplane: ## Build the programs of the local control plane (once; needs Go 1.26 or KUBEBUILDER_ASSETS)
	cargo run -q -p kit --bin controlplane -- build

stand-in: ## Run the stand-in for Sitecore's services by itself, and show how to call it
	cargo run -q -p kit --bin sitecore-stand-in

generate: ## Write what is generated from the code: the CRD, and the tables of README.md
	UPDATE_GENERATED=1 cargo test -q --test generated -- --test-threads=1
