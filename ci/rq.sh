#!/usr/bin/env bash
# python-rq beside us: rq of two versions in both directions on a real Redis, with rq-dashboard; the commands that it sends, the audit
# that must write nothing, and pickles, CPython's and broken ones. Needs redis-server, python3 with venv and, the first time, PyPI.
#
#   ci/rq.sh
#   RQ_PICKLES=100000000 RQ_LIMIT=4h ci/rq.sh
#   ROPEWALK_WRITE_MATRIX=1 ci/rq.sh            # writes crates/jobs/tests/rq/matrix.md anew
#   ROPEWALK_WRITE_TRANSCRIPTS=1 ci/rq.sh       # and crates/jobs/tests/rq/transcripts
source "$(dirname "$0")/common.sh"
job rq "${RQ_LIMIT:-8m}" "$@"

command -v redis-server >/dev/null || { echo "ci/rq.sh needs redis-server: apt-get install redis-server" >&2; exit 1; }

log="$(mktemp)"
# The profile of the other tests, which is built already, and checks for overflow.
ROPEWALK_PICKLE_INPUTS="${RQ_PICKLES:-1000000}" \
    cargo test "${WHOLE[@]}" --test pickle --test audit --test rq --test advice_rq -- --nocapture 2>&1 | tee "$log"
python="$CARGO_TARGET_DIR/rq/rq-3.0.0/bin/python"
cargo build --quiet "${WHOLE[@]}" --example rq_both_ways
bash ci/rq_example.sh "$CARGO_TARGET_DIR/debug/examples/rq_both_ways" "$python" 2>&1 | tee -a "$log"

figure tests "$(passed_in "$log")"
figure pickles "$(grep -oE '^[0-9]+ inputs' "$log" | grep -oE '^[0-9]+' || echo 0)"
figure cells_green "$(grep -oE '^matrix: [0-9]+ green' "$log" | grep -oE '[0-9]+' || echo 0)"
rm -f "$log"
