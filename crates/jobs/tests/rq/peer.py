"""python-rq, as the test speaks to it: one request a line in JSON, one answer a line.

    peer.py SOCKET pickle|json
"""

import http.server
import json
import os
import subprocess
import sys
import threading
from datetime import timedelta

import redis
import rq
from rq.command import send_command, send_stop_job_command
from rq.exceptions import DuplicateJobError
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.serializers import DefaultSerializer, JSONSerializer

SOCKET, WORD = sys.argv[1], sys.argv[2]
SERIALIZER = {"pickle": DefaultSerializer, "json": JSONSerializer}[WORD]
connection = redis.Redis(unix_socket_path=SOCKET)
workers = []


def queue(name):
    return rq.Queue(name, connection=connection, serializer=SERIALIZER)


def job(id):
    return Job.fetch(id, connection=connection, serializer=SERIALIZER)


def enqueue(queue_name, function, args=(), kwargs=None, seconds=None, retry=None, repeat=None, rate_limit=None, callbacks=None,
            unique=None, after=None, webhooks=None, **options):
    where = queue(queue_name)
    if retry:
        options["retry"] = rq.Retry(**retry)
    if repeat:
        options["repeat"] = rq.Repeat(**repeat)
    if rate_limit:
        from rq.rate_limit import RateLimit

        options["rate_limit"] = RateLimit(**rate_limit)
    for name, path in (callbacks or {}).items():
        options[name] = rq.Callback(path)
    if webhooks:
        from rq.webhook import Webhook

        options["webhooks"] = [Webhook(**webhook) for webhook in webhooks]
    if unique:
        options |= {"unique": True, "job_id": unique}
    if after:
        options["depends_on"] = after
    kwargs = kwargs or {}
    try:
        if seconds is not None:
            made = where.enqueue_in(timedelta(seconds=seconds), function, *args, **kwargs, **options)
        else:
            made = where.enqueue(function, *args, **kwargs, **options)
    except DuplicateJobError:
        return "duplicate"
    return made.id


def group(queue_name, name, function, many):
    from rq.group import Group

    data = [rq.Queue.prepare_data(function, args=(one,)) for one in many]
    made = Group.create(connection=connection, name=name)
    return [member.id for member in made.enqueue_many(queue=queue(queue_name), job_datas=data)]


def group_states(name):
    from rq.group import Group

    # A group reads its jobs with rq's default, whatever the queue has.
    found = Group.fetch(name, connection=connection)
    return sorted(job(raw.decode()).get_status().value for raw in connection.smembers(found.key))


def work(*queues):
    """Runs everything that is there, in this process."""
    worker = rq.SimpleWorker([queue(name) for name in queues], connection=connection, serializer=SERIALIZER)
    worker.log.setLevel("CRITICAL")
    return worker.work(burst=True, logging_level="CRITICAL")


def start_worker(name):
    """A worker with a process for each job, which alone can be stopped."""
    program = ("import redis, rq, sys; from rq.serializers import *;"
               f"c = redis.Redis(unix_socket_path={SOCKET!r});"
               f"rq.Worker([{name!r}], connection=c, serializer={SERIALIZER.__name__}).work(logging_level='CRITICAL')")
    workers.append(subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL))


def stop_worker():
    worker = workers.pop()
    worker.terminate()
    worker.wait()


def tick(name):
    """What a scheduler of rq's does each second."""
    scheduler = RQScheduler([name], connection=connection, serializer=SERIALIZER, logging_level="CRITICAL")
    if not scheduler.acquire_locks():
        return "the lock is held"
    scheduler.enqueue_scheduled_jobs()
    scheduler.release_locks()
    return "done"


def fetch(id):
    it = job(id)
    latest = it.latest_result()
    return {
        # All of one moment: the status is asked for anew otherwise.
        "status": it.get_status(refresh=False).value,
        "function": it.func_name,
        "value": it.return_value(),
        "type": latest.type.value if latest else None,
        "results": len(it.results()),
        "traceback": latest.exc_string if latest else None,
        "retries_left": it.retries_left,
        "worker": it.worker_name,
        "spent": (latest.execution_ended_at - latest.execution_started_at).total_seconds()
        if latest and latest.execution_ended_at else None,
        "started": it.started_at is not None,
        "ended": it.ended_at is not None,
    }


