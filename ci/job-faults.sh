#!/usr/bin/env bash
# The job queue loses nothing: simulated hours with everything that can go wrong, then real processes that are killed and stopped
# at each crash point and at random, with a checker outside of them.
#
# On SQLite, and on a Redis that is started here (redis-server, with its log on the disk), which is killed too, as are connections to
# it, with workers of python-rq (python3 with venv and, once, PyPI) beside ours.
#
#   ci/job-faults.sh
#   JOB_FAULTS_SEEDS=10000 JOB_FAULTS_SECONDS=3600 JOB_FAULTS_LIMIT=6h ci/job-faults.sh
source "$(dirname "$0")/common.sh"
job job-faults "${JOB_FAULTS_LIMIT:-8m}" "$@"

log="$(mktemp)"
ROPEWALK_SIM_SEEDS="${JOB_FAULTS_SEEDS:-200}" \
    cargo test -p ropewalk-jobs --release --features __crash_points,redis --lib simulat -- --nocapture 2>&1 | tee "$log"
ROPEWALK_FAULT_SECONDS="${JOB_FAULTS_SECONDS:-20}" ROPEWALK_FAULT_SEED="${JOB_FAULTS_SEED:-$RANDOM}" \
    cargo test -p ropewalk-jobs --release --features __crash_points,redis --test faults 2>&1 | tee -a "$log"
ROPEWALK_FAULT_BROKER=redis ROPEWALK_FAULT_SECONDS="${JOB_FAULTS_REDIS_SECONDS:-10}" ROPEWALK_FAULT_SEED="${JOB_FAULTS_SEED:-$RANDOM}" \
    ROPEWALK_FAULTS="${JOB_FAULTS_REDIS_FAULTS:-0}" ROPEWALK_FAULT_KILLS="${JOB_FAULTS_KILLS:-2}" \
    cargo test -p ropewalk-jobs --release --features __crash_points,redis --test faults 2>&1 | sed 's/^faults:/faults-redis:/' |
    tee -a "$log"

# The number before or after a word of the line that begins with another.
before() { { grep "^$1:" "$log" || true; } | { grep -oE "[0-9]+ $2" || true; } | grep -oE '^[0-9]+' || echo 0; }
after() { { grep "^$1:" "$log" || true; } | tail -1 | { grep -oE "$2 [0-9]+" || true; } | grep -oE '[0-9]+$' || echo 0; }
figure seeds "$(before simulated seeds)"
figure simulated_hours "$(before simulated hours)"
figure simulated_jobs "$(before simulated jobs)"
figure directed "$(after faults directed)"
figure random "$(after faults random)"
figure jobs "$(after faults jobs)"
figure runs_again "$(after faults again)"
figure redis_directed "$(after faults-redis directed)"
figure redis_random "$(after faults-redis random)"
figure redis_jobs "$(after faults-redis jobs)"
figure redis_runs_again "$(after faults-redis again)"
figure redis_runs_by_python "$(after faults-redis python)"
rm -f "$log"
