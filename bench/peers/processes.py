"""The peers `multiprocessing` (its `Pool`) and `loky` of the suite `process` (the protocol is told in src/peer.rs).

Each as its documentation has it: a pool that lives as long as the sample, warmed before the clock starts. Amounts are smaller than ours,
figures are for one operation all the same.
"""

import multiprocessing
import sys

from peer import Spent, identity, length


class Pool:
    """multiprocessing.Pool."""

    def __init__(self, workers):
        self.pool = multiprocessing.Pool(workers)

    def one(self, value):
        return self.pool.apply(identity, (value,))

    def map(self, function, items, chunk):
        return self.pool.imap(function, items, chunksize=chunk)

    def end(self):
        self.pool.terminate()
        self.pool.join()


class Loky:
    """loky's ProcessPoolExecutor: that of concurrent.futures, made robust."""

    def __init__(self, workers):
        import loky

        self.pool = loky.ProcessPoolExecutor(workers)

    def one(self, value):
        return self.pool.submit(identity, value).result()

    def map(self, function, items, chunk):
        return self.pool.map(function, items, chunksize=chunk)

    def end(self):
        self.pool.shutdown(kill_workers=True)


def in_pool(make, workers, body):
    pool = make(workers)
    try:
        assert pool.one(7) == 7
        return Spent(lambda: body(pool))
    finally:
        pool.end()


def roundtrip(make, quick):
    count = 300 if quick else 1_500
    spent = in_pool(make, 1, lambda pool: sum(pool.one(1) for _ in range(count)))
    assert spent.result == count
    return spent.per(count, 1e-6)


def tiny(chunk, full):
    def run(make, quick):
        count = full // 10 if quick else full
        spent = in_pool(make, 2, lambda pool: sum(pool.map(identity, range(count), chunk)))
        assert spent.result == count * (count - 1) // 2
        return spent.per(count)

    return run


def payload(make, quick):
    count = 30 if quick else 150
    data = b"h" * (1 << 20)
    spent = in_pool(make, 2, lambda pool: sum(pool.map(length, [data] * count, 1)))
    assert spent.result == count << 20
    return count / spent.wall, spent.cpu / spent.wall, {}


def start(make, quick):
    count = 5 if quick else 20

    def one():
        pool = make(1)
        try:
            return pool.one(1)
        finally:
            pool.end()

    spent = Spent(lambda: sum(one() for _ in range(count)))
    assert spent.result == count
    return spent.per(count, 1e-6)


WORKS = {
    "roundtrip": roundtrip,
    "map.tiny": tiny(1, 20_000),
    "map.tiny.chunk100": tiny(100, 400_000),
    "payload.1mib": payload,
    "start.small": start,
}


def main():
    make = {"multiprocessing": Pool, "loky": Loky}[sys.argv[1]]
    for line in sys.stdin:
        work, effort = line.split()
        if work == "works":
            answer = " ".join([*WORKS, "-"] if effort == "process" else ["-"])
        elif work not in WORKS:
            answer = f"error no work {work}"
        else:
            value, cores, _ = WORKS[work](make, effort != "full")
            answer = f"ok {value:.6f} {cores:.3f}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
