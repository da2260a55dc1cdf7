#!/usr/bin/env bash
# The job queue loses nothing: simulated hours with everything that can go wrong, then real processes that are killed and stopped
# at each crash point and at random, with a checker outside of them.
#
# On SQLite, and on a Redis that is started here (redis-server, with its log on the disk), which is killed too, as are connections to
# it, with workers of python-rq (python3 with venv and, once, PyPI) beside ours.
#
#   ci/job-faults.sh
#   JOB_FAULTS_SEEDS=10000 JOB_FAULTS_FAULTS=50000 JOB_FAULTS_JOBS=1000000 JOB_FAULTS_PROFILE=release JOB_FAULTS_LIMIT=4h ci/job-faults.sh
source "$(dirname "$0")/common.sh"
job job-faults "${JOB_FAULTS_LIMIT:-8m}" "$@"

case "${JOB_FAULTS_PROFILE:-dev}" in
    # Everything below the queue is that of the other tests and built already; the simulation wants its own code fast.
    dev) profile=(--config 'profile.dev.package.ropewalk-jobs.opt-level=2') ;;
    release) profile=(--release) ;;
    *) echo "JOB_FAULTS_PROFILE is dev or release, not $JOB_FAULTS_PROFILE" >&2; exit 2 ;;
esac
# Built once and started by themselves: cargo would wait for its locks each time.
built="$(cargo test -p ropewalk-jobs "${profile[@]}" --features __crash_points,redis --lib --test faults --no-run 2>&1)" ||
    { printf '%s\n' "$built" >&2; exit 1; }
printf '%s\n' "$built"
program() { realpath "$(grep -F "Executable $1 (" <<<"$built" | sed 's/.*(//; s/)$//')"; }
simulation="$(program "unittests src/lib.rs")"
faults="$(program "tests/faults.rs")"

log="$(mktemp)"
seed="${JOB_FAULTS_SEED:-$RANDOM}"
# The simulation computes and the processes mostly wait, so all at once.
(ROPEWALK_SIM_SEEDS="${JOB_FAULTS_SEEDS:-200}" ROPEWALK_SIM_REDIS_SEEDS="${JOB_FAULTS_REDIS_SEEDS:-3}" \
    "$simulation" simulat --nocapture 2>&1 | tee "$log.sim") &
simulating=$!
(ROPEWALK_FAULT_BROKER=redis ROPEWALK_FAULT_SECONDS="${JOB_FAULTS_REDIS_SECONDS:-10}" ROPEWALK_FAULT_SEED="$seed" \
    ROPEWALK_FAULTS="${JOB_FAULTS_REDIS_FAULTS:-0}" ROPEWALK_FAULT_KILLS="${JOB_FAULTS_KILLS:-2}" "$faults" 2>&1 |
    sed -u 's/^\(faults\|random\|directed\)/\1-redis/' | tee "$log.redis") &
on_redis=$!
status=0
ROPEWALK_FAULT_SECONDS="${JOB_FAULTS_SECONDS:-20}" ROPEWALK_FAULT_SEED="$seed" \
    ROPEWALK_FAULTS="${JOB_FAULTS_FAULTS:-0}" ROPEWALK_FAULT_JOBS="${JOB_FAULTS_JOBS:-0}" "$faults" 2>&1 | tee "$log" || status=$?
wait "$on_redis" || status=$?
wait "$simulating" || status=$?
cat "$log.sim" "$log.redis" >>"$log"

# The number before or after a word of the line that begins with another.
before() { { grep "^$1:" "$log" || true; } | { grep -oE "[0-9]+ $2" || true; } | grep -oE '^[0-9]+' || echo 0; }
after() { { grep "^$1:" "$log" || true; } | tail -1 | { grep -oE "$2 [0-9]+" || true; } | grep -oE '[0-9]+$' || echo 0; }
figure seeds "$(before simulated seeds)"
figure simulated_hours "$(before simulated hours)"
figure simulated_jobs "$(before simulated jobs)"
figure redis_seeds "$(before simulated-redis seeds)"
figure redis_simulated_hours "$(before simulated-redis hours)"
figure redis_simulated_jobs "$(before simulated-redis jobs)"
figure directed "$(after faults directed)"
figure random "$(after faults random)"
figure jobs "$(after faults jobs)"
figure runs_again "$(after faults again)"
figure redis_directed "$(after faults-redis directed)"
figure redis_random "$(after faults-redis random)"
figure redis_jobs "$(after faults-redis jobs)"
figure redis_runs_again "$(after faults-redis again)"
figure redis_runs_by_python "$(after faults-redis python)"
rm -f "$log" "$log.sim" "$log.redis"
exit "$status"
