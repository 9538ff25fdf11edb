#!lua flags=allow-oom
-- Deletes entries that were delivered and that nobody holds any more.
-- KEYS[1] stream
-- ARGV[1] group, then ids
-- Returns how many were deleted
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return 0 end
local last_ms, last_seq
for _, about in ipairs(groups) do
  local fields = {}
  for i = 1, #about, 2 do fields[about[i]] = about[i + 1] end
  if fields['name'] == ARGV[1] then last_ms, last_seq = parts(fields['last-delivered-id']) end
end
if not last_ms then return 0 end

local deleted = 0
for i = 2, #ARGV do
  local ms, seq = parts(ARGV[i])
  local delivered = ms < last_ms or (ms == last_ms and seq <= last_seq)
  if delivered and #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1) == 0 then
    deleted = deleted + redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
return deleted
