#!lua flags=allow-oom
-- Takes over entries that nobody renewed. Of suspects (delivered more often than ARGV[6]) only ARGV[5] are taken; the
-- others keep their delivery count and stay claimable, so that one crash counts against one suspect.
-- KEYS[1] stream
-- ARGV[1] group, ARGV[2] consumer, ARGV[3] idle ms, ARGV[4] cursor, ARGV[5] suspects, ARGV[6] shared deliveries,
-- ARGV[7] count
-- Returns { next cursor, { id, deliveries, fields }… }
local group, consumer, idle = ARGV[1], ARGV[2], tonumber(ARGV[3])
local suspects, shared, limit = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local start = ARGV[4]
if start ~= '0-0' then start = '(' .. start end
local pending = redis.call('XPENDING', KEYS[1], group, start, '+', math.max(limit * 4, 100))
local taken, last = {}, nil
for _, entry in ipairs(pending) do
  local id, waited, deliveries = entry[1], entry[3], entry[4]
  if #taken >= limit then break end
  last = id
  if waited >= idle then
    local suspect = deliveries >= shared
    if not suspect or suspects > 0 then
      local claimed = redis.call('XCLAIM', KEYS[1], group, consumer, idle, id)
      if #claimed > 0 and claimed[1] then
        taken[#taken + 1] = { id, deliveries + 1, claimed[1][2] }
        if suspect then suspects = suspects - 1 end
      end
    end
  end
end
local exhausted = #pending < math.max(limit * 4, 100) and (#pending == 0 or last == pending[#pending][1])
return { exhausted and '0-0' or last, taken }
