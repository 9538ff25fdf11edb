#!lua flags=allow-oom
-- Moves retries that are due back into their stream.
-- KEYS[1] retry set, KEYS[2] stream, KEYS[3] dead-letter stream for members that are no job
-- ARGV[1] count
-- Returns how many were moved
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local moved = 0
for _, member in ipairs(due) do
  local read, fields = pcall(cjson.decode, member)
  local command = { 'XADD', KEYS[2], '*' }
  if read and type(fields) == 'table' and #fields > 0 and #fields % 2 == 0 then
    for _, field in ipairs(fields) do command[#command + 1] = tostring(field) end
  else
    command = { 'XADD', KEYS[3], '*', 'member', member, 'dead_stream', KEYS[1], 'dead_reason', 'no job in the retry set' }
  end
  local added = redis.pcall(unpack(command))
  if type(added) == 'table' and added.err then return redis.error_reply(added.err) end
  redis.call('ZREM', KEYS[1], member)
  moved = moved + 1
end
return moved
