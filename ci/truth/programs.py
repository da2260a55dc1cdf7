"""The ground-truth programs in Python: each does one thing for a second or two and writes what its own clocks say about it.

programs.py NAME ..: the functions below. Standard library only, except that `redis` talks to a real Redis.
"""

import asyncio
import concurrent.futures as futures
import http.client
import json
import multiprocessing
import os
import queue
import resource
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib

waited = {}
adding = threading.Lock()


class waiting:
    """Adds up wall time less this thread's processor time."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        self.wall, self.cpu = time.monotonic(), time.thread_time()

    def __exit__(self, *_):
        s = time.monotonic() - self.wall - (time.thread_time() - self.cpu)
        with adding:
            waited[self.kind] = waited.get(self.kind, 0) + s


def compute(n):
    x = 1
    for i in range(n):
        x = x * 31 + i & 0xFFFFFFFF
    return x


def get(connection, cpu=0):
    with waiting("network"):
        connection.request("GET", "/")
        connection.getresponse().read()
    compute(cpu)


def fetch_all(port, count, cpu):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count):
        get(connection, cpu)


def http_seq(port, count, cpu=0):
    fetch_all(int(port), int(count), int(cpu))


def http_threads(port, count, workers, cpu=0):
    each = int(count) // int(workers)
    threads = [threading.Thread(target=fetch_all, args=(int(port), each, int(cpu))) for _ in range(int(workers))]
    [t.start() for t in threads]
    [t.join() for t in threads]


def http_processes(port, count, workers, cpu=0):
    each = int(count) // int(workers)
    with multiprocessing.Pool(int(workers)) as pool:
        pool.starmap(fetch_all, [(int(port), each, int(cpu))] * int(workers))


def http_asyncio(port, count, flight):
    async def one(n):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        for _ in range(n):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
        writer.close()

    async def main():
        await asyncio.gather(*[one(int(count) // int(flight)) for _ in range(int(flight))])

    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(main())
    waited["network"] = time.monotonic() - began - (time.process_time() - cpu)


def cpu_threads(workers, n):
    threads = [threading.Thread(target=compute, args=(int(n),)) for _ in range(int(workers))]
    [t.start() for t in threads]
    [t.join() for t in threads]


def cpu_seq(parts, n):
    for _ in range(int(parts)):
        compute(int(n))


def cpu_processes(workers, n, parts=0):
    with futures.ProcessPoolExecutor(int(workers)) as pool:
        list(pool.map(compute, [int(n)] * (int(parts) or int(workers))))


def zlib_threads(workers, rounds):
    data = os.urandom(1 << 20)

    def run():
        for _ in range(int(rounds)):
            zlib.compress(data, 6)

    threads = [threading.Thread(target=run) for _ in range(int(workers))]
    [t.start() for t in threads]
    [t.join() for t in threads]


def sqlite_writer(path, seconds):
    for name in (path, path + "-journal"):
        if os.path.exists(name):
            os.unlink(name)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("create table t (x)")
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        with waiting("disk"):
            db.execute("insert into t values (?)", ("x" * 4000,))
    db.close()
    os.unlink(path)


def redis(port, seconds):
    s = socket.create_connection(("127.0.0.1", int(port)))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        with waiting("network"):
            s.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n")
            s.recv(100)


def slow_lines(ms):
    """The slow middle of a pipeline."""
    for line in sys.stdin:
        with waiting("sleep"):
            time.sleep(float(ms) / 1000)
        print(line, end="", flush=True)


def blocked_loop(seconds, busy):
    """An asyncio server whose handler computes, and clients that wait for it, in processes of their own."""

    async def handle(reader, writer):
        while await reader.read(100):
            compute(int(busy))
            writer.write(b"ok")
        writer.close()

    def client(port):
        s = socket.create_connection(("127.0.0.1", port))
        while True:
            s.sendall(b"x")
            if not s.recv(10):
                return

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        clients = [multiprocessing.Process(target=client, args=(port,), daemon=True) for _ in range(4)]
        [c.start() for c in clients]
        await asyncio.sleep(float(seconds))
        [c.kill() for c in clients]
        [c.join() for c in clients]

    asyncio.run(main())


def slow_consumer(producers, items, n):
    """Producers that are done in no time and wait for room in the queue of a consumer that computes."""
    pipe = queue.Queue(4)

    def produce():
        for item in range(int(items) // int(producers)):
            pipe.put(item)

    threads = [threading.Thread(target=produce) for _ in range(int(producers))]
    [t.start() for t in threads]
    for _ in range(int(items) // int(producers) * int(producers)):
        pipe.get()
        compute(int(n))
    [t.join() for t in threads]


def commands_in_turn(count, seconds):
    for _ in range(int(count)):
        with waiting("child"):
            subprocess.run(["sleep", seconds], check=True)


def sleeping_loop(seconds):
    with waiting("sleep"):
        time.sleep(float(seconds))


if __name__ == "__main__":
    began = time.monotonic()
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
    took = time.monotonic() - began
    if "TRUTH" in os.environ:
        cpu = 0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            cpu += used.ru_utime + used.ru_stime
        with open(os.environ["TRUTH"], "w") as file:
            json.dump({"wall": took, "cpu": cpu, **waited}, file)
        sys.stdout.flush()
        # What the interpreter does at its end is not in these figures.
        os._exit(0)
