#!lua name=countersign_store_@VERSION@

-- The steps that must be atomic, and what expires in the step that writes it. A function that writes has one key.
--
-- A call that changes nothing writes all the same. What it answers may rest on a write of another call, which is not on any
-- disk yet; and a server that is asked on how many disks it is counts what was written on the asking connection only.

-- A log is a hash: the field of a sequence, in decimal, holds its entry, which begins with 16 random bytes of the call that
-- wrote it. The field c is the last sequence that is known to be on disk, t is the touch.
-- sequence, entry. Returns 1: it stands there; 0: another one does.
local function append(keys, args)
  local log, sequence, entry = keys[1], args[1], args[2]
  local held = redis.call('HGET', log, sequence)
  if not held then
    redis.call('HSET', log, sequence, entry)
    return 1
  end
  redis.call('HSET', log, 't', '')
  return string.sub(held, 1, 16) == string.sub(entry, 1, 16) and 1 or 0
end

-- sequence. Returns the call that wrote its entry, or ''.
local function touch(keys, args)
  redis.call('HSET', keys[1], 't', '')
  return string.sub(redis.call('HGET', keys[1], args[1]) or '', 1, 16)
end

-- sequence: all up to it is on disk.
local function confirm(keys, args)
  local held = redis.call('HGET', keys[1], 'c')
  if not held or tonumber(held) < tonumber(args[1]) then
    redis.call('HSET', keys[1], 'c', args[1])
  end
  return 1
end

-- first sequence, most entries. Returns the last sequence that is known to be on disk ('' if none is), then the entries.
local function log(keys, args)
  local first, most = tonumber(args[1]), tonumber(args[2])
  local answer = {redis.call('HGET', keys[1], 'c') or ''}
  for sequence = first, first + most - 1 do
    local entry = redis.call('HGET', keys[1], string.format('%.0f', sequence))
    if not entry then
      break
    end
    answer[#answer + 1] = entry
  end
  return answer
end

-- Records are members of equal score, so they are ordered by their bytes: user 16, changed 8, the rest.
-- record. Returns 1: it stands there, or one that was changed later.
local function put_user(keys, args)
  local users, record = keys[1], args[1]
  local user = string.sub(record, 1, 16)
  local held = redis.call('ZRANGE', users, '[' .. user, '(' .. user .. '\255', 'BYLEX', 'LIMIT', 0, 1)[1]
  if held and struct.unpack('>I8', held, 17) >= struct.unpack('>I8', record, 17) then
    redis.call('ZADD', users, 0, '\255touch')
    redis.call('ZREM', users, '\255touch')
    return 1
  end
  if held then
    redis.call('ZREM', users, held)
  end
  redis.call('ZADD', users, 0, record)
  return 1
end

-- Places are a hash: the 16 bytes of a client hold place 4, since 8, and 16 random bytes of the call that claimed it.
-- client, limit, since, call. Returns 1: claimed by this call; 2: had one already; 0: there is none left.
local function claim(keys, args)
  local places, client, limit, call = keys[1], args[1], tonumber(args[2]), args[4]
  local held = redis.call('HGET', places, client)
  if held then
    redis.call('HSET', places, client, held)
    return string.sub(held, 13) == call and 1 or 2
  end
  local all, taken = redis.call('HVALS', places), {}
  if #all >= limit then
    return 0
  end
  for _, value in ipairs(all) do
    taken[struct.unpack('>I4', value)] = true
  end
  local place = 0
  while taken[place] do
    place = place + 1
  end
  redis.call('HSET', places, client, struct.pack('>I4', place) .. args[3] .. call)
  return 1
end

-- client. Returns 1: it had a place; 0: it had none.
local function free(keys, args)
  if redis.call('HDEL', keys[1], args[1]) == 1 then
    return 1
  end
  redis.call('HSET', keys[1], 't', '')
  redis.call('HDEL', keys[1], 't')
  return 0
end

-- expiry in milliseconds since 1970, members. To set the expiry is the touch.
local function add(keys, args)
  local bucket, members = keys[1], {}
  for index = 2, #args do
    members[#members + 1] = 0
    members[#members + 1] = args[index]
    -- A call has a bounded number of arguments.
    if #members == 2000 or index == #args then
      redis.call('ZADD', bucket, unpack(members))
      members = {}
    end
  end
  redis.call('PEXPIREAT', bucket, args[1])
  return 1
end

-- The members of several days, in order. first 16 bytes, last 16 bytes, most members.
local function page(keys, args)
  local from, to, left, answer = '[' .. args[1], '[' .. args[2] .. '\255', tonumber(args[3]), {}
  for _, bucket in ipairs(keys) do
    local members = redis.call('ZRANGE', bucket, from, to, 'BYLEX', 'LIMIT', 0, string.format('%.0f', left))
    for _, member in ipairs(members) do
      answer[#answer + 1] = member
    end
    left = left - #members
    if left <= 0 then
      break
    end
  end
  return answer
end

redis.register_function('countersign_store_@VERSION@_append', append)
redis.register_function('countersign_store_@VERSION@_touch', touch)
redis.register_function('countersign_store_@VERSION@_confirm', confirm)
redis.register_function{function_name = 'countersign_store_@VERSION@_log', callback = log, flags = {'no-writes'}}
redis.register_function('countersign_store_@VERSION@_put_user', put_user)
redis.register_function('countersign_store_@VERSION@_claim', claim)
-- To free a place makes room, so it is done where memory is full.
redis.register_function{function_name = 'countersign_store_@VERSION@_free', callback = free, flags = {'allow-oom'}}
redis.register_function('countersign_store_@VERSION@_add', add)
redis.register_function{function_name = 'countersign_store_@VERSION@_page', callback = page, flags = {'no-writes'}}
