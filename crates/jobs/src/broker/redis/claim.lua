-- Gives ready jobs to a worker, with rq's books of an execution.
--
-- ARGV: worker, how many, lease (ms), the beginning of the ids of the executions (24 hexadecimal digits), the number of task
-- names and these (-1: every task), the number of functions that were read and for each the id of a job of rq's, what was said
-- of it, and its function, the number of queues and these.
-- Returns: {taken, undecided}. Taken, each: id, execution, queue, and the values of FIELDS below. Undecided, each: id, data and
-- the time at which it was made of a job of rq's whose function only its data tell: decode it, and ask again with the function.
-- Before: nothing. After: each job that is returned has left its list and is leased.
-- Functions that were read once are kept for all workers in `P:rw:functions`: id to time and function, so that others' jobs at
-- the front of a queue cost one question for all of them.

local FIELDS = {'status', 'data', 'rw_task', 'rw_options', 'rw_failures', 'rw_crashes', 'timeout', 'rw_limit', 'rw_at_once',
  'rw_progress', 'rw_priority', 'rw_seq', 'meta', 'rw_stop', 'created_at'}
-- How many jobs of others a worker looks past; behind them it waits until they are gone.
local LOOK_MAX = 1000
local CHUNK = 64
-- How many jobs of others are read in one round.
local READ_MAX = 64
-- How many functions are kept, and how long (s) after the last one was read.
local FUNCTIONS_MAX, FUNCTIONS_KEPT = 10000, 3600
-- The longest id of a job that we can name.
local ID_BYTES_MAX = 128

local worker, max, lease, prefix = arg(), tonumber(arg()), tonumber(arg()), arg()
local names = tonumber(arg())
local every, knows = names < 0, {}
for i = 1, names do knows[arg()] = true end
local functions = P .. ':rw:functions'
local read = tonumber(arg())
if read > 0 then
  if call('HLEN', functions) > FUNCTIONS_MAX then call('DEL', functions) end
  for i = 1, read do
    local id, made = arg(), arg()
    call('HSET', functions, id, made .. '|' .. arg())
  end
  call('EXPIRE', functions, FUNCTIONS_KEPT)
end
local are_read = not every and call('EXISTS', functions) == 1

local taken, undecided = {}, {}
local seconds = math.max(90, math.ceil(lease / 1000))

local function is_within_limit(key, at_once)
  local place = P .. ':rw:limit:' .. key
  if call('SCARD', place) < tonumber(at_once) then return true end
  -- Somebody who does not know the limit may have ended one of them.
  for _, id in ipairs(call('SMEMBERS', place)) do
    if call('HGET', key_of(id), 'status') ~= 'started' then call('SREM', place, id) end
  end
  return call('SCARD', place) < tonumber(at_once)
end

local function take(q, id, values)
  local exec = prefix .. string.format('%08x', #taken)
  local member = id .. ':' .. exec
  local execution, executions = P .. ':execution:' .. member, P .. ':executions:' .. id
  call('HSET', execution, 'id', exec, 'job_id', id, 'created_at', float(now), 'last_heartbeat', float(now), 'worker_name', worker)
  call('EXPIRE', execution, whole(seconds))
  call('ZADD', executions, whole(sec + seconds + 60), exec)
  call('EXPIRE', executions, whole(seconds + 60))
  index('ZADD', registry('wip', q), whole(sec + seconds), member)
  index('ZADD', P .. ':rw:leases', whole(steady + lease), member)
  index('SADD', P .. ':worker:' .. worker .. ':executions', member)
  set(id, 'status', 'started', 'started_at', NOW, 'last_heartbeat', NOW, 'worker_name', worker, 'rw_exec', exec,
    'rw_started', whole(now))
  -- Whoever put it back after an end may have left its time to live.
  call('PERSIST', key_of(id))
  if values[8] then call('SADD', P .. ':rw:limit:' .. values[8], id) end
  -- A stop was for the run before.
  if values[10] or values[14] then call('HDEL', key_of(id), 'rw_progress', 'rw_stop') end
  if are_read and not values[3] then call('HDEL', functions, id) end
  taken[#taken + 1] = {id, exec, q, unpack(values, 1, #FIELDS)}
end

local function is_name(id) return #id <= ID_BYTES_MAX and string.find(id, '^[%w_-]+$') ~= nil end

-- When a job was made, as it is kept with its function.
local function time_of(values) return (string.gsub(values[15] or '', '|', '')) end

local function claim_from(q)
  local list = P .. ':queue:' .. q
  local has_ranks = call('EXISTS', P .. ':rw:priority:' .. q) == 1
  -- Behind one that was taken there is often another. Of the others, no more is read than it takes to see that.
  local from, looked, likely = 0, 0, true
  while #taken < max and #undecided < READ_MAX and looked < LOOK_MAX do
    local ids = call('LRANGE', list, from, from + math.min(CHUNK, max - #taken + 8) - 1)
    if #ids == 0 then break end
    local gone, front = {}, 0
    local said = are_read and call('HMGET', functions, unpack(ids)) or {}
    for i, id in ipairs(ids) do
      if #taken >= max or #undecided >= READ_MAX then break end
      looked = looked + 1
      local made, of = string.match(said[i] or '', '^([^|]*)|(.*)$')
      local goes = false
      if is_name(id) and (not of or knows[of]) then
        local values, status, task = likely and call('HMGET', key_of(id), unpack(FIELDS)), nil, nil
        if values then
          status, task = values[1], values[3]
        else
          status, task = unpack(call('HMGET', key_of(id), 'status', 'rw_task'))
        end
        likely = false
        -- Not there any more, cancelled, or in the list twice: rq skips those as well.
        if status ~= 'queued' then
          goes = true
        elseif every or not task or knows[task] then
          values = values or call('HMGET', key_of(id), unpack(FIELDS))
          -- Another job may have the same id by now.
          local known = every or task or (of and made == time_of(values))
          if not values[2] then
            goes = true
          elseif not known then
            undecided[#undecided + 1] = {id, values[2], time_of(values)}
          -- What comes after one that is undecided waits for the verdict, so that the order is kept.
          elseif #undecided == 0 and (not values[8] or is_within_limit(values[8], values[9])) then
            take(q, id, values)
            goes, likely = true, true
          end
        end
      end
      if goes then
        gone[#gone + 1] = id
        if has_ranks then call('ZREM', P .. ':rw:priority:' .. q, id) end
        if #gone == i then front = i end
      end
    end
    if from > 0 then front = 0 end
    if front > 0 then call('LTRIM', list, front, -1) end
    for i = front + 1, #gone do call('LREM', list, 1, gone[i]) end
    from = from + #ids - #gone
    if #gone == 0 and #ids < CHUNK and #ids < max - #taken + 8 then break end
  end
end

if max > 0 and call('EXISTS', P .. ':suspended') == 0 then
  put_off(function()
    for i = 1, tonumber(arg()) do
      local q = arg()
      if #taken < max and #undecided == 0 and call('SISMEMBER', P .. ':rw:suspended', q) == 0 then claim_from(q) end
    end
  end)
end
if #taken > 0 then
  call('EXPIRE', P .. ':worker:' .. worker .. ':executions', seconds + 60)
  local me = P .. ':worker:' .. worker
  if call('EXISTS', me) == 1 then
    call('HSET', me, 'state', 'busy', 'last_heartbeat', NOW, 'current_job', taken[1][1], 'current_job_working_time', 0)
  end
end
return {taken, undecided}
