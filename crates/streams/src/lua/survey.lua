#!lua flags=allow-oom
-- Counts what waits in a stream and its retry set.
-- KEYS[1] stream, KEYS[2] retry set, KEYS[3] dead-letter stream
-- Returns { stream length, retry set size, dead-letter stream length, age of the oldest entry in ms }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = 0
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if #first > 0 then oldest = math.max(0, now - tonumber(string.match(first[1][1], '^(%d+)'))) end
return { redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), redis.call('XLEN', KEYS[3]), oldest }
