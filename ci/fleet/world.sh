#!/usr/bin/env bash
# The machines of ci/fleet.sh: three network namespaces, two of them linked to the third. Runs in a network of its own, as root there.
#
#   ci/fleet/world.sh PROGRAM ARGUMENTS..     runs it with FLEET_LEFT, FLEET_MIDDLE, FLEET_RIGHT: the processes that hold them
set -euo pipefail

holders=()
trap 'kill "${holders[@]}" 2>/dev/null || true' EXIT
here="$(readlink /proc/$$/ns/net)"
for _ in left middle right; do
    # Ends with this script, however that ends.
    setpriv --pdeathsig KILL unshare -n sleep infinity &
    holders+=($!)
    until there="$(readlink "/proc/$!/ns/net")" && [[ "$there" != "$here" ]]; do
        kill -0 "$!" 2>/dev/null || { echo "no network namespace could be made" >&2; exit 1; }
        sleep 0.01
    done
done
left="${holders[0]}" middle="${holders[1]}" right="${holders[2]}"

# link NAME PID NETWORK: a cable from the middle, whose end there is called NAME.
link() {
    nsenter -t "$middle" -n ip link add name "$1" type veth peer name uplink netns "$2"
    nsenter -t "$middle" -n ip addr add "$3.1/24" dev "$1"
    nsenter -t "$middle" -n ip link set "$1" up
    nsenter -t "$2" -n ip addr add "$3.2/24" dev uplink
    nsenter -t "$2" -n ip link set uplink up
}
link left "$left" 10.77.1
link right "$right" 10.77.2

export FLEET_LEFT="$left" FLEET_MIDDLE="$middle" FLEET_RIGHT="$right"
export ROPEWALK_REDIS_SERVER="nsenter -t $middle -n ${ROPEWALK_REDIS_SERVER:-redis-server}"
"$@"
