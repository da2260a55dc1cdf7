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

-- One whose worker of rq's is gone.
local function abandon(job, exec)
  unlease(job, exec)
  if is_ours(job) then
    local crashes = tonumber(job.rw_crashes or 0) + 1
    local words = {WORKER = quoted(job.worker_name or 'its worker'), CRASHES = tostring(crashes)}
    if crashes >= tonumber(job.rw_crashes_max or 3) then
      record(job, exec, 2, 'exc_string', ABANDONED)
      finish(job, 'failed', 'rw_crashes', tostring(crashes), 'rw_failure', fill(POISON, words))
    else
      to_queue(job, false, 'rw_crashes', tostring(crashes), 'rw_failure', fill(CRASHED, words))
    end
  elseif not retried(job) then
    record(job, exec, 2, 'exc_string', ABANDONED)
    finish(job, 'failed')
  end
  if is_ended(call('HGET', key_of(job.id), 'status') or 'finished') then release(job) end
  tell()
  moved = moved + 1
end

for _, list in ipairs(call('SMEMBERS', P .. ':queues')) do
  local q = string.sub(list, #P + 8)
  for _, member in ipairs(call('ZRANGEBYSCORE', registry('wip', q), 0, sec - 1, 'LIMIT', 0, max)) do
    local id, exec = string.match(member, '^(.*):(.*)$')
    local job = id and look(id)
    if not job or job.status ~= 'started' then
      call('ZREM', registry('wip', q), member)
    elseif not call('ZSCORE', P .. ':rw:leases', member) then
      abandon(job, exec)
    end
  end
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
    elseif now / 1000 - tonumber(first) > STUCK then
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
      to_queue(job, job.enqueue_at_front == '1')
      moved = moved + 1
    end
  end
  for _, id in ipairs(call('ZRANGE', registry('deferred', q), 0, max - 1)) do
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
        elseif not is_met(when, status or 'finished') then
          broken = need
        end
      end
      if broken or #rest < looked then
        weighed(job, rest, broken)
        tell()
        moved = moved + 1
      end
    end
  end
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
if moved > 0 then news.work = true end
return done({moved})
