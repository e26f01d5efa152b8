#!/usr/bin/env bash
# Writes the manifest by which Krew installs the plugin: where each platform's archive of a release is, and its checksum.
#
#   .ci/krew-manifest.sh VERSION FOLDER > edgecred.yaml
#
# FOLDER has the archives kubectl-edgecred-VERSION-OS-ARCH.tar.gz, or .zip for Windows: at least one, and all that are published.
set -euo pipefail
version=$1
folder=$2
repository=https://github.com/edge-credential-operator/edge-credential-operator

cat <<EOF
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: edgecred
spec:
  version: v$version
  homepage: $repository
  shortDescription: Show, renew and rotate Sitecore Edge tokens
  description: |
    For the person on call, and for who sets up the edge-credential-operator, which keeps
    OAuth 2.0 tokens and API keys for Sitecore Experience Edge valid in Kubernetes Secrets. It
    shows how EdgeCredentials and EdgeTokens stand and why, renews and rotates them, calls APIs
    with the stored token or key without printing it, tries credentials, and checks manifests
    without a cluster.
  caveats: |
    The operator has to be installed in the cluster, but for the commands explain and validate.
    For completion of commands and names: kubectl edgecred completion --install
  platforms:
EOF

found=0
for platform in linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64; do
    os=${platform%-*}
    arch=${platform#*-}
    if [ "$os" = windows ]; then
        archive=kubectl-edgecred-$version-$platform.zip
        program=kubectl-edgecred.exe
    else
        archive=kubectl-edgecred-$version-$platform.tar.gz
        program=kubectl-edgecred
    fi
    if ! [ -f "$folder/$archive" ]; then
        echo "no $archive" >&2
        continue
    fi
    found=$((found + 1))
    checksum=$(sha256sum "$folder/$archive" | cut -d ' ' -f 1)
    cat <<EOF
    - selector:
        matchLabels:
          os: $os
          arch: $arch
      uri: $repository/releases/download/v$version/$archive
      sha256: $checksum
      bin: $program
      files:
        - from: $program
          to: .
        - from: LICENSE
          to: .
EOF
done
[ "$found" -gt 0 ]
