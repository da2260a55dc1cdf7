-- Ends executions.
--
-- ARGV: the number of outcomes and for each: job, execution, how ('done', 'failed', 'retry', 'snooze', 'release', 'stopped'), how
-- long to wait (ms), the failure (JSON or ''), and what rq reads: the value in base64 ('' is None), or the packed text.
-- Returns: for each 'recorded', 'repeated' or 'lost'; then how many callbacks are owed by it.

local outcomes = {}
for i = 1, tonumber(arg()) do
  outcomes[i] = {id = arg(), exec = arg(), how = arg(), after = tonumber(arg()), failure = arg(), text = arg()}
end

local counts, served = {}, {}
local function count(job, what)
  if not job.worker_name then return end
  local mine = counts[job.worker_name] or {successful_job_count = 0, failed_job_count = 0, seconds = 0}
  counts[job.worker_name] = mine
  mine[what] = mine[what] + 1
  mine.seconds = mine.seconds + (now - number(job.rw_started, now)) / 1000
end

-- rq's repeats, of a job that ended well: whether it goes on.
local function repeated(job)
  local left = number(job.repeats_left, 0)
  if left <= 0 then return false end
  -- The next one begins anew.
  if is_ours(job) then call('HDEL', key_of(job.id), 'rw_failures', 'rw_crashes') end
  local intervals = intervals_of(job.repeat_intervals)
  local interval = intervals[1] or 0
  if #intervals > 1 then table.remove(intervals, 1) end
  local rest = #intervals > 0 and cjson.encode(intervals) or '[0]'
  if interval == 0 then
    to_queue(job, false, 'repeats_left', left - 1, 'repeat_intervals', rest)
  else
    set(job.id, 'status', 'scheduled', 'repeats_left', left - 1, 'repeat_intervals', rest)
    call('ZADD', registry('scheduled', job.origin), sec + interval, job.id)
  end
  return true
end

-- With this one.
local function failures_of(job) return whole(tonumber(job.rw_failures or 0) + 1) end

local function settle(outcome)
  local job, exec = look(outcome.id), outcome.exec
  if not job then return 'lost' end
  -- The status first: an execution that comes twice has its place in the index still.
  local holds = job.status == 'started' and call('ZSCORE', registry('wip', job.origin), job.id .. ':' .. exec)
  if not holds then
    return job.rw_exec == exec and job.rw_settled == exec and 'repeated' or 'lost'
  end
  unlease(job, exec)
  if job.worker_name then served[job.worker_name] = true end
  local how = outcome.how
  local failure = outcome.failure
  local kept = failure ~= '' and {'rw_failure', failure} or {}
  if job.rw_stop == '1' and how ~= 'done' then how = 'stopped' end
  if how == 'done' then
    count(job, 'successful_job_count')
    if outcome.text == '' then record(job, exec, '1') else record(job, exec, '1', 'return_value', outcome.text) end
    if job.rw_failure then call('HDEL', key_of(job.id), 'rw_failure') end
    owe(job, 'success', exec, '', true)
    if repeated(job) then
      set(job.id, 'rw_settled', exec, 'ended_at', NOW)
      ended[#ended + 1] = {id = job.id, status = 'finished'}
    else
      finish(job, 'finished', 'rw_settled', exec, 'last_heartbeat', NOW)
    end
  elseif how == 'stopped' then
    count(job, 'failed_job_count')
    record(job, exec, '2', 'exc_string', outcome.text ~= '' and outcome.how ~= 'stopped' and outcome.text or STOPPED)
    owe(job, 'stopped', exec, '', true)
    finish(job, 'stopped', 'rw_settled', exec, unpack(kept))
  elseif how == 'failed' then
    count(job, 'failed_job_count')
    local again = not is_ours(job) and retried(job)
    owe(job, 'failure', exec, outcome.text, not again)
    if not again then
      record(job, exec, '2', 'exc_string', outcome.text)
      finish(job, 'failed', 'rw_settled', exec, 'rw_failures', failures_of(job), unpack(kept))
    else
      set(job.id, 'rw_settled', exec, 'rw_failures', failures_of(job), unpack(kept))
    end
  elseif how == 'retry' then
    count(job, 'failed_job_count')
    local due = whole(now + outcome.after)
    to_schedule(job, due, 'rw_due', due, 'rw_settled', exec, 'rw_failures', failures_of(job), unpack(kept))
  elseif how == 'snooze' then
    local due = whole(now + outcome.after)
    to_schedule(job, due, 'rw_due', due, 'rw_settled', exec, unpack(kept))
  else
    to_queue(job, true, 'rw_settled', exec)
  end
  release_unless_active(job)
  tell()
  return 'recorded'
end

-- Backwards, so that jobs that are released together keep their order at the front.
local answers = {}
put_off(function()
  for i = #outcomes, 1, -1 do answers[i] = settle(outcomes[i]) end
end)
for worker, mine in pairs(counts) do
  local key = P .. ':worker:' .. worker
  if call('EXISTS', key) == 1 then
    if mine.successful_job_count > 0 then call('HINCRBY', key, 'successful_job_count', mine.successful_job_count) end
    if mine.failed_job_count > 0 then call('HINCRBY', key, 'failed_job_count', mine.failed_job_count) end
    call('HINCRBYFLOAT', key, 'total_working_time', string.format('%.6f', mine.seconds))
  end
end
-- Whoever has nothing left is idle at once, for rq; its next beat is seconds away.
for worker in pairs(served) do
  local key = P .. ':worker:' .. worker
  if call('SCARD', key .. ':executions') == 0 and call('EXISTS', key) == 1 then
    call('HSET', key, 'state', 'idle')
    call('HDEL', key, 'current_job', 'current_job_working_time')
  end
end
answers[#outcomes + 1] = owed
return done(answers)
