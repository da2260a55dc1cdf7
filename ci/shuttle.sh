#!/usr/bin/env bash
# The shuttle models of core: random schedules of what is too large for loom. ROPEWALK_SHUTTLE_SCHEDULES is the number of
# schedules of each model, for models that ask for it. Arguments go to the tests: `ci/shuttle.sh pool`.
source "$(dirname "$0")/common.sh"
job shuttle "${ROPEWALK_SHUTTLE_LIMIT:-8m}" "$@"

# A directory of its own: the flag would make every other job build everything again.
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/shuttle"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg ropewalk_shuttle"

targets=(--lib)
for file in crates/core/tests/shuttle*.rs; do
    [[ -e "$file" ]] && targets+=(--test "$(basename "$file" .rs)")
done

# As in loom.sh: models inside the library have `shuttle` in their path.
tests=(cargo test -p ropewalk-core --features strand --release "${targets[@]}")
filters=(shuttle)
if [[ $# -gt 0 ]]; then
    mapfile -t filters < <(named_in shuttle "$@" -- "${tests[@]}" -q -- --list)
    [[ ${#filters[@]} -gt 0 ]] || { echo "no model is named like $*" >&2; exit 1; }
    filters=(--exact "${filters[@]}")
fi
log="$(mktemp)"
"${tests[@]}" --no-fail-fast -- --nocapture "${filters[@]}" 2>&1 | tee "$log"
# A model reports `schedules=N` when it has finished, with the sum of both schedulers.
models="$({ grep -oE 'schedules=[0-9]+' "$log" || true; } | wc -l)"
figure tests "$(passed_in "$log")"
figure models "$models"
figure schedules "$({ grep -oE 'schedules=[0-9]+' "$log" || true; } | awk -F= '{ n += $2 } END { print n + 0 }')"
rm -f "$log"
if [[ "$models" == 0 ]]; then
    echo "no model ran: a check that checks nothing is no check" >&2
    exit 1
fi
