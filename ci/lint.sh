#!/usr/bin/env bash
# Format, clippy and the documentation's links, without a warning; licences and sources of the dependencies.
source "$(dirname "$0")/common.sh"
job lint 10m "$@"

cargo fmt --all --check
cargo fmt --all --check --manifest-path bench/Cargo.toml
cargo fmt --all --check --manifest-path interop/Cargo.toml

# What ships is held to clippy.toml (no hidden sleeps and exits); tests and examples may sleep.
cargo clippy "${WHOLE[@]}" --lib --bins --quiet -- -D warnings
cargo clippy "${WHOLE[@]}" --all-targets --quiet -- -D warnings -A clippy::disallowed_methods
cargo clippy --manifest-path bench/Cargo.toml --all-targets --quiet -- -D warnings -A clippy::disallowed_methods

RUSTDOCFLAGS="-D warnings" cargo doc "${WHOLE[@]}" --no-deps --quiet

if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check bans licenses sources
else
    python3 ci/deny.py
fi

figure direct_dependencies "$(cargo tree -p ropewalk -e normal --depth 1 --prefix none | tail -n +2 | grep -vc '^ropewalk')"
