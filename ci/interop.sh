#!/usr/bin/env bash
# Other people's crates on ours, unchanged: interop/ is a workspace of its own, so that nobody else builds them.
source "$(dirname "$0")/common.sh"
job interop 8m "$@"

log="$(mktemp)"
cargo test --manifest-path interop/Cargo.toml --tests 2>&1 | tee "$log"
figure tests "$(passed_in "$log")"
rm -f "$log"
