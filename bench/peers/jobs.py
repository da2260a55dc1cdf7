"""python-rq at suite `jobs`: one line for each line it reads (the protocol is told in src/peer.rs).

`jobs.py simple` works with SimpleWorker, `jobs.py fork` with Worker, which forks for each job. Both with the defaults of their
documentation, on the Redis server of the run.
"""

import logging
import os
import subprocess
import sys
import time

import redis
import rq

logging.disable(logging.CRITICAL)

PAYLOAD = ("a/picture/of/something.png", 640, 480, {"quality": 80, "rotate": False, "owner": "somebody"})


def noop(path, width, height, options):
    pass


def nap(millis):
    time.sleep(millis / 1000)


# By the name under which a worker finds it.
NOOP = "jobs.noop"
NAP = "jobs.nap"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["PYTHONPATH"] = sys.path[0]


class Server:
    """The Redis of the run, which ROPEWALK_BENCH_REDIS names."""

    def __init__(self):
        self.address = os.environ["ROPEWALK_BENCH_REDIS"]
        self.client = redis.Redis.from_url(self.address)

    def figures(self):
        """Commands that it ran so far, and its CPU time in seconds."""
        cpu = self.client.info("cpu")
        return self.client.info("stats")["total_commands_processed"], cpu["used_cpu_user"] + cpu["used_cpu_sys"]


class Trips:
    """How often this process sent something to the server: commands in a pipeline go together."""

    count = 0

    @classmethod
    def watch(cls):
        base = redis.connection.AbstractConnection
        send = base.send_packed_command

        def counted(self, *rest, **options):
            cls.count += 1
            return send(self, *rest, **options)

        base.send_packed_command = counted


class Figure:
    def __init__(self, value, wall, cpu, **extra):
        self.value, self.cores, self.extra = value, cpu / wall, extra

    def line(self):
        extra = "".join(f" {name.replace('_', '.')}={value:.6f}" for name, value in self.extra.items())
        return f"ok {self.value:.6f} {self.cores:.3f}{extra}"


def timed(body):
    cpu, begin = time.process_time(), time.perf_counter()
    body()
    return time.perf_counter() - begin, time.process_time() - cpu


def enqueue_one(server, worker, quick):
    count = 200 if quick else 1_500
    queue = rq.Queue(connection=server.client)
    wall, cpu = timed(lambda: [queue.enqueue(NOOP, *PAYLOAD) for _ in range(count)])
    assert len(queue) == count
    return Figure(count / wall, wall, cpu)


def enqueue_batch(server, worker, quick):
    count = 2_000 if quick else 10_000
    queue = rq.Queue(connection=server.client)

    def body():
        for _ in range(count // 1_000):
            queue.enqueue_many([rq.Queue.prepare_data(NOOP, PAYLOAD) for _ in range(1_000)])

    wall, cpu = timed(body)
    assert len(queue) == count
    return Figure(count / wall, wall, cpu)


def burst(server, worker, count, function, args):
    queue = rq.Queue(connection=server.client)
    queue.enqueue_many([rq.Queue.prepare_data(function, args) for _ in range(count)])
    (commands, spent), trips = server.figures(), Trips.count
    wall, cpu = timed(lambda: worker([queue], connection=server.client).work(burst=True))
    trips, (after, spent_after) = Trips.count - trips, server.figures()
    assert queue.finished_job_registry.count == count and len(queue) == 0
    # What processes of its own send is not seen here.
    seen = {"roundtrips": trips / count} if worker is rq.SimpleWorker else {}
    return Figure(
        count / wall, wall, cpu, commands=(after - commands) / count, broker_cpu=(spent_after - spent) / count * 1e6, **seen
    )


def work(server, worker, quick):
    full = 600 if worker is rq.SimpleWorker else 150
    return burst(server, worker, full // 5 if quick else full, NOOP, PAYLOAD)


def sleep(millis, full, few):
    return lambda server, worker, quick: burst(server, worker, few if quick else full, NAP, (millis,))


def started(server, worker):
    """A worker in a process of its own, ready."""
    of = f"import sys, rq, redis, logging; logging.disable(logging.CRITICAL); rq.{worker.__name__}" \
         f"(['default'], connection=redis.Redis.from_url(sys.argv[1])).work()"
    process = subprocess.Popen([sys.executable, "-c", of, server.address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not rq.Worker.count(connection=server.client):
        time.sleep(0.01)
        assert process.poll() is None
    return process


def latency(server, worker, quick):
    count = (200 if worker is rq.SimpleWorker else 100) // (4 if quick else 1)
    queue = rq.Queue(connection=server.client)
    process = started(server, worker)
    try:

        def once():
            begin = time.perf_counter()
            job = queue.enqueue(NOOP, *PAYLOAD)
            result = job.latest_result(timeout=10)
            assert result is not None and result.type == result.Type.SUCCESSFUL
            return (time.perf_counter() - begin) * 1e6

        for _ in range(10):
            once()
        us = []
        wall, cpu = timed(lambda: us.extend(once() for _ in range(count)))
    finally:
        process.terminate()
        process.wait()
    us.sort()
    return Figure(0, wall, cpu, p50=us[(count - 1) // 2], p99=us[int((count - 1) * 0.99)])


def cpu_of(pid):
    """The CPU time of a process, in seconds: of all its threads."""
    tasks = f"/proc/{pid}/task"
    return sum(int(open(f"{tasks}/{tid}/schedstat").read().split()[0]) for tid in os.listdir(tasks)) / 1e9


def idle_cpu(server, worker, quick):
    process = started(server, worker)
    try:
        time.sleep(0.5)
        before = cpu_of(process.pid)
        wall, _ = timed(lambda: time.sleep(1 if quick else 3))
        cpu = cpu_of(process.pid) - before
    finally:
        process.terminate()
        process.wait()
    return Figure(100 * cpu / wall, wall, cpu)


WORKS = {
    "enqueue.one": enqueue_one,
    "enqueue.batch": enqueue_batch,
    "noop.c1": work,
    "noop.c50": work,
    "sleep.5ms": sleep(5, 150, 30),
    "sleep.200ms": sleep(200, 15, 4),
    "latency": latency,
    "idle.cpu": idle_cpu,
}
# How a job comes to its queue has nothing to do with who takes it from there.
ONLY_SIMPLE = {"enqueue.one", "enqueue.batch", "idle.cpu"}


def main():
    worker = {"simple": rq.SimpleWorker, "fork": rq.Worker}[sys.argv[1]]
    names = [name for name in WORKS if worker is rq.SimpleWorker or name not in ONLY_SIMPLE]
    server = None
    Trips.watch()
    for line in sys.stdin:
        work, effort = line.split()
        if work == "works":
            answer = " ".join(names if effort == "jobs" else [])
        elif work not in names:
            answer = f"error no work {work}"
        else:
            server = server or Server()
            server.client.flushall()
            answer = WORKS[work](server, worker, effort != "full").line()
        print(answer, flush=True)


if __name__ == "__main__":
    main()
