#!/usr/bin/env bash
# Writes what a release is installed from: the packaged chart, manifests for kubectl, and the definitions with their JSON Schemas. All of them
# name the image by its digest, so that who trusts one of them has exactly the image of this release. Needs Helm.
#
#   .ci/release-manifests.sh sha256:… FOLDER
set -euo pipefail
digest=$1
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."

if ! [[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]]; then
    echo "no digest of an image: $digest" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chart=$work/edge-credential-operator
cp -R charts/edge-credential-operator "$chart"
sed -i "s|^  digest: \"\"$|  digest: $digest|" "$chart/values.yaml"
sed -i "s|^\( *image: .*\)$|\1@$digest|" "$chart/Chart.yaml"
# What Artifact Hub lists as the changes of this version: the points of CHANGELOG.md. The annotations are the last of Chart.yaml.
version=$(sed -n 's/^version: //p' "$chart/Chart.yaml")
heading="## [$version]"
grep -qF "$heading" CHANGELOG.md || heading='## [Unreleased]'
{
    echo '  artifacthub.io/changes: |'
    awk -v heading="$heading" '
        function tell() {
            gsub(/\047/, "\047\047", text)
            if (text != "") printf "    - kind: %s\n      description: \047%s\047\n", kind, text
            text = ""
        }
        /^## / { tell(); inside = index($0, heading) == 1; kind = "" }
        /^### / { tell(); kind = tolower($2) }
        /^- / { tell(); if (inside && kind ~ /^(added|changed|deprecated|removed|fixed|security)$/) text = substr($0, 3) }
        /^  / { if (text != "") text = text " " substr($0, 3) }
        END { tell() }
    ' CHANGELOG.md
} >> "$chart/Chart.yaml"
helm package "$chart" --destination "$out"

# The chart's objects for kubectl, in a namespace that enforces what the pod satisfies.
manifests() {
    local namespace=$1
    shift
    sed "s/^  name: .*/  name: $namespace/" deploy/namespace.yaml
    echo ---
    helm template edge-credential-operator "$chart" --namespace "$namespace" --no-hooks "$@" \
        | sed 's|app.kubernetes.io/managed-by: Helm|app.kubernetes.io/managed-by: kubectl|'
}

manifests edge-credential-operator > "$out/install.yaml"
# The operator in the one namespace that it serves, by who has no rights in the cluster. For another namespace: sed s/edge-credentials/NAME/
manifests edge-credentials --set 'namespaces={edge-credentials}' --set crds.enabled=false \
    --set rbac.aggregateToView=false --set rbac.aggregateToEdit=false > "$out/install-namespaced.yaml"
for kind in edgecredential edgetoken; do
    cp "crds/${kind}s.yaml" "$out/${kind}s-crd.yaml"
    cp "crds/${kind}_v1alpha1.json" "$out/"
done
