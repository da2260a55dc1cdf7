#!/usr/bin/env python3
"""Forty slots of ours beside forty workers of python-rq: memory, connections, and what both cost the Redis that they share.

    CARGO_TARGET_DIR=target cargo build --release --manifest-path bench/Cargo.toml
    python3 bench/forty.py target/release/ropewalk-bench

Needs redis-server, and the environment with rq that `ropewalk-bench jobs --with python` has made beside the program. Each
side has a server of its own, first with nothing to do and then with jobs that sleep for 50 ms, enqueued by rq. Memory is the
proportional share (PSS) of all its processes, with what they share counted once. Prints a table of the guide.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

SLOTS = 40
NAP_MS = 50
IDLE_S = 10
# Python's workers start a process for each job, so they get fewer.
JOBS = {"ropewalk": 4_000, "rq": 600}


class Server:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.place = tempfile.TemporaryDirectory(prefix="ropewalk-forty-")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.place.name]
        self.process = subprocess.Popen(["redis-server", *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}/"
        deadline = time.monotonic() + 10
        while True:
            try:
                return self.info() and None
            except OSError:
                if time.monotonic() > deadline:
                    raise SystemExit("redis-server does not answer: apt-get install redis-server")
                time.sleep(0.02)

    def ask(self, command):
        with socket.create_connection(("127.0.0.1", self.port)) as server:
            server.sendall(f"{command}\r\n".encode())
            answer = server.makefile("rb")
            head = answer.readline()
            return answer.read(int(head[1:])).decode() if head[:1] == b"$" else head.decode().strip()

    def info(self):
        lines = (line.partition(":") for line in self.ask("INFO all").splitlines())
        return {name: value for name, _, value in lines}

    def cpu(self):
        info = self.info()
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def finished(self):
        return int(self.ask("ZCARD rq:finished:default").lstrip(":"))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.place.cleanup()


def family(pids):
    """These processes and all that they have started."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(pid))
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def memory(pids):
    """MiB: proportional share, and the sum of what each one has resident."""
    sums = {"Pss": 0, "Rss": 0}
    for pid in family(pids):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                for line in lines:
                    name, _, rest = line.partition(":")
                    if name in sums:
                        sums[name] += int(rest.split()[0])
        except OSError:
            continue
    return sums["Pss"] / 1024, sums["Rss"] / 1024


def measure(name, python, start):
    server = Server()
    before = time.monotonic()
    workers, ready = start(server)
    try:
        while not ready(server):
            time.sleep(0.05)
            assert all(worker.poll() is None for worker in workers), f"a worker of {name} has ended"
        took = time.monotonic() - before
        time.sleep(1)
        cpu = server.cpu()
        time.sleep(IDLE_S)
        idle = (server.cpu() - cpu) / IDLE_S
        pss, rss = memory([worker.pid for worker in workers])
        connections = int(server.info()["connected_clients"]) - 1
        count = JOBS[name]
        fill = (
            "import redis, rq, sys; q = rq.Queue(connection=redis.Redis.from_url(sys.argv[1]));"
            f"[q.enqueue_many([rq.Queue.prepare_data('jobs.nap', ({NAP_MS},)) for _ in range(100)]) for _ in range({count // 100})]"
        )
        cpu = server.cpu()
        subprocess.run([python, "-c", fill, server.url], check=True)
        enqueued = server.cpu() - cpu
        begin = time.monotonic()
        busy = 0.0
        while server.finished() < count:
            busy = max(busy, memory([worker.pid for worker in workers])[0])
            time.sleep(0.2)
        return {
            "all of them are ready after": f"{took:.1f} s",
            "processes": len(family([worker.pid for worker in workers])),
            "memory, nothing to do (PSS)": f"{pss:.0f} MiB",
            "the same, each counted in full (RSS)": f"{rss:.0f} MiB",
            "memory at work, at most (PSS)": f"{busy:.0f} MiB",
            "connections": connections,
            "CPU of Redis, nothing to do": f"{100 * idle:.2f} % of a core",
            "CPU of Redis for a job": f"{(server.cpu() - cpu - enqueued) / count * 1e6:.0f} µs",
            f"jobs of {NAP_MS} ms": f"{count / (time.monotonic() - begin):.0f} a second or more",
        }
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
        server.end()


def main():
    program = os.path.abspath(sys.argv[1])
    python = os.path.join(os.path.dirname(program), "ropewalk-bench-peers", "rq", "bin", "python")
    if not os.path.exists(python):
        raise SystemExit(f"there is no {python}: run `{program} jobs --work idle.cpu --quick --with python` once")
    peers = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")
    environment = {**os.environ, "PYTHONPATH": peers, "PYTHONDONTWRITEBYTECODE": "1"}

    def ours(server):
        command = [program, "--job-worker", server.url, str(SLOTS), "serve"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
        return [worker], lambda server: server.ask("SCARD rq:workers") == ":1"

    def theirs(server):
        command = [os.path.join(os.path.dirname(python), "rq"), "worker", "-u", server.url, "--quiet"]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        workers = [subprocess.Popen(command, **options) for _ in range(SLOTS)]
        return workers, lambda server: server.ask("SCARD rq:workers") == f":{SLOTS}"

    tables = {"ropewalk": measure("ropewalk", python, ours), "rq": measure("rq", python, theirs)}
    print(f"|  | one worker of ours with {SLOTS} slots | {SLOTS} workers of rq |\n| --- | ---: | ---: |")
    for row in tables["ropewalk"]:
        print(f"| {row} | {tables['ropewalk'][row]} | {tables['rq'][row]} |")


if __name__ == "__main__":
    main()
