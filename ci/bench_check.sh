#!/usr/bin/env bash
# The benchmarks build, and one tiny work runs and prints rows of ours and of a peer. No figure is judged here, so nothing is
# optimised, which takes half as long.
source "$(dirname "$0")/common.sh"
job bench_check 10m "$@"

export CARGO_PROFILE_DEV_DEBUG=0
cargo build --manifest-path bench/Cargo.toml --quiet
rows="$(cargo run --quiet --manifest-path bench/Cargo.toml -- sync --work mutex.uncontended --quick --rounds 1 --json)"
echo "$rows"
figure rows "$(python3 -c '
import json, sys
rows = [json.loads(line) for line in sys.stdin if line.strip()]
keys = {"suite", "work", "system", "median", "min", "max", "unit", "better", "rounds"}
for row in rows:
    assert keys <= row.keys(), f"a row lacks {keys - row.keys()}"
systems = {row["system"].split(":")[0] for row in rows}
assert {"ropewalk", "std"} <= systems, f"ours or std is missing: {systems}"
print(len(rows))' <<<"$rows")"
