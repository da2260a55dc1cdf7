#!/usr/bin/env bash
# The core, greenlets and fork-join under AddressSanitizer, which corosensei tells of each switch: what is used after its
# return, its free or its scope, on which stack ever. With the stable toolchain: its standard library carries the sanitizer's
# runtime, and the switch below is for this job alone. Arguments are names of test binaries of ropewalk:
# `ci/asan.sh greenlet_kill`.
#
# The control is a test (`sanitizer_sees_the_hole`): the known hole, in safe code, must be reported.
source "$(dirname "$0")/common.sh"
job asan "${ROPEWALK_ASAN_LIMIT:-20m}" "$@"

host="$(rustc -vV | sed -n 's/^host: //p')"
if ! compgen -G "$(rustc --print target-libdir)/librustc-*_rt.asan.a" >/dev/null; then
    echo "this toolchain has no runtime of AddressSanitizer for $host" >&2
    exit 1
fi

# A directory of its own: the flag would make every other job build everything again.
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/asan"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address"
export ASAN_OPTIONS="${ASAN_OPTIONS:-abort_on_error=1:detect_stack_use_after_return=1}"

log="$(mktemp)"
# A handle that is forgotten on purpose.
echo 'leak:handles_may_be_dropped_forgotten_and_kept' >"$log.leaks"
export LSAN_OPTIONS="suppressions=$log.leaks"
run() {
    cargo test --target "$host" "$@" 2>&1 | tee -a "$log"
}

if [[ $# -gt 0 ]]; then
    for name in "$@"; do
        run -p ropewalk --features ropewalk/__asan --test "$name"
    done
else
    # A panicking waker's payload is given up on purpose (`Wakes::fire`), which is no leak to be told of.
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" run -p ropewalk-core --features ropewalk-core/__asan --lib --tests
    targets=(--test pool_fork)
    for file in crates/ropewalk/tests/{gevent,greenlet}_*.rs; do
        targets+=(--test "$(basename "$file" .rs)")
    done
    run -p ropewalk --features ropewalk/__asan --no-fail-fast "${targets[@]}"
fi
figure tests "$(passed_in "$log")"
rm -f "$log" "$log.leaks"
