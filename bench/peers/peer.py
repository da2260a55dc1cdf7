"""The CPython peer: answers one line for each line it reads (the protocol is told in src/peer.rs).

Standard library only. Amounts are smaller than elsewhere, figures are for one operation (or scaled to the whole work) all
the same. The 50 ns of work inside and outside a lock are left out: one bytecode takes about as long.
"""

import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Spent:
    def __init__(self, body):
        cpu, begin = time.process_time(), time.perf_counter()
        self.result = body()
        self.wall = time.perf_counter() - begin
        self.cpu = time.process_time() - cpu

    def per(self, count, unit=1e-9, **extra):
        return self.wall / count / unit, self.cpu / self.wall, extra


def span(quick):
    return 0.04 if quick else 0.2


def crew(bodies):
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def mutex_uncontended(quick):
    count = 50_000 if quick else 200_000
    lock = threading.Lock()

    def body():
        value = 0
        for _ in range(count):
            with lock:
                value += 1
        return value

    spent = Spent(body)
    assert spent.result == count
    return spent.per(count)


def guarded(make, threads):
    def run(quick):
        guard = make()
        counts = [0] * threads
        value = 0
        over = False

        def body(me):
            nonlocal value
            count = 0
            while not over:
                with guard:
                    value += 1
                count += 1
            counts[me] = count

        def whole():
            nonlocal over
            workers = [threading.Thread(target=body, args=(me,)) for me in range(threads)]
            for worker in workers:
                worker.start()
            time.sleep(span(quick))
            over = True
            for worker in workers:
                worker.join()

        spent = Spent(whole)
        assert sum(counts) == value, "updates were lost"
        return spent.per(value, cpu=spent.cpu / value * 1e9, fairness=100 * min(counts) / max(max(counts), 1))

    return run


def event_ping_pong(place):
    def run(quick):
        ping, pong = threading.Event(), threading.Event()
        counts = [0, 0]
        over = False

        def pin(core):
            if place is not None and hasattr(os, "sched_setaffinity"):
                allowed = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(0, {allowed[place(core) % len(allowed)]})

        def asking():
            nonlocal over
            pin(0)
            begin = time.perf_counter()
            while time.perf_counter() - begin < span(quick):
                for _ in range(16):
                    ping.set()
                    pong.wait()
                    pong.clear()
                counts[0] += 16
            over = True
            ping.set()

        def answering():
            pin(1)
            while True:
                ping.wait()
                ping.clear()
                if over:
                    return
                counts[1] += 1
                pong.set()

        spent = Spent(lambda: crew([asking, answering]))
        assert counts[0] == counts[1]
        return spent.per(counts[0], 1e-6, cpu=spent.cpu / counts[0] * 1e6)

    return run


def condvar_ping_pong(quick):
    changed = threading.Condition()
    counts = [0, 0]
    turn, over = 0, False

    def side(me):
        nonlocal turn, over
        begin = time.perf_counter()
        while True:
            enough = me == 0 and counts[0] % 16 == 0 and time.perf_counter() - begin >= span(quick)
            with changed:
                while turn != me:
                    changed.wait()
                over = over or enough
                stop = over
                turn = 1 - me
                changed.notify()
            if stop:
                return
            counts[me] += 1

    spent = Spent(lambda: crew([lambda: side(0), lambda: side(1)]))
    assert counts[0] == counts[1]
    return spent.per(counts[0], 1e-6, cpu=spent.cpu / counts[0] * 1e6)


def queue_of(bound, lanes):
    def run(quick):
        values = queue.Queue(bound)
        each = (4_000 if quick else 20_000) // lanes
        sums = [0] * lanes

        def produce(lane):
            for value in range(lane * each, (lane + 1) * each):
                values.put(value)

        def consume(lane):
            sums[lane] = sum(values.get() for _ in range(each))

        bodies = [lambda lane=lane, end=end: end(lane) for lane in range(lanes) for end in (produce, consume)]
        spent = Spent(lambda: crew(bodies))
        sent = each * lanes
        assert sum(sums) == sent * (sent - 1) // 2
        return spent.per(sent)

    return run


def on_worker():
    return threading.current_thread() is not threading.main_thread()


def submit_join(quick):
    count = 5_000 if quick else 40_000
    with ThreadPoolExecutor(CORES) as pool:
        spent = Spent(lambda: sum(future.result() for future in [pool.submit(on_worker) for _ in range(count)]))
    assert spent.result == count
    return spent.per(count, cpu=spent.cpu / count * 1e9)


def long_work(steps):
    x = 0
    for _ in range(steps):
        x += 1
    return x


def steps_of(seconds):
    best = float("inf")
    for _ in range(20):
        begin = time.perf_counter()
        long_work(10_000)
        best = min(best, time.perf_counter() - begin)
    return round(seconds / best * 10_000)


def long_map(quick):
    count, steps = (500 if quick else 2_000), steps_of(50e-6)
    with ThreadPoolExecutor(CORES) as pool:
        spent = Spent(lambda: list(pool.map(long_work, [steps] * count)))
    assert spent.result == [steps] * count
    value, cores, extra = spent.per(count, 1e-3)
    return value * 10_000, cores, extra


def lazy_map(quick):
    count = 5_000 if quick else 40_000
    with ThreadPoolExecutor(CORES) as pool:
        spent = Spent(lambda: sum(1 for _ in pool.map(abs, range(count), buffersize=64)))
    assert spent.result == count
    return spent.per(count)


def idle(quick):
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(abs, range(1_000)))
        time.sleep(0.1)
        spent = Spent(lambda: time.sleep(0.3 if quick else 1.0))
    return spent.cpu * 1e6 / spent.wall, spent.cpu / spent.wall, {}


