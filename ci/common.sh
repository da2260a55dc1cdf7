# What every job of CI shares: where it runs, its time limit, and its last line. Sourced by the other scripts, never run.
#
#   source "$(dirname "$0")/common.sh"
#   job lint 8m "$@"            # restarts the script under `timeout`, once; no input, colours off
#   figure warnings 0           # a figure for the last line
#
# The last line of a job is `figures {"job": .., "ok": .., "seconds": .., ..}`; gate.sh collects them.

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SELF="$ROOT/ci/$(basename "$0")"
cd "$ROOT"

# One build directory for all jobs and both workspaces: what clippy has checked or a test has built is not built again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}"
export CARGO_TERM_COLOR=never
export CARGO_INCREMENTAL=0
export CI=true

# The whole workspace with whatever a test needs. Every job that builds it builds just this: cargo would build the crates
# anew for each other choice of packages or features.
WHOLE=(--workspace --features ropewalk/tracing,ropewalk-jobs/redis,ropewalk-cli/redis,ropewalk-examples/redis)
# For tests that build something themselves.
export ROPEWALK_WHOLE="${WHOLE[*]}"

FIGURES=""

figure() {
    FIGURES+=", \"$1\": $2"
}

# The script's whole process group is ended at the limit, so a hung test cannot outlive its job.
job() {
    JOB="$1"
    local limit="$2"
    shift 2
    if [[ "${ROPEWALK_JOB:-}" != "$JOB" ]]; then
        local status=0 child
        # Job control, so that the child is not started with interrupts ignored: tests send themselves interrupts.
        set -m
        ROPEWALK_JOB="$JOB" timeout --kill-after=30s "$limit" bash "$SELF" "$@" </dev/null &
        child=$!
        set +m
        trap 'kill -TERM "$child" 2>/dev/null || true' INT TERM
        wait "$child" || status=$?
        trap - INT TERM
        if [[ $status == 124 || $status == 137 ]]; then
            echo "$JOB: ended at its limit of $limit" >&2
        fi
        exit "$status"
    fi
    JOB_STARTED=$SECONDS
    trap job_end EXIT
    trap 'exit 143' INT TERM
    echo "== $JOB"
}

# As a trap on EXIT; a script with a trap of its own calls it with the status.
job_end() {
    local status="${1:-$?}" ok=false
    [[ $status == 0 ]] && ok=true
    echo "figures {\"job\": \"$JOB\", \"ok\": $ok, \"seconds\": $((SECONDS - JOB_STARTED))$FIGURES}"
}

has_nextest() {
    cargo nextest --version >/dev/null 2>&1
}

# `named_in ROOM WORD.. -- LISTER..`: the tests that LISTER lists with ROOM in their path and a WORD in their name.
named_in() {
    local room="$1" words=()
    shift
    while [[ "$1" != -- ]]; do
        words+=(-e "$1")
        shift
    done
    shift
    "$@" | sed -n 's/: test$//p' | { grep -F "$room" || true; } | { grep -F "${words[@]}" || true; }
}

# The sum of `N passed` over the summaries of `cargo test` and of nextest in a log.
passed_in() {
    { grep -oE '(^test result: .*|^ *Summary .*) [0-9]+ passed' "$1" || true; } | { grep -oE '[0-9]+ passed' || true; } | awk '{ n += $1 } END { print n + 0 }'
}
