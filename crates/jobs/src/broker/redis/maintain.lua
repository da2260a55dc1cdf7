-- What rq's workers do for each other now and then, and we for them: executions and hand-overs that somebody did not finish,
-- registries, workers that are gone. And for jobs of ours whose needs have ended on one of rq's workers.
--
-- ARGV: how many of each kind at most, how often (s). Returns: how many jobs moved; -1 if somebody else has just done it.
-- Before: nothing. After: each moved as rq would move it, but for jobs of ours, which are tried again.

local max, every = tonumber(arg()), tonumber(arg())
if not call('SET', P .. ':rw:maintained', '1', 'EX', every, 'NX') then return {-1} end
-- How long an id may lie between a pop and a start: rq's figure.
local STUCK = 60
local moved = 0

-- Sorted sets may be longer than one step should look through: each time the next part of it, and round again.
local cursors = P .. ':rw:cursors'
local function part_of(set_of)
  local from = number(call('HGET', cursors, set_of), 0)
  local members = call('ZRANGE', set_of, from, from + max - 1)
  return members, function(stay)
    if #members < max then
      if from > 0 then call('HDEL', cursors, set_of) end
    else
      call('HSET', cursors, set_of, from + stay)
    end
  end
end
-- The same of a hash; `is_over` says of a field and its value whether it can go.
local function prune(hash, is_over)
  local place, pairs_of = unpack(call('HSCAN', hash, call('HGET', cursors, hash) or '0', 'COUNT', max))
  for i = 1, #pairs_of, 2 do
    if is_over(pairs_of[i], pairs_of[i + 1]) then call('HDEL', hash, pairs_of[i]) end
  end
  if place == '0' then call('HDEL', cursors, hash) else call('HSET', cursors, hash, place) end
end

-- Whether somebody runs a job now, besides this execution.
local function runs_elsewhere(job, exec)
  for _, other in ipairs(call('ZRANGEBYSCORE', P .. ':executions:' .. job.id, sec + 1, '+inf')) do
    local ends = other ~= exec and call('ZSCORE', registry('wip', job.origin), job.id .. ':' .. other)
    if ends and tonumber(ends) >= sec then return true end
  end
  return false
end

-- One whose worker of rq's is gone.
local function abandon(job, exec)
  unlease(job, exec)
  if is_ours(job) then
    local crashes = tonumber(job.rw_crashes or 0) + 1
    local words = {WORKER = quoted(job.worker_name or 'its worker'), CRASHES = tostring(crashes)}
    if crashes >= tonumber(job.rw_crashes_max or 3) then
      record(job, exec, '2', 'exc_string', ABANDONED)
      finish(job, 'failed', 'rw_crashes', tostring(crashes), 'rw_failure', fill(POISON, words))
    else
      to_queue(job, false, 'rw_crashes', tostring(crashes), 'rw_failure', fill(CRASHED, words))
    end
  elseif retried(job) then
    owe(job, 'failure', exec, ABANDONED, false)
  else
    record(job, exec, '2', 'exc_string', ABANDONED)
    owe(job, 'failure', exec, ABANDONED, true)
    finish(job, 'failed')
  end
  release_unless_active(job)
  tell()
  moved = moved + 1
end

-- A worker of rq's that tries a job again says so before it writes down when: killed in between, it leaves one at which nobody
-- would look.
local function retry_is_written_down(job)
  if job and job.status == 'scheduled' and not call('ZSCORE', registry('scheduled', job.origin), job.id) then
    call('ZADD', registry('scheduled', job.origin), sec, job.id)
    moved = moved + 1
  end
end

