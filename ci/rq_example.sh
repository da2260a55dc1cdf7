#!/usr/bin/env bash
# Runs the example `rq_both_ways` against a Redis of its own and holds what it prints; by ci/rq.sh, which knows a Python with rq.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${RQ_EXAMPLE_PYTHON:?an interpreter with rq}"
home="$(mktemp -d)"
redis-server --port 0 --unixsocket "$home/redis.sock" --save '' --dir "$home" --logfile "$home/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$home"' EXIT
for _ in $(seq 200); do
    [[ -S "$home/redis.sock" ]] && break
    sleep 0.05
done

printed="$(cargo run -q -p ropewalk-jobs --features redis --example rq_both_ways -- "unix://$home/redis.sock" "$python")"
echo "$printed"
[[ "$printed" == $'Python got: picture 7 at 200 pixels\nRust got: 3' ]] || { echo "the example printed something else" >&2; exit 1; }
