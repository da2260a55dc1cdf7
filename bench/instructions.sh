#!/usr/bin/env bash
# Counts where clocks are too coarse: instructions of a yield, system calls of an echo request. A count is the same on a
# busy machine.
#
#   bench/instructions.sh            both
#   bench/instructions.sh yield      valgrind: a yield of two greenlets, less a bare pair of switches; limit 80, missed
#                                    only beyond ten percent as elsewhere
#   bench/instructions.sh echo       strace: tokio's server beside ours, 50 connections
#
# Each figure is the difference of two runs of different length by the difference of their lengths, so what a process does
# once is not in it.
#
# Under valgrind a program is some fifty times slower, so a hub whose turn is over by the clock (50 µs) has fifty times as
# many turns, and tokio's reactor looks as often. That is an artefact: held against the limit are the instructions of the
# greenlets and the hub, without tokio's and libc's. The count of everything stands beside it.
set -euo pipefail
# A command that fails inside `$(..)` ends the script too: no figure is made of nothing.
shopt -s inherit_errexit
cd "$(dirname "$0")"

YIELD_LIMIT=80
YIELDS_SHORT=100000
YIELDS_LONG=300000
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

# system work count -> instructions of the whole process, and those of the strands and their hub: without tokio and libc
instructions() {
    exec 3<>"$scratch/input"
    echo "$2 $3" >&3
    valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind" "$program" --strands "$1" \
        <"$scratch/input" >"$scratch/answer" 2>"$scratch/valgrind" || true
    exec 3>&-
    grep -q '^ok ' "$scratch/answer" || { cat "$scratch/answer" "$scratch/valgrind" >&2; return 1; }
    # A line is `COUNT (SHARE%)  FILE:FUNCTION [OBJECT]`; the object's name says nothing. (The hub's turn is inlined into
    # tokio's `Unconstrained`, which polls it.)
    callgrind_annotate --threshold=100 "$scratch/callgrind" | sed 's/ \[[^][]*\]$//' | awk '
        { count = $1; gsub(",", "", count) }
        / PROGRAM TOTALS$/ { all = count }
        / \([ 0-9.]+%\) .*:/ && (/%\)  \.\// || /tokio::|Timespec/ && !/[Uu]nconstrained/) { foreign += count }
        END { print all + 0, all - foreign; exit !all }'
}

# system work -> the same two for one yield
per_yield() {
    local short long
    short="$(instructions "$1" "$2" "$YIELDS_SHORT")"
    long="$(instructions "$1" "$2" "$YIELDS_LONG")"
    awk -v n=$((YIELDS_LONG - YIELDS_SHORT)) '
        NR == 1 { all = $1; own = $2 }
        NR == 2 { printf "%.1f %.1f\n", ($1 - all) / n, ($2 - own) / n }' <<<"$short"$'\n'"$long"
}

yields() {
    wants valgrind
    local bare ours
    bare="$(per_yield corosensei yield.1)"
    ours="$(per_yield ropewalk yield.2)"
    awk -v limit=$YIELD_LIMIT '
        NR == 1 { bare = $2; bare_all = $1 }
        NR == 2 {
            over = $2 - bare
            missed = (over > limit * 1.1)
            verdict = missed ? "MISSED" : (over > limit) ? "ok (within 10 %)" : "ok"
            printf "instructions a yield: ropewalk %.1f (%.1f with tokio and libc), a bare pair of switches %.1f (%.1f)\n", $2, $1, bare, bare_all
            printf "%s: ropewalk ≤ %d above the bare pair: %.1f\n", verdict, limit, over
            exit missed
        }' <<<"$bare"$'\n'"$ours" || status=1
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
