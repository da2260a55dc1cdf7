#!/usr/bin/env bash
# All tests of the workspace, tidy included. (The tests that run examples/ are in examples.sh, the examples in the documentation
# in guide.sh, rq and pickles in rq.sh, the model checkers in loom.sh and shuttle.sh: each thing runs once.)
source "$(dirname "$0")/common.sh"
job test 20m "$@"

log="$(mktemp)"

if has_nextest; then
    # Tests that share what is dear, a Redis or a run of the lab, for as long as their process lives: nextest gives each its own.
    shared='binary(redis) or binary(jobs_redis) or (binary(brokers) and test(/^redis/)) or binary(lab_results)'
    elsewhere='binary(advice_rq) or (package(ropewalk-jobs) and (binary(pickle) or binary(audit) or binary(rq)))'
    cargo nextest run "${WHOLE[@]}" --profile ci \
        -E "(not package(ropewalk-examples) or binary(tidy)) and not ($shared) and not ($elsewhere)" 2>&1 | tee "$log"
    cargo test "${WHOLE[@]}" --test brokers -- redis 2>&1 | tee -a "$log"
    cargo test "${WHOLE[@]}" --test redis --test jobs_redis --test lab_results 2>&1 | tee -a "$log"
else
    echo "cargo-nextest is not installed: cargo test instead, without a time limit per test"
    targets=(--lib --bins --test tidy)
    for file in crates/*/tests/*.rs; do
        name="$(basename "$file" .rs)"
        case "$name" in
            # The last one by job-faults.sh.
            pickle | audit | rq | advice_rq | faults) ;;
            *) targets+=(--test "$name") ;;
        esac
    done
    cargo test "${WHOLE[@]}" "${targets[@]}" --no-fail-fast 2>&1 | tee "$log"
fi
figure tests "$(passed_in "$log")"
rm -f "$log"
