-- Gives ready jobs to a worker, with rq's books of an execution.
--
-- ARGV: worker, how many, lease (ms), the beginning of the ids of the executions (24 hexadecimal digits), the number of task
-- names and these (-1: every task), the number of verdicts and for each the id of a job of rq's and '1' if the worker knows its
-- function or '0', the number of queues and these.
-- Returns: {taken, undecided}. Taken, each: id, execution, queue, and the values of FIELDS below. Undecided, each: id and
-- data of a job of rq's whose function only its data tell: decode it, and ask again with the verdicts.
-- Before: nothing. After: each job that is returned has left its list and is leased.

local FIELDS = {'status', 'data', 'rw_task', 'rw_options', 'rw_failures', 'rw_crashes', 'timeout', 'rw_limit', 'rw_at_once',
  'rw_progress', 'rw_priority', 'rw_seq', 'meta'}
-- How many jobs of others a worker looks past; behind them it waits until they are gone.
local LOOK_MAX = 1000
local CHUNK = 64

local worker, max, lease, prefix = arg(), tonumber(arg()), tonumber(arg()), arg()
local names = tonumber(arg())
local every, knows = names < 0, {}
for i = 1, names do knows[arg()] = true end
local verdicts = {}
for i = 1, tonumber(arg()) do
  local id = arg()
  verdicts[id] = arg()
end

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
  call('EXPIRE', execution, seconds)
  call('ZADD', executions, sec + seconds + 60, exec)
  call('EXPIRE', executions, seconds + 60)
  call('ZADD', registry('wip', q), sec + seconds, member)
  call('ZADD', P .. ':rw:leases', steady + lease, member)
  call('SADD', P .. ':worker:' .. worker .. ':executions', member)
  set(id, 'status', 'started', 'started_at', NOW, 'last_heartbeat', NOW, 'worker_name', worker, 'rw_exec', exec,
    'rw_started', whole(now))
  if not values[12] then call('PERSIST', key_of(id)) end
  if values[8] then call('SADD', P .. ':rw:limit:' .. values[8], id) end
  if values[10] then call('HDEL', key_of(id), 'rw_progress') end
  if values[11] then call('ZREM', P .. ':rw:priority:' .. q, id) end
  taken[#taken + 1] = {id, exec, q, unpack(values, 1, #FIELDS)}
end

local function claim_from(q)
  local list = P .. ':queue:' .. q
  local from, looked = 0, 0
  while #taken < max and looked < LOOK_MAX do
    local ids = call('LRANGE', list, from, from + math.min(CHUNK, max - #taken + 8) - 1)
    if #ids == 0 then break end
    local gone, front = {}, 0
    for i, id in ipairs(ids) do
      if #taken >= max then break end
      looked = looked + 1
      local values = call('HMGET', key_of(id), unpack(FIELDS))
      -- Not there any more, cancelled, or in the list twice: rq skips those as well.
      local goes = not values[2] or values[1] ~= 'queued'
      if not goes then
        local known = every or (values[3] and knows[values[3]]) or verdicts[id] == '1'
        if not known and not values[3] and not verdicts[id] then
          undecided[#undecided + 1] = {id, values[2]}
          if #undecided >= max then looked = LOOK_MAX end
        end
        -- What comes after one that is undecided waits for the verdict, so that the order is kept.
        if known and #undecided == 0 and (not values[8] or is_within_limit(values[8], values[9])) then
          take(q, id, values)
          goes = true
        end
      end
      if goes then
        gone[#gone + 1] = id
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
  for i = 1, tonumber(arg()) do
    local q = arg()
    if #taken < max and #undecided == 0 and call('SISMEMBER', P .. ':rw:suspended', q) == 0 then claim_from(q) end
  end
end
if #taken > 0 then
  call('EXPIRE', P .. ':worker:' .. worker .. ':executions', seconds + 60)
  local me = P .. ':worker:' .. worker
  if call('EXISTS', me) == 1 then
    call('HSET', me, 'state', 'busy', 'last_heartbeat', NOW, 'current_job', taken[1][1], 'current_job_working_time', 0)
  end
end
return {taken, undecided}
