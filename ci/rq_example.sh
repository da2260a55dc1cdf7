#!/usr/bin/env bash
# Runs the example `rq_both_ways` against a Redis of its own and holds what it prints; by ci/rq.sh, which has built it and knows a
# Python with rq.
#
#   ci/rq_example.sh EXAMPLE PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."

example="${1:?the example as a program}"
python="${2:?an interpreter with rq}"
home="$(mktemp -d)"
redis-server --port 0 --unixsocket "$home/redis.sock" --save '' --dir "$home" --logfile "$home/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$home"' EXIT
for _ in $(seq 200); do
    [[ -S "$home/redis.sock" ]] && break
    sleep 0.05
done

printed="$("$example" "unix://$home/redis.sock" "$python")"
echo "$printed"
[[ "$printed" == $'Python got: picture 7 at 200 pixels\nRust got: 3' ]] || { echo "the example printed something else" >&2; exit 1; }
