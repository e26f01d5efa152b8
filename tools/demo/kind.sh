#!/usr/bin/env bash
# Shows the operator at work in a kind cluster of its own, with examples/try: a token is kept in a Secret, renewed when somebody asks, and
# given back when the Secret is deleted. The cluster stays for a look at it; with DEMO=once, or where something failed, it goes.
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=edge-demo
namespace=edge-try
operator=edge-credential-operator
stand_in=sitecore-stand-in
# The user's own kubeconfig, and the cluster that it is about, stay as they are.
folder=${DEMO_FOLDER:-$PWD/target/demo}
export KUBECONFIG=$folder/kubeconfig

say() { printf '\n== %s\n' "$1"; }
fail() {
    printf 'demo: %s\n' "$1" >&2
    exit 1
}
run() {
    printf '$ %s\n' "$*"
    "$@"
}
in_try() { run kubectl "$@" --namespace "$namespace"; }

for program in kind kubectl helm; do
    command -v "$program" > /dev/null || fail "there is no $program on this machine"
done
if docker info > /dev/null 2>&1; then
    engine=docker
elif podman info > /dev/null 2>&1; then
    engine=podman
    export KIND_EXPERIMENTAL_PROVIDER=podman
else
    fail 'neither Docker nor Podman answers: install or start one of them'
fi
if kind get clusters 2> /dev/null | grep -qx "$cluster"; then
    fail "there is a cluster of that name already: kind delete cluster --name $cluster"
fi
mkdir -p "$folder"

say "Build the images of the operator and of a stand-in for Sitecore's services: minutes, the first time"
# Named for this machine: what was built here is no release. With attestations in it an image can't be loaded into every version of kind.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1
"$engine" build --build-arg PROGRAM=built --tag "localhost/$operator:demo" --file Containerfile .
"$engine" build --build-arg PROGRAM=built --tag "localhost/$stand_in:demo" --file tests/kit/Containerfile .

ended() {
    local code=$?
    if [ $code != 0 ]; then
        kubectl get pods,edgecredentials --all-namespaces || true
        kubectl logs "deployment/$operator" --namespace "$operator" --tail=20 || true
    elif [ "${DEMO:-}" != once ]; then
        return
    fi
    kind delete cluster --name "$cluster"
}
trap ended EXIT

say 'Make a cluster'
run kind create cluster --name "$cluster" --wait 3m
for image in "$operator" "$stand_in"; do
    # `kind load docker-image` does not know Podman's. An archive that is there is not written over.
    rm -f "$folder/$image.tar"
    "$engine" save --output "$folder/$image.tar" "localhost/$image:demo"
    kind load image-archive "$folder/$image.tar" --name "$cluster"
    rm -f "$folder/$image.tar"
done

say 'Install the operator, which may send client secrets to the stand-in and to nobody else'
run helm install "$operator" "charts/$operator" --namespace "$operator" --create-namespace --wait --timeout 5m \
    --set "image.repository=localhost/$operator" --set image.tag=demo \
    --set "allowedTokenOrigins={http://$stand_in.$namespace.svc}" | sed '/^NOTES:/,$d'

say 'Apply examples/try: the stand-in, client credentials, and an EdgeCredential'
kubectl kustomize examples/try | sed "s|image: .*/$stand_in:.*|image: localhost/$stand_in:demo|" | kubectl apply --filename -
in_try wait --for=condition=Available --timeout=2m "deployment/$stand_in"
in_try wait --for=condition=Ready --timeout=2m edgecredential/edge-admin
in_try get edgecredentials

token() { kubectl get secret edge-admin --namespace "$namespace" --output 'jsonpath={.data.access_token}'; }
# Those that the stand-in has logged so far.
requests() { kubectl logs "deployment/$stand_in" --namespace "$namespace" | grep -c 'route="POST /oauth/token"' || true; }
expect_requests() {
    local found
    found=$(requests)
    echo "token requests so far: $found"
    [ "$found" = "$1" ] || fail "$found token requests instead of $1"
}
expect_requests 1

say 'Ask for another token'
first=$(token)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
in_try annotate --overwrite edgecredential/edge-admin "edgecredentials.io/renew-requested-at=$now"
in_try wait "--for=jsonpath={.status.lastHandledRenewRequest}=$now" --timeout=1m edgecredential/edge-admin
second=$(token)
[ "$second" != "$first" ] || fail 'the token is the same'
echo 'the Secret has another token'
expect_requests 2

say 'Delete the Secret'
in_try delete secret edge-admin
in_try wait --for=create --timeout=1m secret/edge-admin
[ "$(token)" = "$second" ] || fail 'the Secret came back with another token'
echo 'the Secret is back, with the same token'
expect_requests 2

say 'All went well'
if [ "${DEMO:-}" != once ]; then
    cat << END
It stays up, and the token is renewed every 3 minutes. To look around:

  export KUBECONFIG=$KUBECONFIG
  kubectl get edgecredentials --namespace $namespace --watch
  kubectl logs deployment/$operator --namespace $operator
  kubectl logs deployment/$stand_in --namespace $namespace

To remove it:

  kind delete cluster --name $cluster
  $engine rmi localhost/$operator:demo localhost/$stand_in:demo
END
fi
