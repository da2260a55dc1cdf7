"""One sample of python-rq for the suite `jobs`: rq_peer.py WORK PORT COUNT prints jobs per second, or p50 and p99 in microseconds.

The worker is rq's SimpleWorker, which forks for no job; results are kept as rq keeps them by default.
"""

import logging
import multiprocessing
import sys
import time

from redis import Redis
from rq import Queue, SimpleWorker


def noop():
    """The job."""


class Timed(SimpleWorker):
    """Knows when its first job began and its last one ended."""

    first = last = None

    def perform_job(self, job, queue):
        self.first = self.first or time.perf_counter()
        done = super().perform_job(job, queue)
        self.last = time.perf_counter()
        return done


def serve(port):
    """A worker until it is ended."""
    logging.disable(logging.CRITICAL)
    connection = Redis(port=port)
    SimpleWorker([Queue("q", connection=connection)], connection=connection).work(logging_level="CRITICAL")


def main():
    """Plays the work named on the command line."""
    work, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.CRITICAL)
    connection = Redis(port=port)
    connection.flushall()
    queue = Queue("q", connection=connection)
    begun = time.perf_counter()
    if work == "enqueue.one":
        for _ in range(count):
            queue.enqueue("rq_peer.noop")
        print(count / (time.perf_counter() - begun))
    elif work == "enqueue.batch":
        for _ in range(count // 100):
            queue.enqueue_many([Queue.prepare_data("rq_peer.noop") for _ in range(100)])
        print(count / (time.perf_counter() - begun))
    elif work == "noop.c1":
        for _ in range(count):
            queue.enqueue("rq_peer.noop")
        worker = Timed([queue], connection=connection)
        worker.work(burst=True, logging_level="CRITICAL")
        assert queue.finished_job_registry.count == count, "each job ended well"
        print(count / (worker.last - worker.first))
    elif work == "latency":
        worker = multiprocessing.Process(target=serve, args=(port,), daemon=True)
        worker.start()
        times = []
        for number in range(count + 5):
            begun = time.perf_counter()
            job = queue.enqueue("rq_peer.noop")
            result = job.latest_result(timeout=60)
            assert result is not None and result.type == result.Type.SUCCESSFUL, "it ended well"
            if number >= 5:
                times.append(1e6 * (time.perf_counter() - begun))
        worker.terminate()
        times.sort()
        print(times[(len(times) - 1) // 2], times[round((len(times) - 1) * 0.99)])
    else:
        sys.exit(f"no such work: {work}")


if __name__ == "__main__":
    main()
