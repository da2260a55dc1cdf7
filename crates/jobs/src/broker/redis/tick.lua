-- Lets time pass: what is due, what has lost its lease, what was kept long enough.
--
-- ARGV: how many of each kind at most, the name under which ropewalk's schedulers hold rq's lock.
-- Returns: due, recovered, ended, forgotten, whether there is more ('1'), when the next one is due (ms or ''), the time of day (ms).

local max, owner = tonumber(arg()), arg()

-- rq's own schedulers read, then write; so a queue is moved along by whoever holds its lock, which one of them and all of
-- ours together can. It lasts as long as rq's.
local held = {}
local function is_mine(q)
  if held[q] == nil then
    local lock = P .. ':scheduler-lock:' .. q
    local holder = call('GET', lock)
    held[q] = not holder or holder == owner
    if held[q] then call('SET', lock, owner, 'EX', 61) end
  end
  return held[q]
end

local due = 0
local first = call('ZRANGEBYSCORE', P .. ':rw:due', '-inf', now, 'LIMIT', 0, max)
for _, id in ipairs(first) do
  local job = look(id)
  if not job or job.status ~= 'scheduled' then
    -- A scheduler of rq's has moved it, or it expired.
    call('ZREM', P .. ':rw:due', id)
  elseif is_mine(job.origin) then
    leave(job)
    to_queue(job, job.enqueue_at_front == '1')
    due = due + 1
  end
end

local recovered, over = 0, 0
local expired = call('ZRANGEBYSCORE', P .. ':rw:leases', '-inf', steady, 'LIMIT', 0, max)
for _, member in ipairs(expired) do
  local id, exec = string.match(member, '^(.*):(.*)$')
  local job = look(id)
  if not job or job.status ~= 'started' or job.rw_exec ~= exec then
    -- rq's maintenance was there first.
    call('ZREM', P .. ':rw:leases', member)
  else
    unlease(job, exec)
    call('HDEL', key_of(id), 'rw_exec', 'rw_settled')
    local crashes = tonumber(job.rw_crashes or 0) + 1
    local words = {WORKER = quoted(job.worker_name or 'its worker'), CRASHES = tostring(crashes)}
    if job.rw_stop == '1' then
      record(job, exec, 2, 'exc_string', STOPPED)
      call('HDEL', key_of(id), 'rw_failure')
      finish(job, 'stopped')
      over = over + 1
    elseif not is_ours(job) then
      -- A job of rq's: as rq does with one whose worker is gone.
      if retried(job) then
        recovered = recovered + 1
      else
        record(job, exec, 2, 'exc_string', ABANDONED)
        finish(job, 'failed')
        over = over + 1
      end
    elseif crashes >= tonumber(job.rw_crashes_max or 3) then
      record(job, exec, 2, 'exc_string', ABANDONED)
      finish(job, 'failed', 'rw_crashes', tostring(crashes), 'rw_failure', fill(POISON, words))
      over = over + 1
    else
      to_queue(job, false, 'rw_crashes', tostring(crashes), 'rw_failure', fill(CRASHED, words))
      recovered = recovered + 1
    end
    if is_ended(call('HGET', key_of(id), 'status') or 'finished') then release(job) end
    tell()
  end
end

local old = call('ZRANGEBYSCORE', P .. ':rw:kept', '-inf', now, 'LIMIT', 0, max)
for _, id in ipairs(old) do
  local job = look(id)
  if job then forget(job) end
  call('ZREM', P .. ':rw:kept', id)
end
call('ZREMRANGEBYSCORE', P .. ':rw:workers', '-inf', steady)
for _, key in ipairs(call('ZRANGEBYSCORE', P .. ':rw:taken:until', '-inf', now, 'LIMIT', 0, max)) do
  local until_ = string.match(call('HGET', P .. ':rw:taken', key) or '', '^(%d+)|')
  if until_ and tonumber(until_) <= now then call('HDEL', P .. ':rw:taken', key) end
  call('ZREM', P .. ':rw:taken:until', key)
end

-- Jobs of rq's that are due.
for _, list in ipairs(call('SMEMBERS', P .. ':queues')) do
  local q = string.sub(list, #P + 8)
  for _, id in ipairs(call('ZRANGEBYSCORE', registry('scheduled', q), 0, sec, 'LIMIT', 0, max)) do
    local job = look(id)
    if not job then
      call('ZREM', registry('scheduled', q), id)
    elseif not is_ours(job) and job.status == 'scheduled' and is_mine(q) then
      leave(job)
      to_queue(job, job.enqueue_at_front == '1')
      due = due + 1
    end
  end
end

local more = #first >= max or #expired >= max or #old >= max
local soonest = call('ZRANGE', P .. ':rw:due', 0, 0, 'WITHSCORES')[2] or ''
return done({due, recovered, over, #old, more and '1' or '', soonest ~= '' and whole(tonumber(soonest)) or '', whole(now)})
