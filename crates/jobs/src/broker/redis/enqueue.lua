-- Takes a batch of jobs: all of them, or none. And passes a slot of a schedule with it, if there is one.
--
-- ARGV: the name of a schedule or '', the last slot that was passed as far as is known (ms or ''), this one (ms); how many, and for
-- each of them: id, queue, priority, due (ms or ''), unique key or '', its window (ms or ''), the number of needs and for each its id
-- and its code, the number of fields and values of the hash, and these.
-- Returns: {'need', job, need} if a need is not known, or {'elsewhere', slot} if another slot was the last one (ms or ''), and nothing
-- has changed; or {'ok', answers}, one each: '' if it is in the queue now, or the id of the job that is there already.

-- How many jobs rq lists of a schedule, and how long (s) after the last one.
local HISTORY_MAX, HISTORY_KEPT = 1000, 31536000

local schedule, after, slot = arg(), arg(), arg()
if schedule ~= '' then
  local last = call('HGET', P .. ':rw:slots', schedule) or ''
  if last ~= after then return {'elsewhere', last} end
end
local jobs, known = {}, {}
for i = 1, tonumber(arg()) do
  local job = {id = arg(), origin = arg(), rw_priority = arg(), rw_due = arg(), rw_unique = arg(), rw_window = arg()}
  for _, name in ipairs({'rw_due', 'rw_unique', 'rw_window'}) do
    if job[name] == '' then job[name] = nil end
  end
  job.needs = {}
  for n = 1, tonumber(arg()) do
    local need = {id = arg(), when = arg()}
    if not known[need.id] and call('EXISTS', key_of(need.id)) == 0 then return {'need', job.id, need.id} end
    job.needs[n] = need
  end
  job.fields = {}
  for n = 1, tonumber(arg()) do job.fields[n] = arg() end
  known[job.id] = true
  jobs[i] = job
end

-- Nearly all jobs only go to the end of their queue. That is one command for each, and one for all of them. (It names the queue to rq as
-- well, as whatever asks for ranks.)
local function goes_to_the_end(job)
  return job.rw_priority == '0' and not job.rate_limit_key and job.enqueue_at_front ~= '1'
    and not (job.rw_due and tonumber(job.rw_due) > now) and not is_ranked(job.origin)
end

if schedule ~= '' then call('HSET', P .. ':rw:slots', schedule, slot) end
local last = call('INCRBY', KEYS[1], #jobs) - #jobs
local answers = {}
local function take_in(i, job)
  local answer = ''
  if call('HEXISTS', key_of(job.id), 'data') == 1 then
    answer = job.id
  elseif job.rw_unique then
    local holder = holder_of(job.rw_unique)
    if holder then answer = holder else take_key(job) end
  end
  answers[i] = answer
  if answer == '' then
    job.rw_seq = whole(last + i)
    -- A worker of rq's that lets it go looks at no time.
    local open, broken, only_done = {}, nil, not (job.rw_due and tonumber(job.rw_due) > now)
    for _, need in ipairs(job.needs) do
      local status = call('HGET', key_of(need.id), 'status')
      -- A need of a duplicate in the same batch may lead to nothing: then it is as if it had been cancelled.
      if status and not is_ended(status) then
        local word = need.id .. '=' .. need.when
        if not open[word] then
          open[word] = true
          open[#open + 1] = word
          only_done = only_done and need.when == '0'
        end
      elseif not status or not is_met(need.when, status) then
        broken = broken or need.id
      end
    end
    for n = 1, #job.fields, 2 do
      job[job.fields[n]] = job[job.fields[n]] or job.fields[n + 1]
    end
    local to_the_end = not broken and #open == 0 and goes_to_the_end(job)
    if to_the_end then
      set(job.id, 'created_at', NOW, 'rw_seq', job.rw_seq, 'status', 'queued', 'enqueued_at', NOW, unpack(job.fields))
      index('RPUSH', P .. ':queue:' .. job.origin, job.id)
    else
      catch_up()
      set(job.id, 'created_at', NOW, 'rw_seq', job.rw_seq, unpack(job.fields))
    end
    if job.rw_priority == '0' then job.rw_priority = nil end
    if (job.group_id or '') ~= '' then
      call('SADD', P .. ':group:' .. job.group_id, job.id)
      call('SADD', P .. ':groups', job.group_id)
    end
    if to_the_end then return end
    if broken then
      finish(job, 'canceled', 'rw_failure', fill(BROKEN, {NEED = broken}))
      tell()
    elseif #open > 0 then
      call('SADD', P .. ':queues', P .. ':queue:' .. job.origin)
      set(job.id, 'status', 'deferred', 'rw_needs', table.concat(open, ' '))
      call('ZADD', registry('deferred', job.origin), sec, job.id)
      local on = {}
      for _, need in ipairs(job.needs) do
        if open[need.id .. '=' .. need.when] then
          on[#on + 1] = need.id
          -- rq's workers know one rule only, that all have to be finished; those with another are ours alone.
          if only_done then
            call('SADD', key_of(need.id) .. ':dependents', job.id)
            call('SADD', P .. ':job::' .. job.id .. ':dependencies', need.id)
          else
            call('SADD', P .. ':rw:needed:' .. need.id, job.id)
          end
        end
      end
      if only_done then set(job.id, 'dependency_id', on[1], 'dependency_ids', cjson.encode(on)) end
    else
      met(job)
    end
  end
end
put_off(function()
  for i, job in ipairs(jobs) do take_in(i, job) end
end)
-- rq's history of what a schedule has enqueued: for rq 2.11 and later, and kept by its rules.
if schedule ~= '' and #jobs > 0 then
  local history = P .. ':cron_job:' .. schedule .. ':jobs'
  call('ZADD', P .. ':cron_jobs', float(now), schedule)
  for i, job in ipairs(jobs) do
    if answers[i] == '' then call('ZADD', history, float(now), job.id) end
  end
  for _, id in ipairs(call('ZRANGE', history, 0, -HISTORY_MAX - 1)) do call('ZREM', history, id) end
  if real then call('EXPIRE', history, HISTORY_KEPT) end
end
return done({'ok', answers})
