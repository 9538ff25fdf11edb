#!lua flags=allow-oom
-- Deletes a consumer that holds nothing. (Deleting one that holds entries would destroy them.)
-- KEYS[1] stream
-- ARGV[1] group, then consumers
-- Returns how many were deleted
local deleted = 0
for i = 2, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[i]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[i])
    deleted = deleted + 1
  end
end
return deleted
