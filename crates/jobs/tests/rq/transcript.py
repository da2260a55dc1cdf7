"""What rq sends to Redis for the common things, as MONITOR sees it: ids, times and the like taken out, so that two runs are alike.

    transcript.py SOCKET FILE [write]

Compares it with FILE and prints what is different, or writes it there. A new version of rq that sends something else shows here
first, before a job is lost between the two.
"""

import difflib
import re
import socket
import sys
from datetime import timedelta

import redis
import rq
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

SOCKET, FILE, WRITE = sys.argv[1], sys.argv[2], sys.argv[3:] == ["write"]
connection = redis.Redis(unix_socket_path=SOCKET)
queue = rq.Queue("golden", connection=connection, serializer=JSONSerializer)


def work():
    worker = rq.SimpleWorker([queue], connection=connection, serializer=JSONSerializer)
    worker.log.setLevel("CRITICAL")
    worker.work(burst=True, logging_level="CRITICAL")


def tick():
    scheduler = RQScheduler(["golden"], connection=connection, serializer=JSONSerializer, logging_level="CRITICAL")
    scheduler.acquire_locks()
    scheduler.enqueue_scheduled_jobs()
    scheduler.release_locks()


def last():
    return Job.fetch(made[-1].id, connection=connection, serializer=JSONSerializer)


def enqueue(function, *args, **options):
    made.append(queue.enqueue(f"app.tasks.{function}", *args, **options))


made = []
STEPS = [
    ("enqueue", lambda: enqueue("add", 1, b=2)),
    ("a worker runs it well, and ends", work),
    ("enqueue one that fails", lambda: enqueue("fail", "no rope")),
    ("a worker runs it, and ends", work),
    ("requeue", lambda: last().requeue()),
    ("cancel", lambda: last().cancel()),
    ("enqueue one that is tried again", lambda: enqueue("fail", "no rope", retry=rq.Retry(max=1, interval=60))),
    ("a worker runs it once, and ends", work),
    ("schedule", lambda: made.append(queue.enqueue_in(timedelta(0), "app.tasks.add", 1))),
    ("a scheduler finds that it is due", tick),
    ("enqueue one that waits for it", lambda: enqueue("add", 2, depends_on=made[-1])),
    ("a worker runs both, and ends", work),
]

# What belongs to the library that speaks to Redis and not to rq, and what two threads send in whichever order.
OF_THE_CLIENT = {"HELLO", "SELECT", "ECHO", "MONITOR", "UNSUBSCRIBE", "PING"}
CLIENT_OF_RQ = {"SETNAME", "INFO", "LIST"}
# Fields whose values belong to the machine.
OF_THE_MACHINE = {"pid", "hostname", "ip_address", "python_version", "data", "exc_string", "total_working_time"}

names = {}


def named(kind, word):
    """The same word has the same name, in the order in which they come."""
    return names.setdefault(word, f"<{kind}{sum(name.startswith('<' + kind) for name in names.values()) + 1}>")


def number(word, now):
    """A time as its distance from now, to twenty seconds: what rq computes a moment before it is sent is less at times."""
    value = float(word)
    if 1.6e9 < value < 1e10:
        distance = round((value - now) / 20) * 20
        return f"<now{'.f' if '.' in word else ''}{f'+{distance}' if distance else ''}>"
    return "<seconds>" if "." in word else word


def normal(line):
    head, _, rest = line.partition("] ")
    now = float(head.split()[0].lstrip("+"))
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
    command = words[0].upper()
    if command in OF_THE_CLIENT or (command == "CLIENT" and words[1].upper() not in CLIENT_OF_RQ):
        return None
    told, before = ["- " * head.endswith("lua") + command], words[0]
    for word in words[1:]:
        if before in OF_THE_MACHINE:
            said = f"<{before}>"
        elif "\\n" in word:
            said = "<text>"
        elif re.fullmatch(r"\d+(\.\d+)?(e-\d+)?", word):
            said = number(word, now)
        else:
            said = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", word)
            said = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda found: named("job", found[0]), said)
            said = re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", lambda found: named("name", found[0]), said)
        told.append(f"'{said}'" if not said or " " in said else said)
        before = word
    return " ".join(told)


monitor = socket.socket(socket.AF_UNIX)
# What does not come in this time, does not come.
monitor.settimeout(30)
monitor.connect(SOCKET)
monitor.sendall(b"MONITOR\r\n")
lines = monitor.makefile(encoding="utf-8", errors="replace")
assert lines.readline().startswith("+OK")

transcript = []
for step, (title, act) in enumerate(STEPS):
    act()
    connection.echo(f"step {step}")
    transcript.append(f"# {title}")
    for line in lines:
        if f'"step {step}"' in line:
            break
        said = normal(line.strip())
        if said:
            transcript.append(said)
    transcript.append("")

text = "\n".join(transcript)
if WRITE:
    with open(FILE, "w") as out:
        out.write(text)
else:
    with open(FILE) as committed:
        before = committed.read()
    changes = list(difflib.unified_diff(before.splitlines(), text.splitlines(), "committed", f"rq {rq.VERSION}", lineterm="", n=1))
    print("\n".join(changes))
    sys.exit(bool(changes))
