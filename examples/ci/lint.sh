#!/usr/bin/env bash
# Checks the examples: with actionlint, against GitLab's schema, and that mountproof knows every flag in them.
#
#   lint.sh [MOUNTPROOF]     the program, target/release/mountproof where it is not given
#
# actionlint comes as a Go module and check-jsonschema from PyPI, pinned, into $MOUNTPROOF_CACHE (default ~/.cache/mountproof).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mountproof=${1:-$here/../../target/release/mountproof}
actionlint=v1.7.7 check_jsonschema=0.39.0
tools=${MOUNTPROOF_CACHE:-$HOME/.cache/mountproof}/ci-lint-$actionlint-$check_jsonschema

if [ ! -d "$tools" ]; then
  making=$(mktemp -d)
  trap 'rm -rf "$making"' EXIT
  go=$(type -P go || echo /usr/local/go/bin/go)
  GOBIN=$making GOFLAGS=-mod=mod GOTOOLCHAIN=local "$go" install "github.com/rhysd/actionlint/cmd/actionlint@$actionlint"
  python3 -m venv "$making/python"
  "$making/python/bin/python3" -m pip install --quiet --disable-pip-version-check "check-jsonschema==$check_jsonschema"
  mkdir -p "$(dirname "$tools")"
  mv "$making" "$tools"
  trap - EXIT
fi

"$tools/actionlint" "$here/github-actions.yaml"
"$tools/python/bin/python3" -m check_jsonschema --builtin-schema vendor.gitlab-ci "$here/gitlab-ci.yaml"

help=$("$mountproof" run --help; "$mountproof" sweep --help)
for file in "$here"/*.yaml; do
  # Lines that name the program, and those that go on from them.
  flags=$(grep -oE '(mountproof.* |^ *)--[a-z-]+.*' "$file" | grep -v 'cargo install' | grep -oE -- '--[a-z][a-z-]+' | sort -u)
  test -n "$flags"
  for flag in $flags; do
    grep -qE -- "$flag( |=|\$|,)" <<<"$help" || { echo "$file: mountproof does not know $flag" >&2; exit 1; }
  done
done
echo "examples/ci: both are well"
