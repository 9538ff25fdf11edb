#!lua flags=allow-oom
-- What others added to a feed that this fleet writes to as well. Its own entries are acknowledged here and never leave the
-- server. Where the group has acknowledged everything, the feed is trimmed to about its length.
-- KEYS[1] stream
-- ARGV[1] group, ARGV[2] consumer, ARGV[3] this fleet's id, ARGV[4] count, ARGV[5] length of the feed
-- Returns { how many entries were looked at, { id, fields }… }
local count = tonumber(ARGV[4])
local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', KEYS[1], '>')
local entries = answer and answer[1] and answer[1][2] or {}
local own, others = {}, {}
for _, entry in ipairs(entries) do
  local fields, mine = entry[2], false
  for i = 1, #fields, 2 do
    if fields[i] == 'fleet' and fields[i + 1] == ARGV[3] then mine = true end
  end
  if mine then own[#own + 1] = entry[1] else others[#others + 1] = entry end
end
if #own > 0 then redis.call('XACK', KEYS[1], ARGV[1], unpack(own)) end
if #entries < count and redis.call('XPENDING', KEYS[1], ARGV[1])[1] == 0 then
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[5])
end
return { #entries, others }
