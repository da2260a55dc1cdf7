"""Suite greenlet in Python: `strands.py gevent|asyncio|uvloop` answers one line (the protocol is told in src/peer.rs).

gevent has greenlets; asyncio and uvloop have tasks, and differ in the loop that runs them. Amounts are smaller than
elsewhere, figures are for one operation all the same. A million strands are left out: they take minutes.
"""

import asyncio
import os
import queue
import sys
import threading
import time

SYSTEM = sys.argv[1]
VICTIMS = 1_000


class Timed:
    def __enter__(self):
        self.begun, self.begun_cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.begun
        self.cpu = time.process_time() - self.begun_cpu

    def per(self, count, unit=1e-9, **extra):
        return self.wall / count / unit, self.cpu / self.wall, extra


def sum_below(count):
    return count * (count - 1) // 2


def resident_bytes():
    with open("/proc/self/status") as status:
        return 1024 * sum(int(line.split()[1]) for line in status if line.startswith(("VmRSS:", "VmPTE:")))


def parked(count, spawning, byte_count, waking):
    figures = {"spawn": spawning.wall / count * 1e9, "bytes": byte_count / count, "wake": waking.wall / count * 1e9}
    return 0, (spawning.cpu + waking.cpu) / (spawning.wall + waking.wall), figures


def end_with_the_input():
    def watch():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Turns:
    """Counts the yields of all, and those after which another strand had yielded."""

    def __init__(self):
        self.total = self.switched = 0

    def check(self, expected, strands):
        assert self.total == expected
        assert strands == 1 or self.switched >= expected // 5 * 2, "too few yields let another strand run"


# gevent: greenlets.


def of_gevent():
    import gevent
    from gevent.event import AsyncResult, Event
    from gevent.queue import Queue

    def yields(strands):
        def run(quick):
            each = (40_000 if quick else 200_000) // strands
            turns, gate = Turns(), Event()

            def strand():
                gate.wait()
                for _ in range(each):
                    turns.total += 1
                    mine = turns.total
                    gevent.sleep(0)
                    turns.switched += turns.total != mine

            all_strands = [gevent.spawn(strand) for _ in range(strands)]
            gevent.sleep(0)
            with Timed() as timed:
                gate.set()
                gevent.joinall(all_strands, raise_error=True)
            turns.check(each * strands, strands)
            return timed.per(each * strands)

        return run

    def spawn_join(quick):
        count = 10_000 if quick else 50_000
        number = lambda number: number
        assert [gevent.spawn(number, n).get() for n in range(1_000)] == list(range(1_000))
        with Timed() as timed:
            total = sum(gevent.spawn(number, n).get() for n in range(count))
        with Timed() as batched:
            batches = 0
            for first in range(0, count, 1_000):
                batch = [gevent.spawn(number, n) for n in range(first, first + 1_000)]
                batches += sum(one.get() for one in batch)
        assert total == batches == sum_below(count)
        return timed.per(count, batch=batched.wall / count * 1e9)

    def park(full):
        def run(quick):
            count = full // 5 if quick else full
            gate, arrived = Event(), [0]

            def strand(number):
                arrived[0] += 1
                gate.wait()
                return number

            before = resident_bytes()
            with Timed() as spawning:
                strands = [gevent.spawn(strand, number) for number in range(count)]
                while arrived[0] < count:
                    gevent.sleep(0)
            byte_count = resident_bytes() - before
            with Timed() as waking:
                gate.set()
                total = sum(one.get() for one in strands)
            assert total == sum_below(count)
            return parked(count, spawning, byte_count, waking)

        return run

    def ping_pong(quick):
        count = 10_000 if quick else 50_000
        there, back = Queue(1), Queue(1)

        def answering():
            for _ in range(count):
                back.put(there.get() + 1)

        def asking():
            total = 0
            for number in range(count):
                there.put(number)
                total += back.get()
            return total

        other = gevent.spawn(answering)
        with Timed() as timed:
            total = gevent.spawn(asking).get()
        other.join()
        assert total == sum_below(count) + count
        return timed.per(count)

    def kill(quick):
        rounds, dropped, wall, cpu = 1 if quick else 5, [0], 0, 0
        for _ in range(rounds):
            gate = Event()

            def strand():
                try:
                    gate.wait()
                finally:
                    dropped[0] += 1

            victims = [gevent.spawn(strand) for _ in range(VICTIMS)]
            gevent.sleep(0)
            with Timed() as timed:
                for victim in victims:
                    victim.kill()
            assert all(victim.dead for victim in victims)
            wall, cpu = wall + timed.wall, cpu + timed.cpu
        assert dropped[0] == rounds * VICTIMS
        return wall / (rounds * VICTIMS) * 1e6, cpu / wall, {}

    def wait_ready(quick):
        count = 100_000 if quick else 500_000
        result = AsyncResult()
        result.set(1)
        with Timed() as timed:
            total = 0
            for _ in range(count):
                total += result.get()
        assert total == count
        return timed.per(count)

    def event_between(quick):
        count = 10_000 if quick else 50_000
        ping, pong, answered = Event(), Event(), [0]

        def answering():
            for _ in range(count):
                ping.wait()
                ping.clear()
                answered[0] += 1
                pong.set()

        other = gevent.spawn(answering)

        def asking():
            for trip in range(1, count + 1):
                ping.set()
                pong.wait()
                pong.clear()
                assert answered[0] == trip

        with Timed() as timed:
            gevent.spawn(asking).get()
        other.join()
        return timed.per(count, 1e-6, cpu=timed.cpu / count * 1e6)

    def serve():
        import socket

        from gevent.server import StreamServer

        def echo(connection, _):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while message := connection.recv(4096):
                connection.sendall(message)

        server = StreamServer(("127.0.0.1", 0), echo, backlog=1024)
        server.start()
        print(f"port {server.server_port}", flush=True)
        server.serve_forever()

    works = {
        "yield.1": yields(1),
        "yield.2": yields(2),
        "yield.1000": yields(1_000),
        "spawn-join": spawn_join,
        "park.100k": park(100_000),
        "queue.pingpong": ping_pong,
        "kill": kill,
        "wait.ready": wait_ready,
    }
    return works, {"event.greenlet-greenlet": event_between}, serve


