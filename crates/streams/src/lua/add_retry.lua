#!lua flags=allow-oom
-- Puts a job into a retry set, unless it is there already.
-- KEYS[1] retry set
-- ARGV[1] delay in ms, ARGV[2] member
-- Returns 1 where it was added
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZADD', KEYS[1], 'NX', now + tonumber(ARGV[1]), ARGV[2])
