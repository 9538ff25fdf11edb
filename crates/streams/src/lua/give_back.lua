#!lua flags=allow-oom
-- Gives back entries that are still owned: claimable at once by anyone, and counted as delivered once, so that a
-- rolling restart makes no suspect of an innocent, yet the next delivery counts as a redelivery.
-- KEYS[1] stream
-- ARGV[1] group, ARGV[2] consumer, ARGV[3] idle ms to pretend, then for each entry: id, deliveries
-- Returns how many were given back
local given = 0
for i = 4, #ARGV, 2 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if #pending > 0 and pending[1][2] == ARGV[2] and pending[1][4] == tonumber(ARGV[i + 1]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], 'given-back', 0, ARGV[i], 'IDLE', ARGV[3], 'RETRYCOUNT', 1, 'JUSTID')
    given = given + 1
  end
end
return given
