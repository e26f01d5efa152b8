#!/usr/bin/env bash
# Shows the operator at work, in a way that this machine has the programs for: on a local control plane, or in a kind cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

has() {
    local program
    for program in "$@"; do
        command -v "$program" > /dev/null || return 1
    done
}

# The programs of the control plane are there already, in a folder that is named or where they were built, or Go builds them.
has_control_plane() {
    [ -n "${KUBEBUILDER_ASSETS:-}" ] || compgen -G '.cache/controlplane/kubernetes-*/kube-apiserver' > /dev/null || has go
}
can_be_local() { has cargo && has_control_plane; }
can_be_kind() { has kind kubectl helm && { has docker || has podman; }; }

# The local one takes less, but it was run on Linux alone.
if can_be_local && { [ "$(uname)" = Linux ] || ! can_be_kind; }; then
    cargo build --bin edge-credential-operator
    exec cargo run -p tools --bin demo
elif can_be_kind; then
    exec tools/demo/kind.sh
else
    cat >&2 << 'END'
demo: it takes either
  - kind (kind.sigs.k8s.io), kubectl, Helm, and Docker or Podman, or
  - Rust (rustup.rs), a C compiler and Go 1.26 or later (go.dev/doc/install), on Linux.
END
    exit 1
fi
