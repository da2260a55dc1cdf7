"""A worker of python-rq beside the Rust workers of the fault test: `beside.py simple|fork SOCKET QUEUE..`.

It runs the test's function under the same name as they do, and writes the same history. What its own kind keeps for minutes is
kept for seconds here: how long its executions count without a sign of life.
"""

import os
import sys
import time

import redis
import rq
from rq import get_current_job
from rq.serializers import JSONSerializer

PLACE = os.environ["FAULTS_PLACE"]
# How many failures rq takes for one that is tried again: what the test's jobs say.
RETRIES = 20
LEASE_S = 5


def note(file, line):
    """Appends a line in one write, so that processes never mix theirs."""
    descriptor = os.open(os.path.join(PLACE, file), os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def work(millis, fail_until):
    job = get_current_job()
    failures, crashes = job.connection.hmget(job.key, "rw_failures", "rw_crashes")
    used = RETRIES - (RETRIES if job.retries_left is None else job.retries_left)
    attempt = 1 + max(used, int(failures or 0)) + int(crashes or 0)
    note("runs", f"{job.id} {attempt} {-(-time.time_ns() // 1_000_000)} python")
    time.sleep(millis / 1000)
    if attempt < fail_until:
        raise RuntimeError("not yet")
    return attempt


class Quick:
    def get_heartbeat_ttl(self, job):
        return LEASE_S


class Simple(Quick, rq.SimpleWorker):
    pass


class Fork(Quick, rq.Worker):
    pass


def main():
    kind, socket, *names = sys.argv[1:]
    connection = redis.Redis(unix_socket_path=socket)
    queues = [rq.Queue(name, connection=connection, serializer=JSONSerializer) for name in names]
    worker = {"simple": Simple, "fork": Fork}[kind](queues, connection=connection, serializer=JSONSerializer)
    worker.work(logging_level="CRITICAL")


if __name__ == "__main__":
    main()
