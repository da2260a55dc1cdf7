#!/usr/bin/env bash
# The examples in the documentation compile and run, and so do the code blocks of the guide and of the README, as documentation
# tests of examples/src/lib.rs.
source "$(dirname "$0")/common.sh"
job guide 10m "$@"

log="$(mktemp)"
cargo test "${WHOLE[@]}" --doc 2>&1 | tee "$log"
figure pages "$(grep -c 'include_str!' examples/src/lib.rs || true)"
figure blocks "$(passed_in "$log")"
rm -f "$log"
