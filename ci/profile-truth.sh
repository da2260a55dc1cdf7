#!/usr/bin/env bash
# Whether `ropewalk profile` tells the truth: ground-truth programs in C, Python, Rust, Node.js and shell that keep their own
# clocks, half of which tuned its rules and half of which only judge; and predictions, each followed by what was advised.
#
#   ci/profile-truth.sh               a quick form, for the gate
#   PROFILE_TRUTH=whole ci/profile-truth.sh
#
# Needs gcc and python3, and for the whole node, make, redis-server and chromium.
source "$(dirname "$0")/common.sh"
job profile-truth "${PROFILE_TRUTH_LIMIT:-20m}" "$@"

for tool in gcc python3; do
    command -v "$tool" >/dev/null || { echo "profile-truth needs $tool: apt-get install $tool" >&2; exit 1; }
done
cargo build --release --quiet -p ropewalk-cli -p ropewalk-profile --bins --examples
bin="$CARGO_TARGET_DIR/profile-truth"
mkdir -p "$bin"
gcc -O1 -pthread -o "$bin/programs" ci/truth/programs.c
cp "$CARGO_TARGET_DIR/release/examples/"{blocked_server,rust_programs} "$bin/"

status=0
log="$(mktemp)"
if [[ "${PROFILE_TRUTH:-quick}" == whole ]]; then
    python3 ci/truth/run.py "$CARGO_TARGET_DIR/release/ropewalk" "$bin" 2>&1 | tee "$log" || status=1
    python3 ci/truth/run.py "$CARGO_TARGET_DIR/release/ropewalk" "$bin" --predictions 2>&1 | tee -a "$log" || status=1
    python3 ci/truth/overhead.py "$CARGO_TARGET_DIR/release/ropewalk" "$bin" || status=1
    python3 ci/truth/page.py "$CARGO_TARGET_DIR/release/ropewalk" "$bin" || status=1
    figure predictions_inside "$(grep -oE '^predictions: [0-9]+' "$log" | grep -oE '[0-9]+' || echo null)"
else
    python3 ci/truth/run.py "$CARGO_TARGET_DIR/release/ropewalk" "$bin" --quick 2>&1 | tee "$log" || status=1
fi
figure tune "$(sed -nE 's/^class right: tune ([0-9]+) of.*/\1/p' "$log" | grep . || echo null)"
figure later "$(sed -nE 's/^class right: .*later ([0-9]+) of.*/\1/p' "$log" | grep . || echo null)"
figure judge "$(sed -nE 's/^class right: .*judge ([0-9]+) of.*/\1/p' "$log" | grep . || echo null)"
rm -f "$log"
exit "$status"
