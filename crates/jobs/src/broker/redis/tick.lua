-- Lets time pass: what is due, what has lost its lease, what was kept long enough.
--
-- ARGV: how many of each kind at most, the name under which ropewalk's schedulers hold rq's lock.
-- Returns: due, recovered, ended, forgotten, whether there is more ('1'), when the next one is due (ms or ''), the time of day (ms),
-- how many callbacks of Python's are owed.

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

-- What others have put where a job has something of its own keeps no other job from its turn. It is left alone for a while, and
-- told in the end.
local WHILE = 60000
local wrong
local function each(members, key, after, work)
  for _, member in ipairs(members) do
    local fine, why = pcall(work, member)
    if not fine then
      wrong = wrong or why
      call('ZADD', key, 'XX', whole(after + WHILE), member)
    end
  end
end

local due, passed = 0, 0
local first = call('ZRANGEBYSCORE', P .. ':rw:due', '-inf', now, 'LIMIT', 0, max)
each(first, P .. ':rw:due', now, function(id)
  local job = look(id)
  if not job or job.status ~= 'scheduled' then
    -- A scheduler of rq's has moved it, or it expired.
    call('ZREM', P .. ':rw:due', id)
    passed = passed + 1
  elseif (tonumber(call('ZSCORE', registry('scheduled', job.origin), id)) or 0) > sec + 1 then
    -- And a worker of rq's tries it again later: below, it is moved by rq's time.
    call('ZREM', P .. ':rw:due', id)
    passed = passed + 1
  elseif is_mine(job.origin) then
    leave(job)
    admit(job, job.enqueue_at_front == '1')
    due = due + 1
    passed = passed + 1
  end
end)

local recovered, over = 0, 0
local expired = call('ZRANGEBYSCORE', P .. ':rw:leases', '-inf', steady, 'LIMIT', 0, max)
each(expired, P .. ':rw:leases', steady, function(member)
  local id, exec = string.match(member, '^(.*):(.*)$')
  local job = look(id)
  if not job or job.status ~= 'started' or job.rw_exec ~= exec or not call('ZSCORE', registry('wip', job.origin), member) then
    -- rq's maintenance was there first; a worker of rq's may run it now.
    call('ZREM', P .. ':rw:leases', member)
  else
    unlease(job, exec)
    call('HDEL', key_of(id), 'rw_exec', 'rw_settled')
    local crashes = tonumber(job.rw_crashes or 0) + 1
    local words = {WORKER = quoted(job.worker_name or 'its worker'), CRASHES = tostring(crashes)}
    if job.rw_stop == '1' then
      record(job, exec, '2', 'exc_string', STOPPED)
      call('HDEL', key_of(id), 'rw_failure')
      owe(job, 'stopped', exec, '', true)
      finish(job, 'stopped')
      over = over + 1
    elseif not is_ours(job) then
      -- A job of rq's: as rq does with one whose worker is gone. But if there was no sign of life since the claim, its answer may
      -- have been lost on the way, and then it never began: it goes back a few times.
      local claimed, alive = unpack(call('HMGET', key_of(id), 'started_at', 'last_heartbeat'))
      if claimed == alive and crashes < 3 then
        to_queue(job, false, 'rw_crashes', tostring(crashes), 'rw_failure', fill(CRASHED, words))
        recovered = recovered + 1
      elseif retried(job) then
        owe(job, 'failure', exec, ABANDONED, false)
        recovered = recovered + 1
      else
        record(job, exec, '2', 'exc_string', ABANDONED)
        owe(job, 'failure', exec, ABANDONED, true)
        finish(job, 'failed')
        over = over + 1
      end
    elseif crashes >= tonumber(job.rw_crashes_max or 3) then
      record(job, exec, '2', 'exc_string', ABANDONED)
      finish(job, 'failed', 'rw_crashes', tostring(crashes), 'rw_failure', fill(POISON, words))
      over = over + 1
    else
      to_queue(job, false, 'rw_crashes', tostring(crashes), 'rw_failure', fill(CRASHED, words))
      recovered = recovered + 1
    end
    release_unless_active(job)
    tell()
  end
end)

local forgotten = 0
local old = call('ZRANGEBYSCORE', P .. ':rw:kept', '-inf', now, 'LIMIT', 0, max)
each(old, P .. ':rw:kept', now, function(id)
  local job = look(id)
  -- Somebody may have put it back into its queue.
  if job and is_ended(job.status) then
    forget(job)
    forgotten = forgotten + 1
  end
  call('ZREM', P .. ':rw:kept', id)
end)
call('ZREMRANGEBYSCORE', P .. ':rw:workers', '-inf', steady)
for _, key in ipairs(call('ZRANGEBYSCORE', P .. ':rw:taken:until', '-inf', now, 'LIMIT', 0, max)) do
  local until_ = string.match(call('HGET', P .. ':rw:taken', key) or '', '^(%d+)|')
  if until_ and tonumber(until_) <= now then call('HDEL', P .. ':rw:taken', key) end
  call('ZREM', P .. ':rw:taken:until', key)
end

-- Jobs of rq's that are due, and those of ours that a worker of rq's tries again.
for _, list in ipairs(call('SMEMBERS', P .. ':queues')) do
  local q = string.sub(list, #P + 8)
  local moved = call('ZRANGEBYSCORE', registry('scheduled', q), 0, sec, 'LIMIT', 0, max)
  each(moved, P .. ':rw:due', now, function(id)
    local job = look(id)
    if not job then
      call('ZREM', registry('scheduled', q), id)
    elseif is_ended(job.status) and not job.repeats_left and is_mine(q) then
      -- rq's maintenance took its worker for dead and has it tried again, and then that worker's end came after all. (A repeat of an
      -- older rq looks like this too, and that one is wanted.)
      call('ZREM', registry('scheduled', q), id)
    elseif job.status == 'scheduled' and not (is_ours(job) and call('ZSCORE', P .. ':rw:due', id)) and is_mine(q) then
      leave(job)
      admit(job, job.enqueue_at_front == '1')
      due = due + 1
    end
  end)
end

-- What is due and stays where it is belongs to a scheduler of rq's: nobody needs to look again at once.
local more = (#first >= max and passed > 0) or #expired >= max or #old >= max
local soonest = call('ZRANGEBYSCORE', P .. ':rw:due', '(' .. whole(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or ''
local answer = done({due, recovered, over, forgotten, more and '1' or '', soonest ~= '' and whole(tonumber(soonest)) or '', whole(now),
  call('LLEN', P .. ':rw:owed')})
if wrong then error(wrong, 0) end
return answer
