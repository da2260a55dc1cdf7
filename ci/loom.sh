#!/usr/bin/env bash
# The loom models of core: every interleaving and every allowed ordering, at a preemption bound (3 unless
# LOOM_MAX_PREEMPTIONS says otherwise; `none` explores without a bound). Arguments go to the tests: `ci/loom.sh event`.
source "$(dirname "$0")/common.sh"
job loom "${ROPEWALK_LOOM_LIMIT:-12m}" "$@"

export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
bound="$LOOM_MAX_PREEMPTIONS"
[[ "$bound" == none ]] && export LOOM_MAX_PREEMPTIONS=255 && bound=null
# A directory of its own: the flag would make every other job build everything again.
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/loom"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg ropewalk_loom"

targets=(--lib)
for file in crates/core/tests/loom*.rs; do
    [[ -e "$file" ]] && targets+=(--test "$(basename "$file" .rs)")
done

# Models inside the library have `loom` in their path; the filter keeps out its ordinary unit tests, which need real threads.
tests=(cargo test -p ropewalk-core --features strand --release "${targets[@]}")
filters=(loom)
if [[ $# -gt 0 ]]; then
    # Two filters of cargo's would mean one or the other.
    mapfile -t filters < <(named_in loom "$@" -- "${tests[@]}" -q -- --list)
    [[ ${#filters[@]} -gt 0 ]] || { echo "no model is named like $*" >&2; exit 1; }
    filters=(--exact "${filters[@]}")
fi
log="$(mktemp)"
"${tests[@]}" --no-fail-fast -- --nocapture "${filters[@]}" 2>&1 | tee "$log"
# A model reports `executions=N` when it has finished, a negative control `control=SITE` when its model has failed.
models="$({ grep -oE 'executions=[0-9]+' "$log" || true; } | wc -l)"
figure tests "$(passed_in "$log")"
figure models "$models"
figure controls "$({ grep -oE 'control=[a-z._]+' "$log" || true; } | wc -l)"
figure preemptions "$bound"
figure executions "$({ grep -oE 'executions=[0-9]+' "$log" || true; } | awk -F= '{ n += $2 } END { print n + 0 }')"
rm -f "$log"
if [[ "$models" == 0 ]]; then
    echo "no model ran: a check that checks nothing is no check" >&2
    exit 1
fi
