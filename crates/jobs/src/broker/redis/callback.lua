-- Makes small jobs of Python's of what is owed to it.
--
-- ARGV: how many, and for each: what was owed, word by word; the id of its job, its queue, the number of fields and values of the
-- hash, and these. Returns: how many were made.
-- Before: nothing. After: each that was still owed is owed no more, and its job is at the front of its queue, where rq would be now.

local owing = {}
for i = 1, tonumber(arg()) do
  local one = {entry = arg(), id = arg(), origin = arg(), fields = {}}
  for n = 1, tonumber(arg()) do one.fields[n] = arg() end
  owing[i] = one
end
local made = 0
-- Backwards, so that they keep their order at the front.
for i = #owing, 1, -1 do
  local one = owing[i]
  if call('LREM', P .. ':rw:owed', 1, one.entry) == 1 then
    if one.id ~= '' then
      set(one.id, 'created_at', NOW, unpack(one.fields))
      to_queue(one, true)
      made = made + 1
    end
  end
end
return done({made})
