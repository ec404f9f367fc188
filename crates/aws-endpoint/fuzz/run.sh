#!/bin/sh
# Runs every fuzz target for so many seconds each: `run.sh 60`. Needs cargo-fuzz (`cargo install cargo-fuzz --locked`).
#
# Inputs that reach something new are kept in `target/corpus`; one that breaks a law goes to `artifacts`, and into
# `corpus` once it is mended, where the unit tests run it for ever.
set -eu
cd "$(dirname "$0")/.."
seconds="${1:-60}"
toolchain=+nightly
if ! cargo "$toolchain" --version >/dev/null 2>&1; then
    # What instruments the code is not stable; without a nightly compiler, the stable one is told to do it all the same.
    toolchain=
    export RUSTC_BOOTSTRAP=1
fi
for target in policy signature query; do
    mkdir -p "fuzz/target/corpus/$target"
    # No address sanitizer: there is no unsafe code to watch, and without it more inputs are tried.
    cargo $toolchain fuzz run --sanitizer none "$target" "fuzz/target/corpus/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
