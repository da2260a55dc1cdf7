-- Adds to what executions say of themselves.
--
-- ARGV: how many bytes are kept of each job, how many texts, and for each: job, execution, text.
-- Returns: nothing. After: each text whose execution holds its lease is at the end of the log of its job; the others are dropped.

-- How long (s) a log is kept after its last line, if nobody ends its job: Python may delete one without a word.
local UNENDED_KEPT = 7 * 24 * 3600

local max = tonumber(arg())
for i = 1, tonumber(arg()) do
  local id, exec, text = arg(), arg(), arg()
  local status, origin = unpack(call('HMGET', key_of(id), 'status', 'origin'))
  if status == 'started' and call('ZSCORE', registry('wip', origin or 'default'), id .. ':' .. exec) then
    local log = (call('GET', log_of(id)) or '') .. text
    if #log > max then
      -- From the next line on; in one long line, from the next character on.
      local from = #log - max + 1
      while string.find(log, '^[\128-\191]', from) do from = from + 1 end
      log = string.sub(log, (string.find(log, '\n', from, true) or from - 1) + 1)
    end
    if real then call('SET', log_of(id), log, 'EX', UNENDED_KEPT) else call('SET', log_of(id), log) end
    set(id, 'rw_log', '1')
  end
end
return {}
