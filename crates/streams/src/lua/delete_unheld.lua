#!lua flags=allow-oom
-- Deletes entries that were delivered once and that nobody holds any more.
-- KEYS[1] stream
-- ARGV[1] group, then ids
-- Returns how many were deleted
local deleted = 0
for i = 2, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1) == 0 then
    deleted = deleted + redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
return deleted
