#!lua flags=allow-oom
-- Renews entries that are still owned, by the same delivery; steals nothing back and changes no count.
-- KEYS[1] stream
-- ARGV[1] group, ARGV[2] consumer, then for each entry: id, deliveries
-- Returns the ids that are no longer owned
local lost = {}
for i = 3, #ARGV, 2 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if #pending == 0 or pending[1][2] ~= ARGV[2] or pending[1][4] ~= tonumber(ARGV[i + 1]) then
    lost[#lost + 1] = ARGV[i]
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', 0, 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
  end
end
return lost
