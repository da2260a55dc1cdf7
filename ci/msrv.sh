#!/usr/bin/env bash
# The workspace compiles with the Rust it declares (`rust-version` in Cargo.toml). Installs that toolchain if it is missing.
source "$(dirname "$0")/common.sh"
job msrv 10m "$@"

version="$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)"
rustup toolchain list | grep -q "^$version" || rustup toolchain install "$version" --profile minimal
CARGO_TARGET_DIR="$CARGO_TARGET_DIR/msrv" cargo "+$version" check --workspace --quiet
figure rust "\"$version\""