def counts(name):
    it = queue(name)
    registries = ("started", "finished", "failed", "deferred", "scheduled", "canceled")
    return {"queued": len(it)} | {of: len(getattr(it, f"{of}_job_registry").get_job_ids()) for of in registries}


def info():
    """What `rq info` prints, as it prints it for scripts."""
    command = [os.path.join(os.path.dirname(sys.executable), "rq"), "info", "--raw", "-u", f"unix://{SOCKET}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cron(name):
    """What rq's cron does when a job is due: it is told the function itself, of the application."""
    from app import tasks
    from rq.cron import CronScheduler

    scheduler = CronScheduler(connection=connection, logging_level="CRITICAL")
    scheduler.register(tasks.add, queue_name=name, args=(40, 2), interval=60, name="of Python")
    due = scheduler.enqueue_jobs()
    return due[0].get_job_ids(connection)[0]


def cron_history(name):
    from rq import cron_job_registry
    from rq.cron import get_cron_job_ids

    names = [other for other in cron_job_registry.get_names(connection) if other != "of Python"]
    return {"names": names, "jobs": get_cron_job_ids(name, connection)}


def dashboard(names):
    """What rq-dashboard shows of these queues, from the JSON that its pages ask for."""
    from rq_dashboard import cli, web

    # It takes no path of a socket as an address.
    web.from_url = lambda *_, **__: (None, connection)
    web.config.serializer = SERIALIZER
    app = cli.make_flask_app(None, None, None, "/")
    app.config["RQ_DASHBOARD_REDIS_URL"] = ("redis://",)
    app.redis_conn = connection
    pages = app.test_client()

    def page(path):
        answer = pages.get(f"/0/data/{path}.json")
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status}: {answer.text}")
        return answer.json

    registries = ("queued", "started", "finished", "failed", "deferred", "scheduled", "canceled")
    counts = {
        each["name"]: {"queued": each["count"]} | {of: each[f"{of}_job_registry_count"] for of in registries[1:]}
        for each in page("queues")["queues"]
    }
    lists = {
        name: [job["id"] for of in registries for job in page(f"jobs/{name}/{of}/10000/asc/1")["jobs"]] for name in names
    }
    # Its page of a job that waited for others wants bytes there, and rq 3 has text: it fails for jobs of Python's own as well.
    fails = lambda id: any(isinstance(other, str) for other in job(id).dependency_ids)
    jobs = {id: page(f"job/{id}") for ids in lists.values() for id in ids if not fails(id)}
    return {"queues": counts, "lists": lists, "jobs": jobs, "workers": {each["name"]: each for each in page("workers")["workers"]}}


def stop(id):
    send_stop_job_command(connection, id, serializer=SERIALIZER)


requests = []


class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def listen():
    """Where webhooks can go."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def taken_requests():
    made = requests[:]
    del requests[:len(made)]
    return made


def notes():
    made = [raw.decode() for raw in connection.lrange("notes", 0, -1)]
    connection.delete("notes")
    return made


ACTIONS = {
    "enqueue": enqueue, "group": group, "group_states": group_states, "work": work, "start_worker": start_worker,
    "stop_worker": stop_worker, "tick": tick, "fetch": fetch, "counts": counts, "info": info, "cron": cron, "cron_history": cron_history, "dashboard": dashboard, "stop": stop, "notes": notes,
    "listen": listen, "requests": taken_requests,
    "command": lambda worker, word: send_command(connection, worker, word),
    "cancel": lambda id: job(id).cancel(),
    "requeue": lambda id: job(id).requeue() and None,
    "version": lambda: rq.VERSION,
}

try:
    for line in sys.stdin:
        action, args, options = json.loads(line)
        try:
            answer = {"ok": ACTIONS[action](*args, **options)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
finally:
    while workers:
        stop_worker()
