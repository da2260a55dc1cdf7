#!/usr/bin/env bash
# The library compiles without its features and with each of them alone, the queue and the command with some, and without a
# warning; the core compiles alone.
source "$(dirname "$0")/common.sh"
job features 6m "$@"

features="$(cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
packages = json.load(sys.stdin)["packages"]
features = next(p["features"] for p in packages if p["name"] == "ropewalk")
print(" ".join(sorted(name for name in features if name != "default")))')"

check() {
    echo "-- cargo check $*"
    local said
    said="$(cargo check --quiet "$@" 2>&1)" || { printf '%s\n' "$said" >&2; return 1; }
    # What only other features use is a warning here and nowhere else.
    [[ -z "$said" ]] || { printf '%s\n' "$said" "no warnings, please" >&2; return 1; }
}

checks=7
check -p ropewalk-core
check -p ropewalk-jobs --no-default-features
check -p ropewalk-jobs --no-default-features --features redis
check -p ropewalk-jobs --no-default-features --features cron,metrics
check -p ropewalk --no-default-features
check -p ropewalk-cli
check -p ropewalk-cli --features jobs
for feature in $features; do
    check -p ropewalk --no-default-features --features "$feature"
    checks=$((checks + 1))
done
figure checks "$checks"
