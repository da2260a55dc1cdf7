-- What all steps know: the time, the keys, and how a job moves. It stands before the text of each step.
--
-- ARGV of every step: 1 the prefix of all keys (rq's own is `rq`), 2 the time of day and 3 the clock of leases, both in
-- milliseconds; both are empty but in tests, and then Redis' own clock says what time it is. A step's own follow.
-- KEYS of every step: 1 the counter `P:rw:seq`, which tells a cluster where the step belongs; all other keys are made
-- from the prefix.
--
-- What stands before this text: BROKEN, CRASHED, POISON: failures as JSON, with the placeholders that `fill` knows; STOPPED and
-- ABANDONED: what rq's results say then, packed.

local call = redis.call
local P = ARGV[1]
local now, steady = tonumber(ARGV[2]), tonumber(ARGV[3])
-- Redis forgets keys by its own clock; with another one, only a tick does.
local real = not now
if real then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  steady = now
end
local sec = math.floor(now / 1000)

local at = 3
local function arg()
  at = at + 1
  return ARGV[at]
end

-- To print a number takes as long as a short command, and most come more than once in a step: those of all jobs of a batch.
local function printed(write)
  local known = {}
  return function(n)
    local text = known[n]
    if not text then
      text = write(n)
      known[n] = text
    end
    return text
  end
end
-- Whole numbers, as Redis is to have them; `..` writes out the small ones only.
local whole = printed(function(n) return string.format('%.0f', n) end)

-- rq's text of a time: UTC, always six digits.
local function iso(ms)
  local days = math.floor(ms / 86400000)
  local rest = ms - days * 86400000
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03d000Z', yoe + era * 400 + (month <= 2 and 1 or 0), month,
    doy - math.floor((153 * mp + 2) / 5) + 1, math.floor(rest / 3600000), math.floor(rest / 60000) % 60,
    math.floor(rest / 1000) % 60, rest % 1000)
end
local NOW = iso(now)
-- rq's numbers of seconds.
local float = printed(function(ms) return string.format('%.3f', ms / 1000) end)

local function key_of(id) return P .. ':job:' .. id end
-- What its executions have said of themselves.
local function log_of(id) return P .. ':rw:log:' .. id end
local function registry(name, q) return P .. ':' .. name .. ':' .. q end

