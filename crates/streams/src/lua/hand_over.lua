#!lua flags=allow-oom
-- Moves a group of entries: checked, added where they belong, acknowledged and deleted at the source, each in one step.
-- KEYS[1] source stream, KEYS[2] its retry set, KEYS[3] its dead-letter stream, KEYS[4…] downstream streams
-- ARGV[1] group, ARGV[2] consumer, ARGV[3] longest dead-letter stream, then for each entry:
--   id, deliveries, kind, then by kind:
--   'n' (next): index into KEYS, field count, fields…      'd' (dead letter): field count, fields…
--   'r' (retry): delay in ms, member                       'x' (nowhere): nothing
--   'h' (held): why it has nowhere to go
-- Returns, per entry: 'moved', 'not_owner', 'gone', or 'refused:' and why (the entry is held still)
local group, consumer, cap = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers, at = {}, 4

local function take(count)
  local taken = {}
  for i = 0, count - 1 do taken[i + 1] = ARGV[at + i] end
  at = at + count
  return taken
end

local function add(key, trim, fields)
  local command = { 'XADD', key }
  if trim then
    command[3], command[4], command[5] = 'MAXLEN', '~', cap
  end
  command[#command + 1] = '*'
  for i = 1, #fields do command[#command + 1] = fields[i] end
  return redis.pcall(unpack(command))
end

while at <= #ARGV do
  local id, deliveries, kind = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  at = at + 3
  local target, fields
  if kind == 'n' then
    target = KEYS[tonumber(ARGV[at])]
    at = at + 1
  elseif kind == 'd' then
    target = KEYS[3]
  end
  if target then
    local count = tonumber(ARGV[at])
    at = at + 1
    fields = take(count)
  elseif kind == 'r' then
    fields = take(2)
  elseif kind == 'h' then
    fields = take(1)
  end

  local pending = redis.pcall('XPENDING', KEYS[1], group, id, id, 1)
  local answer
  if pending.err or #pending == 0 then
    answer = 'gone'
  elseif pending[1][2] ~= consumer or pending[1][4] ~= deliveries then
    answer = 'not_owner'
  else
    local added
    if kind == 'h' then
      added = { err = fields[1] }
    elseif kind == 'r' then
      added = redis.pcall('ZADD', KEYS[2], now + tonumber(fields[1]), fields[2])
    elseif target then
      added = add(target, kind == 'd', fields)
    end
    if type(added) == 'table' and added.err then
      answer = 'refused:' .. added.err
    else
      redis.call('XACK', KEYS[1], group, id)
      redis.call('XDEL', KEYS[1], id)
      answer = 'moved'
    end
  end
  answers[#answers + 1] = answer
end
return answers
