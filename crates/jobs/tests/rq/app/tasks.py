"""The functions that both sides call: here they are in Python, and the worker of the test has tasks of the same names."""

import time

from rq import get_current_job


def add(a, b=0):
    return a + b


def fail(text):
    raise ValueError(text)


def flaky(key):
    """Fails the first time that it is called with this key."""
    connection = get_current_job().connection
    if connection.incr(f"flaky:{key}") == 1:
        raise OSError("the first time it fails")
    return key


def slow(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
    return "to its end"


def note(text):
    get_current_job().connection.rpush("notes", text)
    return text


def crowd(seconds):
    """How many are at it at once, with this one."""
    connection = get_current_job().connection
    now = connection.incr("crowd")
    time.sleep(seconds)
    connection.decr("crowd")
    return now


def on_success(job, connection, result):
    connection.rpush("notes", f"success of {job.id}: {result}")


def on_failure(job, connection, type, value, traceback):
    connection.rpush("notes", f"failure of {job.id}: {type.__name__}: {value}")


def on_stopped(job, connection):
    connection.rpush("notes", f"stop of {job.id}")