-- Changes of indexes, which a step may put off to its end: one command then does for all its jobs what each had one for. What runs
-- meanwhile reads none of these indexes but for a job that it has not moved yet, or catches up first. Commands on one key come in the
-- order in which the first of each kind came.
local later
local function index(command, key, ...)
  if not later then return call(command, key, ...) end
  local keys = later[command]
  if not keys then
    keys = {}
    later[command] = keys
  end
  local list = keys[key]
  if not list then
    list = {command, key}
    keys[key] = list
    later[#later + 1] = list
  end
  for i = 1, select('#', ...) do list[#list + 1] = (select(i, ...)) end
end
-- Lua hands on no more than some thousands at once. (Even, for pairs.)
local ARGUMENTS_MAX = 1000
-- What others have put where an index belongs keeps the jobs of no other index from theirs.
local function catch_up()
  local lists, wrong = later or {}, nil
  later = later and {}
  for _, list in ipairs(lists) do
    for from = 3, #list, ARGUMENTS_MAX do
      local answer = redis.pcall(list[1], list[2], unpack(list, from, math.min(from + ARGUMENTS_MAX - 1, #list)))
      if type(answer) == 'table' and answer.err then wrong = wrong or answer.err end
    end
  end
  if wrong then error(wrong, 0) end
end
-- Nothing is undone when a step breaks off: what was moved before has to be in its indexes.
local function put_off(work)
  later = {}
  local fine, why = pcall(work)
  catch_up()
  later = nil
  if not fine then error(why, 0) end
end

-- Who gets told at the end of the step.
local news = {}
local function tell_news()
  for topic in pairs(news) do call('PUBLISH', P .. ':rw:news', topic) end
end

-- What most moves look at.
local NAMES = {'status', 'origin', 'worker_name', 'rw_seq', 'rw_exec', 'rw_settled', 'rw_stop', 'rw_started', 'rw_kept_done',
  'result_ttl', 'rw_priority', 'rw_due', 'rw_needs', 'rw_unique', 'rw_limit', 'rw_log', 'rw_failure', 'rate_limit_key',
  'enqueue_at_front', 'repeats_left', 'success_callback_name', 'webhooks', 'dependency_id', 'dependency_ids'}
-- What only some moves look at: read when one of them asks for the first, with what the step has changed by then.
local RARE = {'rw_window', 'rw_failures', 'rw_crashes', 'rw_crashes_max', 'rw_kept', 'failure_ttl', 'enqueue_at_front_on_retry',
  'allow_dependency_failures', 'retries_left', 'retry_intervals', 'repeat_intervals', 'rate_limit_concurrency',
  'failure_callback_name', 'stopped_callback_name', 'group_id'}
local is_rare = {}
for _, name in ipairs(RARE) do is_rare[name] = true end

local function put(job, names, values)
  for i, name in ipairs(names) do
    if values[i] and values[i] ~= '' then job[name] = values[i] end
  end
end
local READS_THE_REST = {__index = function(job, name)
  if not is_rare[name] then return nil end
  setmetatable(job, nil)
  put(job, RARE, call('HMGET', key_of(job.id), unpack(RARE)))
  return job[name]
end}

-- What the moves need of a job; nothing if there is none. (A hash without data is a ghost that a late heartbeat left.)
local function look(id)
  local values = call('HMGET', key_of(id), unpack(NAMES))
  if not values[1] then return nil end
  local job = {id = id}
  put(job, NAMES, values)
  job.origin = job.origin or 'default'
  return setmetatable(job, READS_THE_REST)
end
-- Ours has a number; rq's has none.
local function is_ours(job) return job.rw_seq ~= nil end

-- What others wrote may be anything: a whole number, or `default` if it is none. The largest is more than a time in milliseconds.
local NUMBER_MAX = 1e15
local function number(text, default)
  local read = tonumber(text)
  if not read or read ~= read then return default end
  return math.floor(math.max(-NUMBER_MAX, math.min(read, NUMBER_MAX)))
end
-- The same of a list of seconds.
local function intervals_of(text)
  local fine, read = pcall(cjson.decode, text or '[0]')
  local intervals = {}
  for _, each in ipairs(fine and type(read) == 'table' and read or {}) do
    intervals[#intervals + 1] = math.max(0, number(each, 0))
  end
  return intervals
end

local function is_ended(status)
  return status == 'finished' or status == 'failed' or status == 'stopped' or status == 'canceled'
end

local function rank_of(q, id) return tonumber(call('ZSCORE', P .. ':rw:priority:' .. q, id) or 0) end

-- Puts a job into its queue's list: behind those of its priority or, at the front, before them. A queue in which nobody has a
-- priority is as fast as rq's own; in the others the place is looked for by halves.
local PASSED_MAX = 1000
-- Queues that were named to rq in this step, and which of them have priorities.
local ranked = {}
local function is_ranked(q)
  if ranked[q] == nil then
    call('SADD', P .. ':queues', P .. ':queue:' .. q)
    ranked[q] = call('EXISTS', P .. ':rw:priority:' .. q) == 1
  end
  return ranked[q]
end
local function push(q, id, priority, front)
  local list = P .. ':queue:' .. q
  priority = tonumber(priority or 0)
  if not is_ranked(q) and priority == 0 then
    call(front and 'LPUSH' or 'RPUSH', list, id)
    return
  end
  if priority ~= 0 then
    call('ZADD', P .. ':rw:priority:' .. q, priority, id)
    ranked[q] = true
  end
  local function is_behind(other)
    local theirs = rank_of(q, other)
    return theirs < priority or (front and theirs == priority)
  end
  -- Most come last, or first.
  local last = call('LINDEX', list, -1)
  if not last or not is_behind(last) then
    call('RPUSH', list, id)
    return
  end
  -- The first that is behind it. The list is in order, but for what Python has pushed to its end.
  local low, high = 0, call('LLEN', list) - 1
  local from_end = high
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_behind(call('LINDEX', list, middle)) then high = middle else low = middle + 1 end
  end
  if low == 0 then
    call('LPUSH', list, id)
  elseif from_end - low < PASSED_MAX then
    -- An insertion looks from the left; from the right it is shorter.
    local passed = call('LRANGE', list, low, -1)
    call('LTRIM', list, 0, low - 1)
    call('RPUSH', list, id, unpack(passed))
  else
    call('LINSERT', list, 'BEFORE', call('LINDEX', list, low), id)
  end
end

-- An execution ends or is taken away: rq's books of it, and ours.
local function unlease(job, exec)
  local member = job.id .. ':' .. exec
  index('ZREM', registry('wip', job.origin), member)
  index('ZREM', P .. ':rw:leases', member)
  call('DEL', P .. ':execution:' .. member, P .. ':executions:' .. job.id)
  if job.worker_name then index('SREM', P .. ':worker:' .. job.worker_name .. ':executions', member) end
  if job.rw_limit then
    call('SREM', P .. ':rw:limit:' .. job.rw_limit, job.id)
    news.work = true
  end
end

-- Takes a job that does not run out of the index of its state.
local function leave(job)
  local q, id, status = job.origin, job.id, job.status
  if status == 'queued' then
    call('LREM', P .. ':queue:' .. q, 0, id)
    if job.rw_priority then call('ZREM', P .. ':rw:priority:' .. q, id) end
  elseif status == 'scheduled' then
    call('ZREM', registry('scheduled', q), id)
    call('ZREM', P .. ':rw:due', id)
  elseif status == 'deferred' or status == 'ready_to_enqueue' then
    call('ZREM', registry('deferred', q), id)
    call('ZREM', registry('ready', q), id)
  elseif status == 'rate_limited' and job.rate_limit_key then
    call('ZREM', P .. ':rl:' .. job.rate_limit_key .. ':rate_limited', id)
  elseif status == 'finished' or status == 'canceled' then
    call('ZREM', registry(status, q), id)
    call('ZREM', P .. ':rw:kept', id)
  elseif status == 'failed' or status == 'stopped' then
    call('ZREM', registry('failed', q), id)
    call('ZREM', P .. ':rw:kept', id)
    if status == 'stopped' then call('ZREM', registry('rw:stopped', q), id) end
  end
end

local function set(id, ...) call('HSET', key_of(id), ...) end

local function to_queue(job, front, ...)
  set(job.id, 'status', 'queued', 'enqueued_at', NOW, ...)
  push(job.origin, job.id, job.rw_priority, front)
end

-- rq's rate limit: those whose turn it is go to their queue. The same rule as rq's own script.
local function acquire(key)
  local base = P .. ':rl:' .. key
  local limit = number(call('HGET', base, 'concurrency'), 0)
  while call('ZCARD', base .. ':allowed') < limit do
    local first = call('ZPOPMIN', base .. ':rate_limited')
    if not first[1] then return end
    local job = look(first[1])
    if job and job.status == 'rate_limited' then
      call('ZADD', base .. ':allowed', sec, job.id)
      to_queue(job, job.enqueue_at_front == '1')
    end
  end
end
local function release(job)
  if job.rate_limit_key then
    call('ZREM', P .. ':rl:' .. job.rate_limit_key .. ':allowed', job.id)
    acquire(job.rate_limit_key)
  end
end
-- After a move: a job that neither runs nor is in its queue holds nobody back.
local function release_unless_active(job)
  if not job.rate_limit_key then return end
  local status = call('HGET', key_of(job.id), 'status')
  if status ~= 'queued' and status ~= 'started' then release(job) end
end
-- To its queue from elsewhere; one with a rate limit of rq's when its turn comes.
local function admit(job, front)
  local key = job.rate_limit_key
  local base = key and P .. ':rl:' .. key
  if key and job.rate_limit_concurrency and call('HEXISTS', base, 'concurrency') == 0 then
    call('SADD', P .. ':rl-keys', key)
    call('HSET', base, 'concurrency', job.rate_limit_concurrency)
  end
  if not key or call('ZSCORE', base .. ':allowed', job.id) or number(call('HGET', base, 'concurrency'), 0) < 1 then
    to_queue(job, front)
  else
    set(job.id, 'status', 'rate_limited')
    call('ZADD', base .. ':rate_limited', sec, job.id)
    acquire(key)
  end
end

-- `due` in milliseconds, as text or number. rq looks at whole seconds: rounded up, so that it never is early.
local function to_schedule(job, due, ...)
  call('SADD', P .. ':queues', P .. ':queue:' .. job.origin)
  set(job.id, 'status', 'scheduled', ...)
  call('ZADD', registry('scheduled', job.origin), math.ceil(tonumber(due) / 1000), job.id)
  call('ZADD', P .. ':rw:due', due, job.id)
end

-- Jobs that ended in this step, in order: for those who wait, and for those that need them.
local ended, told = {}, 0

-- How long (s) a job is kept whose time to live is 0, for a callback of Python's that looks at it.
local OWED_KEPT = 600
-- What may be written down of the time limit (s) of a callback.
local OWED_SECONDS_MAX = 86400
-- What Python asked for at the end of a run: a function of its own (`kind` is 'success', 'failure' or 'stopped'), requests over
-- HTTP. It is written down in the same step; a small job of Python's is made of it by whoever looks next and can read in which
-- form the job is written. `text` is that of a failure, packed; `final` says that there is no other try.
local owed = 0
local function owe(job, kind, exec, text, final)
  local callback = job[kind .. '_callback_name']
  local status = kind == 'success' and '"finished"' or kind == 'failure' and final and '"failed"' or nil
  local hooks = status and job.webhooks and string.find(job.webhooks, status, 1, true)
  if not callback and not hooks then return end
  local seconds = callback and number(call('HGET', key_of(job.id), kind .. '_callback_timeout'), 60) or 60
  seconds = math.max(-1, math.min(seconds, OWED_SECONDS_MAX))
  call('RPUSH', P .. ':rw:owed', cjson.encode({job = job.id, queue = job.origin, kind = kind, execution = exec,
    callback = callback or '', seconds = seconds, hooks = hooks and true or false, text = text}))
  job.is_owed = true
  owed = owed + 1
end

-- A job's last move. It has left its index before. What stays of it, stays as long as it says: by Redis' own clock for rq,
-- and to the millisecond by ours.
local function finish(job, status, ...)
  local q, id = job.origin, job.id
  set(id, 'status', status, 'ended_at', NOW, ...)
  if job.rw_stop or job.rw_needs then call('HDEL', key_of(id), 'rw_stop', 'rw_needs') end
  local done = status == 'finished'
  local seconds = done and number(job.result_ttl, 500) or not done and number(job.failure_ttl, 31536000)
  local name = done and 'finished' or status == 'canceled' and 'canceled' or 'failed'
  -- Its callback reads it.
  if job.is_owed and seconds >= 0 then seconds = math.max(seconds, OWED_KEPT) end
  if is_ours(job) then
    local kept = tonumber(done and job.rw_kept_done or not done and job.rw_kept or seconds * 1000)
    if job.is_owed then kept = math.max(kept, OWED_KEPT * 1000) end
    index('ZADD', P .. ':rw:kept', whole(now + kept), id)
  end
  if name == 'canceled' then
    index('ZADD', registry(name, q), whole(sec), id)
  elseif seconds < 0 then
    index('ZADD', registry(name, q), done and '+inf' or '-1', id)
  else
    index('ZADD', registry(name, q), whole(sec + seconds), id)
  end
  if status == 'stopped' then index('ZADD', registry('rw:stopped', q), whole(sec + math.max(seconds, 0)), id) end
  local expires
  if real and seconds > 0 and (name ~= 'canceled' or is_ours(job)) then
    -- Ours are forgotten by a tick, which takes them out of the registries too; Redis comes after it.
    expires = whole(is_ours(job) and seconds + 60 or seconds)
    call('EXPIRE', key_of(id), expires)
    call('EXPIRE', P .. ':results:' .. id, expires)
    if job.dependency_id or job.dependency_ids then call('EXPIRE', P .. ':job::' .. id .. ':dependencies', expires) end
    if job.rw_log then call('EXPIRE', log_of(id), expires) end
  elseif real and seconds < 0 then
    call('PERSIST', P .. ':results:' .. id)
    if job.rw_log then call('PERSIST', log_of(id)) end
  end
  if job.rw_unique and not job.rw_window then
    local taken = call('HGET', P .. ':rw:taken', job.rw_unique)
    if taken and string.match(taken, '|(.*)$') == id then call('HDEL', P .. ':rw:taken', job.rw_unique) end
  end
  -- rq keeps nothing of a job whose time to live is 0. Whoever needs it is told first.
  local drops = seconds == 0 and name ~= 'canceled' and not is_ours(job) and job
  ended[#ended + 1] = {id = id, status = status, expires = expires, drops = drops}
end

-- Whether a job may not take this key, and who has it. One that ended elsewhere has given it back.
local function holder_of(key)
  local until_, holder = string.match(call('HGET', P .. ':rw:taken', key) or '', '^(%d*)|(.*)$')
  if not holder then return nil end
  if until_ ~= '' then return now < tonumber(until_) and holder or nil end
  local status = call('HGET', key_of(holder), 'status')
  return status and not is_ended(status) and holder or nil
end
local function take_key(job)
  local ends = job.rw_window and whole(now + tonumber(job.rw_window)) or ''
  call('HSET', P .. ':rw:taken', job.rw_unique, ends .. '|' .. job.id)
  if ends ~= '' then call('ZADD', P .. ':rw:taken:until', ends, job.rw_unique) end
end

-- Failures that are made here, from the templates.
local function fill(template, values)
  return (string.gsub(template, '__(%u+)__', function(name) return values[name] end))
end
local function quoted(text) return string.sub(cjson.encode(text), 2, -2) end

-- The same as When::is_met of the dependencies, by its codes.
local function is_met(when, status)
  if when == '0' then return status == 'finished' end
  if when == '1' then return true end
  if when == '2' then return status == 'failed' end
  return status == 'stopped'
end

-- All that a job needed has ended as needed.
local function met(job)
  if job.rw_due and tonumber(job.rw_due) > now then
    to_schedule(job, job.rw_due)
  else
    admit(job, job.enqueue_at_front == '1')
  end
end

-- What is left of the needs of a job of ours after a look at them: `broken` is one that ended otherwise.
local function weighed(job, rest, broken)
  if broken then
    leave(job)
    finish(job, 'canceled', 'rw_failure', fill(BROKEN, {NEED = broken}))
  elseif #rest == 0 then
    leave(job)
    call('HDEL', key_of(job.id), 'rw_needs')
    met(job)
  else
    set(job.id, 'rw_needs', table.concat(rest, ' '))
  end
end

-- rq's rule for a job of rq's: each that it depends on is finished, or failed and that is allowed, or not there any more.
local function is_released(job)
  for _, id in ipairs(call('SMEMBERS', P .. ':job::' .. job.id .. ':dependencies')) do
    local status = call('HGET', key_of(id), 'status')
    if status and status ~= 'finished' and not (status == 'failed' and job.allow_dependency_failures == '1') then return false end
  end
  return true
end

local function forget(job)
  local id = job.id
  catch_up()
  leave(job)
  if job.group_id then
    local group = P .. ':group:' .. job.group_id
    call('SREM', group, id)
    if call('EXISTS', group) == 0 then call('SREM', P .. ':groups', job.group_id) end
  end
  call('DEL', key_of(id), P .. ':results:' .. id, key_of(id) .. ':dependents', P .. ':job::' .. id .. ':dependencies',
    P .. ':rw:needed:' .. id, P .. ':executions:' .. id, log_of(id))
end

-- Goes on from everything that has ended in this step to those that need it, and from there on: along a list, because a
-- chain can be longer than a stack.
local function tell()
  while told < #ended do
    told = told + 1
    local on = ended[told]
    local waiting, seen = {}, {}
    local dependents, needed = key_of(on.id) .. ':dependents', P .. ':rw:needed:' .. on.id
    -- Most are needed by nobody.
    for _, set_of in ipairs(call('EXISTS', dependents, needed) > 0 and {dependents, needed} or {}) do
      for _, id in ipairs(call('SMEMBERS', set_of)) do
        local job = not seen[id] and look(id)
        seen[id] = true
        if job and job.status == 'deferred' then waiting[#waiting + 1] = job end
      end
    end
    if next(seen) then
      call('DEL', needed)
      table.sort(waiting, function(a, b)
        local x, y = tonumber(a.rw_seq or 0), tonumber(b.rw_seq or 0)
        if x == y then return a.id < b.id end
        return x < y
      end)
      for _, job in ipairs(waiting) do
        local member = true
        if is_ours(job) then
          local rest, broken = {}, nil
          for need, when in string.gmatch(job.rw_needs or '', '([%w_-]+)=(%d)') do
            if need ~= on.id then
              rest[#rest + 1] = need .. '=' .. when
            elseif not is_met(when, on.status) then
              broken = need
            end
          end
          weighed(job, rest, broken)
          member = false
        elseif is_released(job) then
          leave(job)
          met(job)
          member = false
        end
        if not member then call('SREM', dependents, job.id) end
      end
      if on.expires then call('EXPIRE', dependents, on.expires) end
    end
    if on.drops then
      on.drops.status = on.status
      forget(on.drops)
    end
  end
end

-- Those who wait for ends read them from here. One entry a step; its number is the mark.
local function list_ends()
  if #ended == 0 then return end
  local ids = {}
  for i, job in ipairs(ended) do ids[i] = job.id end
  call('XADD', P .. ':rw:ended', 'MAXLEN', '~', '10000', call('INCR', P .. ':rw:ends') .. '-1', 'ids', table.concat(ids, ' '))
  news.ended = true
end

-- The end of every step that changes something.
local function done(answer)
  list_ends()
  tell_news()
  return answer
end

-- One record of how an execution ended, where rq reads it. `fields` end with the value or the text.
local function record(job, exec, kind, ...)
  local results = P .. ':results:' .. job.id
  local add = {'XADD', results, 'MAXLEN', '~', '10', '*', 'type', kind, 'worker_name', job.worker_name or '',
    'execution_id', exec, 'execution_started_at', float(number(job.rw_started, now)), 'execution_ended_at', float(now), ...}
  local answer = redis.pcall(unpack(add))
  if type(answer) == 'table' and answer.err then
    -- What is no stream there is nobody's result, and may not keep the job from its end.
    if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
    call('DEL', results)
    call(unpack(add))
  end
end

-- Another try of a job of rq's, by its own rule: whether there was one left.
local function retried(job)
  local left = number(job.retries_left, 0)
  if left <= 0 then return false end
  local intervals = intervals_of(job.retry_intervals)
  local interval = intervals[math.max(#intervals - left, 0) + 1] or 0
  if interval == 0 then
    to_queue(job, job.enqueue_at_front_on_retry == '1', 'retries_left', left - 1)
  else
    set(job.id, 'status', 'scheduled', 'retries_left', left - 1)
    call('ZADD', registry('scheduled', job.origin), sec + interval, job.id)
  end
  return true
end
