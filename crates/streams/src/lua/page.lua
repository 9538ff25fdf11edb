#!lua flags=allow-oom
-- A page of a stream, as it stands at one moment.
-- KEYS[1] stream
-- ARGV[1] group, ARGV[2] where it begins, ARGV[3] how many entries at most
-- Returns the entries, and the ids among them that were delivered and that nobody holds
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local entries = redis.call('XRANGE', KEYS[1], ARGV[2], '+', 'COUNT', ARGV[3])
if #entries == 0 then return { entries, {} } end
local last_ms, last_seq = 0, 0
for _, about in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local fields = {}
  for i = 1, #about, 2 do fields[about[i]] = about[i + 1] end
  if fields['name'] == ARGV[1] then last_ms, last_seq = parts(fields['last-delivered-id']) end
end
local held, unheld = {}, {}
if last_ms > 0 then
  for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], entries[1][1], entries[#entries][1], 1000000)) do
    held[pending[1]] = true
  end
end
for _, entry in ipairs(entries) do
  local ms, seq = parts(entry[1])
  if (ms < last_ms or (ms == last_ms and seq <= last_seq)) and not held[entry[1]] then
    unheld[#unheld + 1] = entry[1]
  end
end
return { entries, unheld }
