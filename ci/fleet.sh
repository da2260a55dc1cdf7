#!/usr/bin/env bash
# The job queue on several machines: workers and producers in two network namespaces whose clocks are two minutes wrong, one ahead
# and one behind, a Redis in a third, and links that are cut and healed under load. Nothing may be lost and nothing run early;
# how long it took to recover is printed. Needs Linux, ip (iproute2), a C compiler, redis-server, and root or user namespaces.
#
#   ci/fleet.sh
#   FLEET_SECONDS=600 FLEET_LIMIT=30m ci/fleet.sh
source "$(dirname "$0")/common.sh"
job fleet "${FLEET_LIMIT:-4m}" "$@"

need() {
    command -v "$1" >/dev/null || { echo "ci/fleet.sh needs $1: apt-get install $2" >&2; exit 1; }
}
need ip iproute2
need unshare util-linux
need cc gcc
need redis-server redis-server

if unshare -n true 2>/dev/null; then
    apart=(unshare -n)
elif unshare -Urn true 2>/dev/null; then
    apart=(unshare -Urn)
else
    echo "ci/fleet.sh makes network namespaces: run it as root, or allow them to users with" \
        "\`sysctl -w kernel.unprivileged_userns_clone=1\` (Ubuntu: \`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\`)" >&2
    exit 1
fi

# As ci/job-faults.sh builds it.
case "${JOB_FAULTS_PROFILE:-dev}" in
    dev) profile=(--config 'profile.dev.package.ropewalk-jobs.opt-level=2') ;;
    release) profile=(--release) ;;
    *) echo "JOB_FAULTS_PROFILE is dev or release, not $JOB_FAULTS_PROFILE" >&2; exit 2 ;;
esac
program="$(cargo test -p ropewalk-jobs "${profile[@]}" --features __crash_points,redis --test faults --no-run --message-format=json |
    python3 -c '
import json, sys
made = [line["executable"] for line in map(json.loads, sys.stdin) if line.get("executable")]
print(made[-1])')"

log="$(mktemp)"
skew="$(mktemp --suffix=.so)"
trap 'status=$?; rm -f "$log" "$skew"; job_end $status' EXIT
cc -shared -fPIC -O2 -Wall -Werror -o "$skew" ci/fleet/skew.c
ROPEWALK_FAULT_BROKER=redis ROPEWALK_FAULT_SECONDS="${FLEET_SECONDS:-12}" ROPEWALK_FAULT_SEED="${FLEET_SEED:-$RANDOM}" FLEET_SKEW="$skew" \
    "${apart[@]}" bash ci/fleet/world.sh "$program" fleet 2>&1 | tee "$log"

after() { { grep '^fleet:' "$log" || true; } | tail -1 | { grep -oE "$1 [0-9]+" || true; } | grep -oE '[0-9]+$' || echo 0; }
for name in jobs again cuts healed_ms; do
    figure "$name" "$(after "$name")"
done
