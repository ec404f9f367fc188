#!/usr/bin/env bash
# Kubernetes' and etcd's programs for machines that reach package registries but no image registry: built from their Go
# modules, as pinned in go.mod and checked against go.sum.
#
#   build.sh PROGRAM..       such as etcd kube-apiserver; prints the folder that has them, by the names that envtest gives
#                            them, for KUBEBUILDER_ASSETS. Those that are there already are not built again.
#
# They are kept in $MOUNTPROOF_CACHE (default ~/.cache/mountproof), in a folder named by what they are made of: a change of
# this script or of the pins makes others. On 2 cores an API server, its controllers and etcd take about ten minutes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
say() { printf 'kubernetes programs: %s\n' "$*" >&2; }
test $# -gt 0 || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }

go=$(type -P go || echo /usr/local/go/bin/go)
version=$(sed -n 's/^\tk8s.io\/kubernetes //p' "$here/go.mod")
key=$(cat "$here"/build.sh "$here"/go.mod "$here"/go.sum | sha256sum | cut -c1-16)
folder=${MOUNTPROOF_CACHE:-$HOME/.cache/mountproof}/kubernetes-$version-$key
mkdir -p "$folder"

packages=()
for program in "$@"; do
  [ ! -x "$folder/$program" ] || continue
  case $program in
  etcd) packages+=(go.etcd.io/etcd/server/v3) ;;
  *) packages+=("k8s.io/kubernetes/cmd/$program") ;;
  esac
done
if [ ${#packages[@]} = 0 ]; then
  say "all there"
  echo "$folder"
  exit 0
fi

# Made aside and moved: what has its name is whole.
making=$(mktemp -d "$folder/making.XXXXXX")
trap 'rm -rf "$making"' EXIT
# What go.sum does not know is refused, and no other toolchain than the one here is fetched: where it is too old, go says so.
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0
cd "$here"
say "building ${packages[*]##*/} $version with $("$go" env GOVERSION)"
x=k8s.io/component-base/version
number=${version#v}
"$go" build -p 2 -o "$making/" \
  -ldflags "-s -w -X $x.gitVersion=$version -X $x.gitMajor=${number%%.*} -X $x.gitMinor=$(cut -d. -f2 <<<"$number") -X $x.gitTreeState=clean" \
  "${packages[@]}" 2>"$making/log" || { tail -n 20 "$making/log" >&2; exit 1; }
rm "$making/log"
# The package of etcd's program is named after its version.
[ ! -e "$making/server" ] || mv "$making/server" "$making/etcd"
mv "$making"/* "$folder/"
echo "$key" >"$folder/made-of"
echo "$folder"
