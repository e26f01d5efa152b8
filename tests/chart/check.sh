#!/usr/bin/env bash
# Holds the chart against tools of others, each of which must find nothing. `make test-chart` calls this with all of them in PATH.
# The manifests are those in tests/chart/golden, which `make test` holds against the chart.
set -euo pipefail
cd "$(dirname "$0")/../.."

chart=charts/edge-credential-operator
try=(examples/try/{namespace,stand-in,edge-credential}.yaml)
export HELM_CACHE_HOME="$PWD/.cache/helm" HELM_CONFIG_HOME="$PWD/.cache/helm" HELM_DATA_HOME="$PWD/.cache/helm"

say() { printf '\n== %s\n' "$1"; }

say "helm lint"
for values in tests/chart/values/*.yaml; do
    helm lint --strict --quiet --namespace operators --values "$values" "$chart"
done

say "Helm 3 renders what Helm 4 does"
helm3=.cache/tools/chart/helm3/helm
for values in tests/chart/values/*.yaml; do
    "$helm3" lint --strict --quiet --kube-version 1.33 --namespace operators --values "$values" "$chart"
    # Helm 4 leaves more empty lines.
    "$helm3" template edge "$chart" --kube-version 1.33 --namespace operators --values "$values" \
        | diff --ignore-blank-lines --ignore-trailing-space "tests/chart/golden/$(basename "$values")" - \
        || { echo "another result with $values"; exit 1; }
done
"$helm3" version --template '{{.Version}}: equal{{"\n"}}'

say "kubernetes-validate, from Kubernetes 1.33 to 1.37"
for version in 1.33 1.34 1.35 1.36 1.37; do
    # Without warnings: kinds of Prometheus Operator are none of Kubernetes', and neither is EdgeCredential.
    kubernetes-validate --strict --quiet --no-warn --kubernetes-version "$version" tests/chart/golden/*.yaml "${try[@]}"
    echo "$version: valid"
done

say "checkov"
# One after the other: of two folders it takes the first one twice.
for folder in tests/chart/golden examples/try; do
    checkov --config-file .ci/checkov.yaml --directory "$folder"
done

say "JSON Schema: takes the examples, and refuses a misspelt field"
python3 - <<'END'
import json, jsonschema, yaml
jsonschema.Draft7Validator.check_schema(json.load(open("charts/edge-credential-operator/values.schema.json")))
_, tried = yaml.safe_load_all(open("examples/try/edge-credential.yaml"))
load = lambda example: yaml.safe_load(open(f"examples/{example}.yaml"))
for kind, examples in {"edgecredential": [tried, load("edgecredential")], "edgetoken": [load("edge-token")]}.items():
    schema = json.load(open(f"crds/{kind}_v1alpha1.json"))
    jsonschema.Draft7Validator.check_schema(schema)
    for example in examples:
        jsonschema.validate(example, schema)
    example["spec"]["credentialSecretRef"] = example["spec"].pop("credentialsSecretRef")
    assert not jsonschema.Draft7Validator(schema).is_valid(example)
print("valid")
END

say "promtool: the alerts and when they fire"
promtool check rules --lint=all --lint-fatal tests/chart/alerts/rules.json
promtool test rules tests/chart/alerts/tests.yaml

say "promtool: the dashboard's expressions, and what they tell"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 tests/chart/dashboard.py "$folder"
promtool check rules --lint=none "$folder/rules.json"
promtool test rules "$folder/tests.json"

say "helm-docs: the chart's README says what values.yaml says"
generated="$folder/README.md"
helm-docs --chart-search-root "$chart" --sort-values-order file --log-level warning --dry-run > "$generated"
# A dry run ends with one more empty line.
diff --ignore-blank-lines "$chart/README.md" "$generated" \
    || { echo "$chart/README.md is out of date: run make chart-readme"; exit 1; }
echo "equal"
