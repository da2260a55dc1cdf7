#!/usr/bin/env bash
# The gate: every job that must be green before a change lands, one after another, each once. Goes on after a failure, so that
# one run tells everything; ends with the summaries of the test runs and the minutes of each job.
#
#   ci/gate.sh                 all jobs
#   ci/gate.sh lint test       some of them
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=("$@")
[[ $# -gt 0 ]] || jobs=(lint test examples guide features interop loom shuttle job-faults fleet rq bench_check profile-truth first_light)

logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM
failed=()
for name in "${jobs[@]}"; do
    status=0
    bash "ci/$name.sh" 2>&1 | tee "$logs/$name" || status=$?
    [[ $status == 0 ]] || failed+=("$name")
done

for name in ${failed[@]+"${failed[@]}"}; do
    printf '\n== %s failed; its end:\n' "$name"
    tail -n 40 "$logs/$name"
done

printf '\n== figures\n'
for name in "${jobs[@]}"; do
    grep '^figures ' "$logs/$name" | tail -n 1 || echo "figures {\"job\": \"$name\", \"ok\": false}"
done

printf '\n== summaries\n'
for name in "${jobs[@]}"; do
    if grep -qE '^test result: .*|^ *Summary \[' "$logs/$name"; then
        echo "-- $name"
        grep -E '^test result: |^ *Summary \[' "$logs/$name" | grep -v ' 0 passed; 0 failed' || true
    fi
done

printf '\n== minutes\n'
python3 - "$logs" "${jobs[@]}" <<'PY'
import json, os, sys
logs, jobs = sys.argv[1], sys.argv[2:]
total = 0
for name in jobs:
    figures = [line for line in open(os.path.join(logs, name), errors="replace") if line.startswith("figures ")]
    figures = json.loads(figures[-1][len("figures "):]) if figures else {"seconds": 0, "ok": False}
    total += figures["seconds"]
    print(f"{name:<12} {figures['seconds'] / 60:5.1f}  {'ok' if figures['ok'] else 'FAILED'}")
print(f"{'gate':<12} {total / 60:5.1f}")
PY

if [[ ${#failed[@]} -gt 0 ]]; then
    echo "gate: FAILED: ${failed[*]}"
    exit 1
fi
echo "gate: ok"