def identity(value):
    return value


def length(value):
    return len(value)


def process_roundtrip(quick):
    count = 300 if quick else 1_500
    with ProcessPoolExecutor(1) as pool:
        pool.submit(identity, 1).result()
        spent = Spent(lambda: sum(pool.submit(identity, 1).result() for _ in range(count)))
    assert spent.result == count
    return spent.per(count, 1e-6)


def process_map(chunk, full):
    def run(quick):
        count = full // 10 if quick else full
        with ProcessPoolExecutor(2) as pool:
            pool.submit(identity, 1).result()
            spent = Spent(lambda: sum(pool.map(identity, range(count), chunksize=chunk)))
        assert spent.result == count * (count - 1) // 2
        return spent.per(count)

    return run


def process_payload(quick):
    count = 30 if quick else 150
    data = b"h" * (1 << 20)
    with ProcessPoolExecutor(2) as pool:
        pool.submit(length, data).result()
        spent = Spent(lambda: sum(pool.map(length, [data] * count)))
    assert spent.result == count << 20
    return count / spent.wall, spent.cpu / spent.wall, {}


def process_start(gigabyte):
    def run(quick):
        count = 5 if quick else 20
        ballast = b"\x01" * (1 << 30) if gigabyte else b""

        def one():
            with ProcessPoolExecutor(1) as pool:
                return pool.submit(identity, 1).result()

        spent = Spent(lambda: sum(one() for _ in range(count)))
        assert spent.result == count and (not ballast or ballast[-1] == 1)
        return spent.per(count, 1e-6)

    return run


def process_recover(quick):
    """A pool that has lost a worker is broken: what recovers is a new one."""
    count = 5 if quick else 20
    spent = 0.0
    for _ in range(count):
        pool = ProcessPoolExecutor(1)
        victim = pool.submit(os.getpid).result()
        begin = time.perf_counter()
        os.kill(victim, 9)
        while True:
            try:
                pool.submit(identity, 1).result()
                break
            except BrokenProcessPool:
                pool.shutdown()
                pool = ProcessPoolExecutor(1)
        spent += time.perf_counter() - begin
        pool.shutdown()
    return spent / count / 1e-6, 0.0, {}


def spawn(gigabyte):
    def run(quick):
        count = 50 if quick else 200
        ballast = b"\x01" * (1 << 30) if gigabyte else b""
        spent = Spent(lambda: [subprocess.run(["/bin/true"], check=True) for _ in range(count)])
        assert len(spent.result) == count and (not ballast or ballast[-1] == 1)
        return spent.per(count, 1e-6)

    return run


def communicate(quick):
    length = (32 if quick else 256) << 20
    data = b"h" * length
    spent = Spent(lambda: subprocess.run(["cat"], input=data, stdout=subprocess.PIPE, check=True))
    assert spent.result.stdout == data
    return (length >> 20) / spent.wall, spent.cpu / spent.wall, {}


def three_in_a_row():
    first = subprocess.Popen(["echo", "hemp"], stdout=subprocess.PIPE)
    second = subprocess.Popen(["cat", "-"], stdin=first.stdout, stdout=subprocess.PIPE)
    third = subprocess.Popen(["cat", "-"], stdin=second.stdout, stdout=subprocess.PIPE)
    first.stdout.close()
    second.stdout.close()
    output = third.communicate()[0]
    first.wait()
    second.wait()
    return output


def pipelines(quick):
    count = 15 if quick else 60
    spent = Spent(lambda: [three_in_a_row() for _ in range(count)])
    assert spent.result == [b"hemp\n"] * count
    return spent.per(count, 1e-6)


SUITES = {
    "process": {
        "roundtrip": process_roundtrip,
        "map.tiny": process_map(1, 20_000),
        "map.tiny.chunk100": process_map(100, 400_000),
        "payload.1mib": process_payload,
        "start.small": process_start(False),
        "start.1gib": process_start(True),
        "recover.sigkill": process_recover,
    },
    "subprocess": {
        "spawn": spawn(False),
        "spawn.1gib": spawn(True),
        "communicate.256mib": communicate,
        "pipeline.3": pipelines,
    },
    "sync": {
        "mutex.uncontended": mutex_uncontended,
        "mutex.2threads": guarded(threading.Lock, 2),
        "mutex.4threads": guarded(threading.Lock, 4),
        "event.thread-thread": event_ping_pong(lambda core: core),
        "event.thread-thread.one-core": event_ping_pong(lambda core: 0),
        "event.thread-thread.free": event_ping_pong(None),
        "condvar.thread-thread": condvar_ping_pong,
        "queue.unbounded.1x1": queue_of(0, 1),
        "queue.unbounded.4x4": queue_of(0, 4),
        "queue.bounded64.1x1": queue_of(64, 1),
        "queue.bounded64.4x4": queue_of(64, 4),
        "semaphore.2threads": guarded(lambda: threading.Semaphore(1), 2),
    },
    "pool": {
        "submit-join.1m": submit_join,
        "map.10k-50us": long_map,
        "idle.cpu": idle,
    },
}
if sys.version_info >= (3, 14):
    # Before `buffersize` its map read the whole input at once: not lazy, so it does not take part.
    SUITES["pool"]["map.ordered-lazy"] = lazy_map


def answer(first, second):
    if first == "works":
        return " ".join([*SUITES.get(second, {}), "-"])
    for works in SUITES.values():
        if first in works:
            value, cores, extra = works[first](second == "quick")
            return " ".join([f"ok {value:.6f} {cores:.3f}", *(f"{name}={figure:.6f}" for name, figure in extra.items())])
    return "error: no such work"


if __name__ == "__main__":
    for line in sys.stdin:
        print(answer(*line.split()), flush=True)
