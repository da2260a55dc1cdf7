#!/usr/bin/env bash
# Counts where clocks are too coarse: instructions of a yield, system calls of an echo request. A count is the same on a
# busy machine.
#
#   bench/instructions.sh            both
#   bench/instructions.sh yield      valgrind: a yield of two greenlets, less a bare pair of switches; limit 80, missed
#                                    only beyond ten percent as elsewhere
#   bench/instructions.sh echo       strace: tokio's server beside ours, 50 connections
#
# Of a yield those instructions are counted that run with every one. Left out is what happens now and then, a look at the
# clock every 32 switches and a turn of the hub every 50 µs: under valgrind a program is some fifty times slower, so there
# are fifty times as many turns as there would be.
#
# A figure of system calls is the difference of two runs of different length by the difference of their lengths, so what a
# process does once is not in it.
set -euo pipefail
# A command that fails inside `$(..)` ends the script too: no figure is made of nothing.
shopt -s inherit_errexit
cd "$(dirname "$0")"

YIELD_LIMIT=80
YIELDS=200000
REQUESTS_SHORT=5000
REQUESTS_LONG=25000
CONNECTIONS=50

parts=("$@")
[[ $# -gt 0 ]] || parts=(yield echo)

cargo build --release --quiet
program="${CARGO_TARGET_DIR:-target}/release/ropewalk-bench"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
# Held open while a process answers: it ends with its input, also when this script does.
mkfifo "$scratch/input"

wants() {
    command -v "$1" >/dev/null || { echo "instructions.sh: $1 is not installed (apt install $1)" >&2; exit 2; }
}

# system work -> instructions of one yield: those at the addresses that are run with at least every second one
per_yield() {
    exec 3<>"$scratch/input"
    echo "$2 $YIELDS" >&3
    valgrind --tool=callgrind --dump-instr=yes --callgrind-out-file="$scratch/callgrind" "$program" --strands "$1" \
        <"$scratch/input" >"$scratch/answer" 2>"$scratch/valgrind" || true
    exec 3>&-
    grep -q '^ok ' "$scratch/answer" || { cat "$scratch/answer" "$scratch/valgrind" >&2; return 1; }
    python3 - "$scratch/callgrind" "$YIELDS" <<'PY'
import collections, re, sys
file, yields = sys.argv[1], int(sys.argv[2])
# A line is `ADDRESS LINE COUNT`, the address absolute or relative to the one before. The line after `calls=` is what the
# callee has cost, which stands with the callee too.
counts, address, callee = collections.Counter(), 0, False
for line in open(file, errors="replace"):
    if line.startswith("calls="):
        callee = True
        continue
    found = re.match(r"(0x[0-9a-f]+|[+-][0-9]+|\*) \S+ ([0-9]+)$", line)
    if found is None:
        continue
    at, count = found.groups()
    address = int(at, 16) if at.startswith("0x") else address + (0 if at == "*" else int(at))
    if not callee:
        counts[address] += int(count)
    callee = False
print(sum(count for count in counts.values() if count >= yields / 2) / yields)
PY
}

yields() {
    wants valgrind
    local bare ours
    bare="$(per_yield corosensei yield.1)"
    ours="$(per_yield ropewalk yield.2)"
    awk -v limit=$YIELD_LIMIT -v bare="$bare" -v ours="$ours" 'BEGIN {
        over = ours - bare
        missed = (over > limit * 1.1)
        verdict = missed ? "MISSED" : (over > limit) ? "ok (within 10 %)" : "ok"
        printf "instructions a yield: ropewalk %.1f, a bare pair of switches %.1f\n", ours, bare
        printf "%s: ropewalk ≤ %d above the bare pair: %.1f\n", verdict, limit, over
        exit missed
    }' || status=1
}

# system requests -> file of `calls name` lines
calls() {
    exec 3<>"$scratch/input"
    echo "echo.$CONNECTIONS full" >&3
    : >"$scratch/port"
    strace -c -f -o "$scratch/strace" "$program" --strands "$1" <"$scratch/input" >>"$scratch/port" 3<&- &
    local server=$! port=""
    until port="$(sed -n 's/^port //p' "$scratch/port")" && [[ -n $port ]]; do
        kill -0 "$server" 2>/dev/null || { echo "instructions.sh: the server $1 ended" >&2; return 1; }
        sleep 0.05
    done
    "$program" --load "$port" "$CONNECTIONS" "$2" >"$scratch/load"
    exec 3>&-
    wait "$server"
    # Columns: % time, seconds, usecs/call, calls, errors (may be empty), name.
    awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { print $4, $NF }' "$scratch/strace" >"$3"
    sed -n 's/ requests.*//p' "$scratch/load"
}

per_request() {
    local short long
    short="$(calls "$1" "$REQUESTS_SHORT" "$scratch/short")"
    long="$(calls "$1" "$REQUESTS_LONG" "$scratch/long")"
    awk -v system_name="$1" -v n=$((long - short)) '
        FNR == NR { before[$2] = $1; next }
        { calls = ($1 - before[$2]) / n; total += calls; if (calls >= 0.005) list = list sprintf("  %s %.2f", $2, calls) }
        END { printf "system calls a request: %-18s %.2f =%s\n", system_name, total, list }
    ' "$scratch/short" "$scratch/long"
}

echo_servers() {
    wants strace
    # Those that this binary has; `ropewalk` comes with the feature `net`.
    local system servers
    servers=" $("$program" --list greenlet | sed -n 's/^greenlet echo.50.cpu: //p') "
    for system in tokio-ct ropewalk ropewalk:block_on; do
        [[ $servers != *" $system "* ]] || per_request "$system"
    done
}

status=0
for part in "${parts[@]}"; do
    case "$part" in
        yield) yields ;;
        echo) echo_servers ;;
        *) echo "instructions.sh: yield or echo, not $part" >&2; exit 2 ;;
    esac
done
exit "$status"
