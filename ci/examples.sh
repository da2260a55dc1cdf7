#!/usr/bin/env bash
# Runs every example and checks what it prints: the tests of examples/, except tidy, which is in test.sh.
source "$(dirname "$0")/common.sh"
job examples 6m "$@"

log="$(mktemp)"
if has_nextest; then
    cargo nextest run "${WHOLE[@]}" --profile ci -E 'package(ropewalk-examples) and not binary(tidy)' 2>&1 | tee "$log"
else
    targets=()
    for file in examples/tests/*.rs; do
        targets+=(--test "$(basename "$file" .rs)")
    done
    cargo test "${WHOLE[@]}" "${targets[@]}" 2>&1 | tee "$log"
fi
figure tests "$(passed_in "$log")"
figure examples "$(grep -c '^\[\[example\]\]' examples/Cargo.toml || true)"
rm -f "$log"
