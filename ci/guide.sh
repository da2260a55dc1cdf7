#!/usr/bin/env bash
# The code blocks of the guide and of the README compile and run, as documentation tests of examples/src/lib.rs.
source "$(dirname "$0")/common.sh"
job guide 6m "$@"

log="$(mktemp)"
cargo test -p ropewalk-examples --features redis --doc 2>&1 | tee "$log"
figure pages "$(grep -c 'include_str!' examples/src/lib.rs || true)"
figure blocks "$(passed_in "$log")"
rm -f "$log"
