"""The lab's work done by CPython, with nothing but its standard library.

Speaks the protocol of a row: one line of JSON on stdin, one on stdout. Every unit reports its start, its end and its
waits from the monotonic clock, and its thread, so that the lab draws and counts it exactly like its own.

Ends when stdin closes, and so do its worker processes: none outlives the lab.
"""

import asyncio
import concurrent.futures
import hashlib
import http.client
import json
import multiprocessing
import os
import resource
import sys
import threading
import time
import urllib.parse

# What the thread pool and the event loop have in flight at most: as many as the lab's own largest pool.
IN_FLIGHT = 160
MASK = 0xFFFF_FFFF_FFFF_FFFF

clock = time.monotonic_ns
local = threading.local()


# --- the work -------------------------------------------------------------------------------------------------------


def sum_of_squares(bound):
    s = 0
    for i in range(bound):
        s = ((s ^ (s >> 29)) + i * i) & MASK
    return s


def connection(url):
    """This thread's open connection to the host of `url`, and the path to ask it for."""
    parts = urllib.parse.urlsplit(url)
    kept = local.__dict__.setdefault("connections", {})
    key = (parts.scheme, parts.netloc)
    if key not in kept:
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        kept[key] = kind(parts.hostname, parts.port, timeout=20)
    return kept[key], (parts.path or "/") + ("?" + parts.query if parts.query else "")


def get(url, waits):
    conn, path = connection(url)
    if conn.sock is None:
        since = clock()
        conn.connect()
        waits.append((since, clock()))
    conn.request("GET", path)
    since = clock()
    answer = conn.getresponse()
    body = answer.read()
    waits.append((since, clock()))
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"answered {answer.status}")
    return hashlib.sha256(body).hexdigest()


def digest(path, waits):
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            since = clock()
            chunk = file.read(256 * 1024)
            waits.append((since, clock()))
            if not chunk:
                return hasher.hexdigest()
            hasher.update(chunk)


def report(unit, start, waits, cause, answer):
    waits = [{"start": a, "end": b, "cause": cause} for a, b in waits]
    timing = {"id": unit["id"], "thread": threading.get_native_id(), "start": start, "end": clock(), "waits": waits}
    return {"timing": timing, "answer": answer}


def perform(unit):
    start, waits, cause = clock(), [], "network"
    try:
        ((kind, task),) = unit["task"].items()
        if kind == "get":
            answer = get(task["url"], waits)
        elif kind == "sum":
            answer = str(sum_of_squares(task["bound"]))
        elif kind == "both":
            answer = get(task["url"], waits) + " " + str(sum_of_squares(task["bound"]))
        else:
            cause = "disk"
            answer = digest(task["path"], waits)
        return report(unit, start, waits, cause, {"Ok": answer})
    except Exception as error:
        return report(unit, start, waits, cause, {"Err": f"{type(error).__name__}: {error}"})


# --- the same GET without blocking, since the standard library has no client for that -----------------------------


async def fetch(url, kept, waits):
    parts = urllib.parse.urlsplit(url)
    key = (parts.scheme, parts.netloc)

    async def waiting(awaitable):
        since = clock()
        try:
            return await awaitable
        finally:
            waits.append((since, clock()))

    if key not in kept:
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        kept[key] = await waiting(asyncio.open_connection(parts.hostname, port, ssl=tls or None))
    reader, writer = kept[key]
    path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\n\r\n".encode())
    head = (await waiting(reader.readuntil(b"\r\n\r\n"))).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = b""
        while True:
            size = int((await waiting(reader.readline())).split(b";")[0], 16)
            chunk = await waiting(reader.readexactly(size + 2))
            if size == 0:
                break
            body += chunk[:-2]
    elif "content-length" in fields:
        body = await waiting(reader.readexactly(int(fields["content-length"])))
    else:
        body = await waiting(reader.read())
        fields["connection"] = "close"
    if fields.get("connection", "").lower() == "close":
        del kept[key]
        writer.close()
    if not 200 <= status < 300:
        raise RuntimeError(f"answered {status}")
    return hashlib.sha256(body).hexdigest()


async def perform_async(unit, kept):
    ((kind, task),) = unit["task"].items()
    if kind not in ("get", "both"):
        return perform(unit)
    start, waits = clock(), []
    try:
        answer = await fetch(task["url"], kept, waits)
        if kind == "both":
            answer += " " + str(sum_of_squares(task["bound"]))
        answer = {"Ok": answer}
    except Exception as error:
        answer = {"Err": f"{type(error).__name__}: {error}"}
    return report(unit, start, waits, "network", answer)


# --- the models -----------------------------------------------------------------------------------------------------


def sequential(units):
    return [perform(unit) for unit in units], 0


def threads(units):
    with concurrent.futures.ThreadPoolExecutor(max_workers=IN_FLIGHT) as pool:
        return list(pool.map(perform, units)), 0


def event_loop(units):
    async def main():
        todo, done = iter(units), []

        async def worker():
            kept = {}
            for unit in todo:
                done.append(await perform_async(unit, kept))
            for _, writer in kept.values():
                writer.close()

        await asyncio.gather(*(worker() for _ in range(min(IN_FLIGHT, len(units)))))
        return done

    return asyncio.run(main()), 0


def processes(units):
    methods = multiprocessing.get_all_start_methods()
    # A script that came as an argument cannot be imported again: fork is the only way that works for it.
    if "fork" not in methods:
        raise RuntimeError("multiprocessing needs a system that can fork")
    with multiprocessing.get_context("fork").Pool(initializer=watch) as pool:
        watch()
        done = pool.map(perform, units, chunksize=1)
        others = sum(private_kib(p.pid) for p in multiprocessing.active_children())
        pool.close()
        pool.join()
    return done, others


# --- the protocol ---------------------------------------------------------------------------------------------------


def watch():
    """From now on this process ends when the lab closes the pipe, or dies."""

    def until_closed():
        while os.read(LIFELINE, 1024):
            pass
        os._exit(0)

    threading.Thread(target=until_closed, daemon=True).start()


def private_kib(pid):
    """Memory that this process shares with no other."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def peak_kib():
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def cpu_us():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return int(total * 1e6)


def calibrate(unit_ms):
    """The bound that takes so long while nobody disturbs: the shortest of several short pieces tells."""

    def best(bound, times):
        took = []
        for _ in range(times):
            since = clock()
            sum_of_squares(bound)
            took.append(clock() - since)
        return min(took)

    piece = 1 << 10
    while best(piece, 1) * 16 < unit_ms * 1_000_000:
        piece *= 2
    return {"bound": max(1000, int(piece * unit_ms * 1_000_000 / best(piece, 9)))}


def answer(request):
    if "calibrate" in request:
        return calibrate(request["calibrate"])
    model = {"sequential": sequential, "threading": threads, "asyncio": event_loop, "multiprocessing": processes}
    before = cpu_us()
    done, others = model[request["model"]](request["units"])
    return {"done": done, "cpu_us": cpu_us() - before, "peak_rss_kib": peak_kib() + others}


def request_line():
    line = b""
    while not line.endswith(b"\n"):
        got = os.read(0, 65536)
        if not got:
            os._exit(0)
        line += got
    return json.loads(line)


request = request_line()
# Worker processes get another stdin; this stays.
LIFELINE = os.dup(0)
os.set_inheritable(LIFELINE, True)
if request.get("model") != "multiprocessing":
    # There the threads begin after the fork.
    watch()
try:
    line = {"done": answer(request)}
except Exception as error:
    line = {"failed": f"{type(error).__name__}: {error}"}
sys.stdout.write(json.dumps(line) + "\n")
sys.stdout.flush()
