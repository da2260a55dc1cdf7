-- What people ask for.
--
-- ARGV: the verb ('cancel', 'stop', 'end', 'requeue', 'delete', 'empty', 'suspend', 'resume'; 'heard': a stop that came by
-- rq's channel, which is not told there again), and the job or the queue ('' is all).
-- Returns: {'ok', how many moved}, {'missing'}, {'state', its status}, or {'taken', key, holder}.

local verb, id = arg(), arg()

local function cancel(job)
  leave(job)
  release(job)
  finish(job, 'canceled')
  tell()
end

local function stop(job)
  set(job.id, 'rw_stop', '1')
  news.stop = true
  -- A worker of rq's hears it there.
  if job.worker_name then
    call('PUBLISH', P .. ':pubsub:' .. job.worker_name, cjson.encode({command = 'stop-job', job_id = job.id}))
  end
end

local function requeue(job)
  if job.rw_unique then
    local holder = holder_of(job.rw_unique)
    if holder and holder ~= job.id then return {'taken', job.rw_unique, holder} end
    take_key(job)
  end
  leave(job)
  call('PERSIST', key_of(job.id))
  if job.rw_log then call('PERSIST', log_of(job.id)) end
  call('HDEL', key_of(job.id), 'rw_failure', 'rw_progress', 'rw_due', 'rw_exec', 'rw_settled', 'rw_failures', 'rw_crashes')
  set(job.id, 'started_at', '', 'ended_at', '')
  admit(job, false)
  return {'ok', 1}
end

local queue = P .. ':queue:' .. id
if verb == 'suspend' then
  if id ~= '' then return {'ok', call('SADD', P .. ':rw:suspended', id)} end
  return {'ok', call('SETNX', P .. ':suspended', 1)}
elseif verb == 'resume' then
  news.work = true
  return done({'ok', id ~= '' and call('SREM', P .. ':rw:suspended', id) or id == '' and call('DEL', P .. ':suspended')})
elseif verb == 'empty' then
  local found = {}
  for _, from in ipairs({{'LRANGE', queue}, {'ZRANGE', registry('scheduled', id)}, {'ZRANGE', registry('deferred', id)}}) do
    for _, other in ipairs(call(from[1], from[2], 0, -1)) do found[#found + 1] = look(other) end
  end
  table.sort(found, function(a, b)
    local x, y = tonumber(a.rw_seq or 0), tonumber(b.rw_seq or 0)
    if x == y then return a.id < b.id end
    return x < y
  end)
  -- All at once; to take them out one by one would look through the rest for each.
  call('DEL', queue, P .. ':rw:priority:' .. id)
  local emptied = 0
  for _, job in ipairs(found) do
    -- A job before it may have been what it needed.
    job = look(job.id)
    if job and not is_ended(job.status) and job.status ~= 'started' then
      cancel(job)
      emptied = emptied + 1
    end
  end
  return done({'ok', emptied})
end

local job = look(id)
if not job then return {'missing'} end
local runs, over = job.status == 'started', is_ended(job.status)
if verb == 'requeue' then
  if not over or job.status == 'finished' then return {'state', job.status} end
  return done(requeue(job))
elseif verb == 'delete' then
  if runs then return {'state', job.status} end
  if not over then
    cancel(job)
    job = look(id)
  end
  forget(job)
elseif verb == 'heard' then
  if runs and job.rw_stop ~= '1' then
    set(id, 'rw_stop', '1')
    news.stop = true
  end
else
  if over or (verb == 'cancel' and runs) or (verb == 'stop' and not runs) then return {'state', job.status} end
  if runs then stop(job) else cancel(job) end
end
return done({'ok', 1})