for _, list in ipairs(call('SMEMBERS', P .. ':queues')) do
  local q = string.sub(list, #P + 8)
  for _, member in ipairs(call('ZRANGEBYSCORE', registry('wip', q), 0, sec - 1, 'LIMIT', 0, max)) do
    local id, exec = string.match(member, '^(.*):(.*)$')
    local job = id and look(id)
    if not job or job.status ~= 'started' then
      call('ZREM', registry('wip', q), member)
      retry_is_written_down(job)
    elseif not call('ZSCORE', P .. ':rw:leases', member) then
      if exec and runs_elsewhere(job, exec) then
        -- What an execution before it has left.
        call('ZREM', registry('wip', q), member)
        call('ZREM', P .. ':executions:' .. id, exec)
        call('DEL', P .. ':execution:' .. member)
      else
        abandon(job, exec)
      end
    end
  end
  -- And rq's own maintenance strikes out such an execution without a look at the scheduled ones. So executions of rq's workers are
  -- noted while they are there, and their jobs looked at when they are not.
  local theirs = P .. ':rw:theirs:' .. q
  local noted, go_on = part_of(theirs)
  local stay = 0
  for _, member in ipairs(noted) do
    if call('ZSCORE', registry('wip', q), member) then
      stay = stay + 1
    else
      call('ZREM', theirs, member)
      retry_is_written_down(look(string.match(member, '^(.*):')))
    end
  end
  go_on(stay)
  local running, go_on = part_of(registry('wip', q))
  for _, member in ipairs(running) do
    if string.find(member, ':', 1, true) and not call('ZSCORE', P .. ':rw:leases', member) then call('ZADD', theirs, sec, member) end
  end
  go_on(#running)
  -- A queue may be given up, and nobody comes by any more.
  call('EXPIRE', theirs, 86400)
  -- Popped by one of rq's workers, which died before it began. It goes back; rq would fail it.
  for _, id in ipairs(call('LRANGE', list .. ':intermediate', 0, max - 1)) do
    local seen = list .. ':intermediate:first_seen:' .. id
    local first = call('GET', seen)
    local job = look(id)
    if not job or job.status ~= 'queued' then
      call('LREM', list .. ':intermediate', 1, id)
      call('DEL', seen)
    elseif not first then
      call('SET', seen, float(now), 'EX', 86400, 'NX')
    elseif now / 1000 - number(first, 0) > STUCK then
      call('LREM', list .. ':intermediate', 1, id)
      call('DEL', seen)
      to_queue(job, true)
      moved = moved + 1
    end
  end
  for _, id in ipairs(call('ZRANGE', registry('ready', q), 0, max - 1)) do
    local job = look(id)
    call('ZREM', registry('ready', q), id)
    if job and job.status == 'ready_to_enqueue' then
      met(job)
      moved = moved + 1
    end
  end
  local deferred, go_on = part_of(registry('deferred', q))
  stay = 0
  for _, id in ipairs(deferred) do
    local job = look(id)
    if not job then
      call('ZREM', registry('deferred', q), id)
    elseif is_ours(job) and job.status == 'deferred' and job.rw_needs then
      local rest, broken, looked = {}, nil, 0
      for need, when in string.gmatch(job.rw_needs, '([%w_-]+)=(%d)') do
        local status = call('HGET', key_of(need), 'status')
        looked = looked + 1
        if status and not is_ended(status) then
          rest[#rest + 1] = need .. '=' .. when
        else
          -- One that is not there any more was deleted, or ended long ago and nobody knows how: as if it had been cancelled.
          if not is_met(when, status or 'canceled') then broken = need end
          call('SREM', P .. ':rw:needed:' .. need, id)
        end
      end
      if broken or #rest < looked then
        weighed(job, rest, broken)
        tell()
        moved = moved + 1
      end
    end
    if call('ZSCORE', registry('deferred', q), id) then stay = stay + 1 end
  end
  go_on(stay)
  -- Cancelled jobs that Redis itself has forgotten, and ranks of jobs that a worker of rq's has taken.
  local canceled, go_on = part_of(registry('canceled', q))
  stay = 0
  for _, id in ipairs(canceled) do
    if call('EXISTS', key_of(id)) == 0 then call('ZREM', registry('canceled', q), id) else stay = stay + 1 end
  end
  go_on(stay)
  local ranks, go_on = part_of(P .. ':rw:priority:' .. q)
  stay = 0
  for _, id in ipairs(ranks) do
    if call('HGET', key_of(id), 'status') ~= 'queued' then call('ZREM', P .. ':rw:priority:' .. q, id) else stay = stay + 1 end
  end
  go_on(stay)
  for _, key in ipairs(call('SMEMBERS', P .. ':workers:' .. q)) do
    if call('EXISTS', key) == 0 then call('SREM', P .. ':workers:' .. q, key) end
  end
  -- What Redis itself has forgotten leaves rq's registries.
  call('ZREMRANGEBYSCORE', registry('finished', q), 0, sec - 1)
  call('ZREMRANGEBYSCORE', registry('failed', q), 0, sec - 1)
  call('ZREMRANGEBYSCORE', registry('rw:stopped', q), 0, sec - 1)
end
for _, key in ipairs(call('SMEMBERS', P .. ':workers')) do
  if call('EXISTS', key) == 0 then call('SREM', P .. ':workers', key) end
end
prune(P .. ':rw:taken', function(_, held)
  local until_, holder = string.match(held, '^(%d*)|(.*)$')
  if not holder or until_ ~= '' then return not holder or tonumber(until_) <= now end
  local status = call('HGET', key_of(holder), 'status')
  return not status or is_ended(status)
end)
prune(P .. ':rw:functions', function(id) return call('HGET', key_of(id), 'status') ~= 'queued' end)
if moved > 0 then news.work = true end
return done({moved})