# asyncio: tasks, on its own loop or on uvloop's.


def of_asyncio():
    if SYSTEM == "uvloop":
        import uvloop

        in_loop = uvloop.run
    else:
        in_loop = asyncio.run

    def work(main):
        return lambda quick: in_loop(main(quick))

    def yields(strands):
        async def run(quick):
            each = (40_000 if quick else 200_000) // strands
            turns, gate = Turns(), asyncio.Event()

            async def strand():
                await gate.wait()
                for _ in range(each):
                    turns.total += 1
                    mine = turns.total
                    await asyncio.sleep(0)
                    turns.switched += turns.total != mine

            all_strands = [asyncio.create_task(strand()) for _ in range(strands)]
            await asyncio.sleep(0)
            with Timed() as timed:
                gate.set()
                await asyncio.gather(*all_strands)
            turns.check(each * strands, strands)
            return timed.per(each * strands)

        return work(run)

    async def number(number):
        return number

    async def spawn_join(quick):
        count = 10_000 if quick else 100_000
        for n in range(1_000):
            assert await asyncio.create_task(number(n)) == n
        with Timed() as timed:
            total = 0
            for n in range(count):
                total += await asyncio.create_task(number(n))
        with Timed() as batched:
            batches = 0
            for first in range(0, count, 1_000):
                batch = [asyncio.create_task(number(n)) for n in range(first, first + 1_000)]
                for one in batch:
                    batches += await one
        assert total == batches == sum_below(count)
        return timed.per(count, batch=batched.wall / count * 1e9)

    def park(full):
        async def run(quick):
            count = full // 5 if quick else full
            gate, arrived = asyncio.Event(), [0]

            async def strand(number):
                arrived[0] += 1
                await gate.wait()
                return number

            before = resident_bytes()
            with Timed() as spawning:
                strands = [asyncio.create_task(strand(number)) for number in range(count)]
                while arrived[0] < count:
                    await asyncio.sleep(0)
            byte_count = resident_bytes() - before
            with Timed() as waking:
                gate.set()
                total = 0
                for one in strands:
                    total += await one
            assert total == sum_below(count)
            return parked(count, spawning, byte_count, waking)

        return work(run)

    async def ping_pong(quick):
        count = 10_000 if quick else 50_000
        there, back = asyncio.Queue(1), asyncio.Queue(1)

        async def answering():
            for _ in range(count):
                await back.put(await there.get() + 1)

        async def asking():
            total = 0
            for number in range(count):
                await there.put(number)
                total += await back.get()
            return total

        other = asyncio.create_task(answering())
        with Timed() as timed:
            total = await asyncio.create_task(asking())
        await other
        assert total == sum_below(count) + count
        return timed.per(count)

    async def kill(quick):
        rounds, dropped, wall, cpu = 1 if quick else 5, [0], 0, 0
        for _ in range(rounds):
            gate = asyncio.Event()

            async def strand():
                try:
                    await gate.wait()
                finally:
                    dropped[0] += 1

            victims = [asyncio.create_task(strand()) for _ in range(VICTIMS)]
            await asyncio.sleep(0)
            with Timed() as timed:
                for victim in victims:
                    victim.cancel()
                    try:
                        await victim
                    except asyncio.CancelledError:
                        pass
            assert all(victim.cancelled() for victim in victims)
            wall, cpu = wall + timed.wall, cpu + timed.cpu
        assert dropped[0] == rounds * VICTIMS
        return wall / (rounds * VICTIMS) * 1e6, cpu / wall, {}

    async def wait_ready(quick):
        count = 100_000 if quick else 500_000
        result = asyncio.get_running_loop().create_future()
        result.set_result(1)
        with Timed() as timed:
            total = 0
            for _ in range(count):
                total += await result
        assert total == count
        return timed.per(count)

    async def event_between(quick):
        count = 10_000 if quick else 50_000
        ping, pong, answered = asyncio.Event(), asyncio.Event(), [0]

        async def answering():
            for _ in range(count):
                await ping.wait()
                ping.clear()
                answered[0] += 1
                pong.set()

        async def asking():
            for trip in range(1, count + 1):
                ping.set()
                await pong.wait()
                pong.clear()
                assert answered[0] == trip

        other = asyncio.create_task(answering())
        with Timed() as timed:
            await asyncio.create_task(asking())
        await other
        return timed.per(count, 1e-6, cpu=timed.cpu / count * 1e6)

    async def event_with_thread(quick):
        """The thread sets an event with `call_soon_threadsafe`; the task answers through a queue of the thread's."""
        loop, ping, pong = asyncio.get_running_loop(), asyncio.Event(), queue.SimpleQueue()
        counts, over = [0, 0], False

        def asking():
            nonlocal over
            begin = time.perf_counter()
            while time.perf_counter() - begin < (0.04 if quick else 0.2):
                for _ in range(16):
                    loop.call_soon_threadsafe(ping.set)
                    pong.get()
                counts[0] += 16
            over = True
            loop.call_soon_threadsafe(ping.set)

        with Timed() as timed:
            thread = threading.Thread(target=asking)
            thread.start()
            while True:
                await ping.wait()
                ping.clear()
                if over:
                    break
                counts[1] += 1
                pong.put(None)
            thread.join()
        assert counts[0] == counts[1]
        return timed.per(counts[0], 1e-6, cpu=timed.cpu / counts[0] * 1e6)

    def serve():
        async def echo(reader, writer):
            # TCP_NODELAY is asyncio's default, and uvloop's.
            try:
                while message := await reader.read(4096):
                    writer.write(message)
                    await writer.drain()
            except ConnectionResetError:
                pass
            writer.close()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1024)
            print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
            await server.serve_forever()

        in_loop(main())

    works = {
        "yield.1": yields(1),
        "yield.2": yields(2),
        "yield.1000": yields(1_000),
        "spawn-join": work(spawn_join),
        "park.100k": park(100_000),
        "queue.pingpong": work(ping_pong),
        "kill": work(kill),
        "wait.ready": work(wait_ready),
    }
    events = {"event.greenlet-greenlet": work(event_between), "event.thread-greenlet": work(event_with_thread)}
    return works, events, serve


def main():
    works, events, serve = of_gevent() if SYSTEM == "gevent" else of_asyncio()
    suites = {"sync": events, "greenlet": {**works, "echo.50": None, "echo.1000": None}}
    first, second = sys.stdin.readline().split()
    if first == "works":
        print(*suites.get(second, {}), "-", flush=True)
        return
    end_with_the_input()
    if first.startswith("echo."):
        serve()
    value, cores, extra = {**works, **events}[first](second == "quick")
    print(f"ok {value:.6f} {cores:.3f}", *(f"{name}={figure:.6f}" for name, figure in extra.items()), flush=True)


main()
