#!/usr/bin/env bash
# Images of the stand-ins, of the program that was built: driver, provider and what registers the driver with kubelet, to be
# put on nodes of kind where no release can be pulled. Each has the program and the libraries that it is linked with.
#
#   build.sh [PROGRAM [NAME]]   PROGRAM is target/release/mountproof where it is not given; images are called NAME-driver and
#                               so on, localhost/mountproof-driver where no NAME is given; prints a line for each image, as
#                               flags of `mountproof run --env kind`
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:-$root/target/release/mountproof}
name=${2:-localhost/mountproof}
test -x "$program" || { echo "stand-ins: $program is not there: cargo build --release" >&2; exit 3; }
docker info >/dev/null 2>&1 || { echo "stand-ins: no Docker Engine answers: fixtures/docker/start.sh starts one" >&2; exit 3; }

making=$(mktemp -d)
trap 'rm -rf "$making"' EXIT
strip -o "$making/mountproof" "$program"
for library in $(ldd "$program" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
  mkdir -p "$making$(dirname "$library")"
  cp -L "$library" "$making$library"
done
# The tag says which release is imitated, as a release's own does.
imitated() { sed -n 's/^pub const VERSION: &str = "\(.*\)";/\1/p' "$root/crates/stand-ins/src/$1/mod.rs"; }

for part in driver provider registrar; do
  case $part in
  registrar) image=$name-$part:now ;;
  *) image=$name-$part:$(imitated $part) ;;
  esac
  tar -C "$making" --owner=0 --group=0 --sort=name --mtime=@0 -c . |
    docker import --change 'LABEL mountproof.stand-in=true' --change "ENTRYPOINT [\"/mountproof\",\"standin\",\"$part\"]" - "$image" >/dev/null
  echo "--$part-image $image"
done
