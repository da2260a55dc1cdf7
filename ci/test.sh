#!/usr/bin/env bash
# All tests of the workspace, tidy included, and the examples in the documentation. (The tests that run examples/ are in
# examples.sh, the guide is in guide.sh, the model checkers in loom.sh and shuttle.sh: each thing runs once.)
source "$(dirname "$0")/common.sh"
job test 20m "$@"

log="$(mktemp)"

cargo test --workspace --exclude ropewalk-examples --doc 2>&1 | tee "$log"
figure doctests "$(passed_in "$log")"

if has_nextest; then
    cargo nextest run --workspace --profile ci -E 'not package(ropewalk-examples) or binary(tidy)' 2>&1 | tee "$log"
else
    echo "cargo-nextest is not installed: cargo test instead, without a time limit per test"
    { cargo test --workspace --exclude ropewalk-examples --lib --bins --tests --no-fail-fast
      cargo test -p ropewalk-examples --test tidy; } 2>&1 | tee "$log"
fi
# Spans around tasks are a feature of the library.
cargo test -p ropewalk --features tracing --test spans 2>&1 | tee -a "$log"
# The commands of the job queue are a feature of the command.
cargo test -p ropewalk-cli --features redis --test jobs --test lab_redis 2>&1 | tee -a "$log"
# So is Redis. Tests with a server of their own (redis-server), all in one process each.
cargo test -p ropewalk-jobs --features redis --test brokers -- redis 2>&1 | tee -a "$log"
cargo test -p ropewalk-jobs --features redis --test redis --test tls 2>&1 | tee -a "$log"
figure tests "$(passed_in "$log")"
rm -f "$log"
