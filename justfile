# Everything one can do, one cargo line each: works without just, too.
# All recipes share the release profile, so that nothing is built twice.

# Lists the recipes.
default:
    @just --list

# Formats every crate.
fmt:
    cargo fmt --all

# Denies every warning, of clippy's pedantic group too.
lint:
    cargo clippy --release --workspace --all-targets -- -D warnings

# Every test of the workspace, the scenarios included.
test *ARGS:
    cargo test --release {{ ARGS }}

# The scenarios against the embedded environment, with reports.
run *ARGS:
    cargo run --release -- run {{ ARGS }}

# Checks every shipped scenario and points at each mistake.
lint-scenarios:
    cargo run --release -- lint scenarios

# Writes the JSON Schema of scenario files or results again: `just schema results`.
schema OF="scenario":
    cargo run --release -- schema {{ OF }} --write

# Licences, bans, advisories and sources of dependencies (needs cargo-deny).
deny:
    cargo deny --workspace check

# Renders the committed example report from its journal again.
report-example:
    cargo run --release -- report reports/example

# Punctuality and cost of the load generator, and the floor of this machine.
bench:
    cargo bench --bench load

# Calls a second, latencies and memory of the AWS endpoint, beside moto and LocalStack: `just bench-endpoint --quick`.
bench-endpoint *ARGS:
    cargo bench -p mountproof-aws-endpoint --bench endpoint --profile release -- {{ ARGS }}

# Documentation of all crates, broken links denied.
doc $RUSTDOCFLAGS="-D warnings":
    cargo doc --release --workspace --no-deps

# Fuzzes the policy, signature and Query parsers, so many seconds each (needs cargo-fuzz).
fuzz SECONDS="60":
    crates/aws-endpoint/fuzz/run.sh {{ SECONDS }}
