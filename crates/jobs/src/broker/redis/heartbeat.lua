-- A sign of life of a worker and of its executions.
--
-- ARGV: worker, lease (ms), '1' if it leaves, queues (with commas), process id, host name, version, the worker as
-- JSON, the number of executions and for each its job, itself, and its progress (JSON or '').
-- Returns: for each execution 'held', 'stop' or 'lost'; then the time of day (ms).

local worker, lease, leaving, served = arg(), tonumber(arg()), arg() == '1', arg()
local pid, host, version, info = arg(), arg(), arg(), arg()
local me, executions = P .. ':worker:' .. worker, P .. ':worker:' .. worker .. ':executions'
local seconds = math.max(90, math.ceil(lease / 1000))
local running = tonumber(arg())

local answers, first = {}, ''
for i = 1, running do
  local id, exec, progress = arg(), arg(), arg()
  local member = id .. ':' .. exec
  local values = call('HMGET', key_of(id), 'status', 'origin', 'rw_stop', 'rw_started')
  local wip = registry('wip', values[2] or 'default')
  if values[1] ~= 'started' or not call('ZSCORE', wip, member) then
    answers[i] = 'lost'
  else
    call('ZADD', wip, sec + seconds, member)
    call('ZADD', P .. ':rw:leases', steady + lease, member)
    -- All of it: after a long silence Redis has forgotten it.
    call('HSET', P .. ':execution:' .. member, 'id', exec, 'job_id', id, 'created_at', float(number(values[4], now)),
      'last_heartbeat', float(now), 'worker_name', worker)
    call('EXPIRE', P .. ':execution:' .. member, seconds)
    call('ZADD', P .. ':executions:' .. id, sec + seconds + 60, exec)
    call('EXPIRE', P .. ':executions:' .. id, seconds + 60)
    set(id, 'last_heartbeat', NOW)
    if progress ~= '' then set(id, 'rw_progress', progress) end
    if first == '' then first = id end
    answers[i] = values[3] == '1' and 'stop' or 'held'
  end
end

local keys = {P .. ':workers'}
for q in string.gmatch(served, '[^,]+') do keys[#keys + 1] = P .. ':workers:' .. q end
if leaving then
  for _, key in ipairs(keys) do call('SREM', key, me) end
  call('ZREM', P .. ':rw:workers', worker)
  if call('EXISTS', me) == 1 then
    call('HSET', me, 'death', NOW)
    call('EXPIRE', me, 60)
  end
  call('DEL', executions)
else
  if call('HEXISTS', me, 'birth') == 0 then
    call('HSET', me, 'birth', NOW, 'pid', pid, 'hostname', host, 'ip_address', '', 'version', version,
      'python_version', 'ropewalk', 'queues', served)
    for _, key in ipairs(keys) do call('SADD', key, me) end
  end
  call('HSET', me, 'last_heartbeat', NOW, 'state', running > 0 and 'busy' or 'idle', 'rw_info', info)
  if first == '' then call('HDEL', me, 'current_job') else call('HSET', me, 'current_job', first) end
  call('EXPIRE', me, seconds)
  call('EXPIRE', executions, seconds + 60)
  call('ZADD', P .. ':rw:workers', steady + lease, worker)
end
answers[#answers + 1] = whole(now)
return answers
