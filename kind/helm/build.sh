#!/usr/bin/env bash
# The program helm from its Go module, pinned, for machines without it: prints its path, for MOUNTPROOF_HELM.
# Kept in $MOUNTPROOF_CACHE (default ~/.cache/mountproof).
set -euo pipefail

version=v3.19.5
folder=${MOUNTPROOF_CACHE:-$HOME/.cache/mountproof}/helm-$version
if [ ! -x "$folder/helm" ]; then
  making=$(mktemp -d)
  trap 'rm -rf "$making"' EXIT
  go=$(type -P go || echo /usr/local/go/bin/go)
  GOBIN=$making GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=0 "$go" install -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$version" >&2
  mkdir -p "$folder"
  mv "$making/helm" "$folder/"
fi
echo "$folder/helm"
