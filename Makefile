.PHONY: controlplane

controlplane: ## Build the programs of the local control plane (once; needs Go 1.26 or KUBEBUILDER_ASSETS)
	cargo run -q -p kit --bin controlplane -- build
