# What a small job does for a job that did not end in Python: it calls what rq would have called then. See broker/redis/owed.rs, which
# sends this text with the names it uses: job_id, execution, kind, callback, hooks, error, message, traceback.
import builtins
import rq.exceptions
from rq.job import Job
from rq.utils import import_attribute

here = rq.get_current_job()
job = Job.fetch(job_id, connection=here.connection, serializer=here.serializer)

if callback:
    call = import_attribute(callback)
    if kind == "success":
        results = job.results()
        result = next((each for each in results if each.execution_id == execution), results[0] if results else None)
        call(job, here.connection, result and result.return_value)
    elif kind == "failure":
        name = error.rpartition(".")[2].rpartition(":")[2] or "Exception"
        known = getattr(rq.exceptions, name, None) or getattr(builtins, name, None)
        if not (isinstance(known, type) and issubclass(known, Exception)):
            known = type(name, (Exception,), {})
        try:
            value = known(message)
        except TypeError:
            known, value = Exception, Exception(message)
        call(job, here.connection, known, value, None)
    else:
        call(job, here.connection)

if hooks:
    status = "finished" if kind == "success" else "failed"
    for hook in job.webhooks:
        if hook.job_status == status:
            hook.send(job, exc_string=traceback or None)
