#!lua name=countersign_@VERSION@

-- The steps that must be atomic. Every function touches the keys of one user, which share a slot:
--   KEYS[1]  the user's clients, a hash
--   KEYS[2]  the user's arrivals, a stream; only where said
--
-- Fields of the hash, where <client> are the 16 bytes of the client's id:
--   s<client>  session: id 16, key 32, expires 8 (Unix microseconds), since 8
--   c<client>  state: nonce 8, attempt 8, last known good 8, reconciled 8, merged 8 (Unix milliseconds), mark 24
--   p<client>  password requests: nonce 8, attempt 8
--   a          sequence of arrivals: end 24, and 16 for the place up to which arrivals were dropped
-- A mark or end is epoch 8, and a place of 16: milliseconds 8, count 8, as in the ids of the stream. Numbers are
-- big-endian; 0 is none. Values have at most 64 bytes, so that the server keeps small hashes compact.
--
-- An attempt tells repeats of one call from calls that use a nonce again: the client library repeats a call whose
-- answer was lost, and an honest client must not be refused for that.

local STATE = '>I8c8I8I8I8c24'
local SEQUENCE = '>c8I8I8I8I8'
local PLACE = '>I8I8'
local ZERO = '\0\0\0\0\0\0\0\0'
local NO_MARK = ZERO .. ZERO .. ZERO
local NO_STATE = NO_MARK .. NO_MARK .. ZERO .. ZERO

local function now_in_milliseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function id_of(milliseconds, count)
  return string.format('%.0f-%.0f', milliseconds, count)
end

local function place_of(id)
  local milliseconds, count = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(milliseconds), tonumber(count)
end

-- Every key expires. No call makes one live shorter.
local function keep_for(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
  end
end

local function is_reused(held, nonce, attempt)
  local last, held_attempt = struct.unpack('>I8c8', held)
  return nonce < last or (nonce == last and attempt ~= held_attempt)
end

-- Tells whether all that arrived after a mark is still there.
local function is_reliable(mark, sequence)
  if not sequence or string.sub(mark, 1, 8) ~= string.sub(sequence, 1, 8) then
    return false
  end
  local milliseconds, count = struct.unpack(PLACE, mark, 9)
  local dropped_milliseconds, dropped_count = struct.unpack(PLACE, sequence, 25)
  return milliseconds > dropped_milliseconds
    or (milliseconds == dropped_milliseconds and count >= dropped_count)
end

-- What a listing begins with: state, end of the arrivals ('' if they are unknown), whether the mark is reliable, and
-- the arrivals after it, or all without a reliable mark, as ids and rows in turn.
local function listing(keys, state, sequence, memory, most, new_epoch)
  local clients, arrivals = keys[1], keys[2]
  if not sequence then
    sequence = struct.pack(SEQUENCE, new_epoch, 0, 0, 0, 0)
    redis.call('HSET', clients, 'a', sequence)
  end
  local last = string.sub(sequence, 1, 24)
  local mark = string.sub(state, 41, 64)
  if mark == last then
    return {1, state, last, 1, {}}
  end
  local reliable = is_reliable(mark, sequence)
  local milliseconds, count = struct.unpack(PLACE, sequence, 9)
  if now_in_milliseconds() - milliseconds > memory then
    -- What arrived last is forgotten by now. A mark behind it has missed something.
    return {1, state, last, 0, {}}
  end
  if not arrivals then
    return {1, state, '', 0, {}}
  end
  local from = '-'
  if reliable then
    from = '(' .. id_of(struct.unpack(PLACE, mark, 9))
  end
  local entries = redis.call('XREVRANGE', arrivals, '+', from, 'COUNT', most)
  if not entries[1] or entries[1][1] ~= id_of(milliseconds, count) then
    -- The server has lost arrivals: a new epoch begins, and nobody's mark is good for it.
    redis.call('HSET', clients, 'a', struct.pack(SEQUENCE, new_epoch, 0, 0, 0, 0))
    return {1, state, '', 0, {}}
  end
  local after = {}
  for index = #entries, 1, -1 do
    after[#after + 1] = entries[index][1]
    after[#after + 1] = entries[index][2][2]
  end
  return {1, state, last, reliable and 1 or 0, after}
end

-- client, session id, nonce, attempt[, memory of arrivals, most arrivals, new epoch]. With KEYS[2], a listing.
-- Returns 0: no such session; -1: nonce reused; 1, or what a listing begins with: admitted.
local function admit(keys, args)
  local clients, client = keys[1], args[1]
  local held = redis.call('HMGET', clients, 's' .. client, 'c' .. client, 'a')
  if not held[1] or string.sub(held[1], 1, 16) ~= args[2] then
    return 0
  end
  local state, nonce = held[2] or NO_STATE, tonumber(args[3])
  if is_reused(state, nonce, args[4]) then
    return -1
  end
  state = struct.pack('>I8c8', nonce, args[4]) .. string.sub(state, 17)
  redis.call('HSET', clients, 'c' .. client, state)
  if not args[5] then
    return 1
  end
  return listing(keys, state, held[3], tonumber(args[5]), args[6], args[7])
end

-- client, session id, memory of arrivals, most arrivals, new epoch. What a listing begins with, or 0: no such session.
local function look(keys, args)
  local client = args[1]
  local held = redis.call('HMGET', keys[1], 's' .. client, 'c' .. client, 'a')
  if not held[1] or string.sub(held[1], 1, 16) ~= args[2] then
    return 0
  end
  return listing(keys, held[2] or NO_STATE, held[3], tonumber(args[3]), args[4], args[5])
end

-- client, nonce, attempt, memory of nonces. Returns 1 if admitted, or else 0.
local function password(keys, args)
  local clients, field, nonce = keys[1], 'p' .. args[1], tonumber(args[2])
  local held = redis.call('HMGET', clients, field)[1]
  if held and is_reused(held, nonce, args[3]) then
    return 0
  end
  redis.call('HSET', clients, field, struct.pack('>I8c8', nonce, args[3]))
  keep_for(clients, tonumber(args[4]))
  return 1
end

-- client, session, how long the key is kept, now and memory of nonces in microseconds.
local function begin(keys, args)
  local clients, now, memory = keys[1], tonumber(args[4]), tonumber(args[5])
  redis.call('HSET', clients, 's' .. args[1], args[2])
  keep_for(clients, tonumber(args[3]))
  -- What no client of the user needs any more goes, so that the hash has a bound.
  local fields, ended, in_session = redis.call('HGETALL', clients), {}, {}
  for index = 1, #fields, 2 do
    local kind, client = string.sub(fields[index], 1, 1), string.sub(fields[index], 2)
    if kind == 's' then
      if struct.unpack('>I8', fields[index + 1], 49) > now then
        in_session[client] = true
      else
        ended[#ended + 1] = fields[index]
      end
    end
  end
  for index = 1, #fields, 2 do
    local kind, client = string.sub(fields[index], 1, 1), string.sub(fields[index], 2)
    if (kind == 'c' or kind == 'p') and not in_session[client] then
      if struct.unpack('>I8', fields[index + 1]) + memory <= now then
        ended[#ended + 1] = fields[index]
      end
    end
  end
  for _, field in ipairs(ended) do
    redis.call('HDEL', clients, field)
  end
  return 1
end

-- Ends all sessions of the user.
local function end_all(keys)
  for _, field in ipairs(redis.call('HKEYS', keys[1])) do
    if string.sub(field, 1, 1) == 's' then
      redis.call('HDEL', keys[1], field)
    end
  end
  return 1
end

-- client, last known good, reconciled, merged[, mark that the listing began with or '', new mark or '']
local function remember(keys, args)
  local clients, field = keys[1], 'c' .. args[1]
  local held = redis.call('HMGET', clients, field, 'a', 's' .. args[1])
  if not held[1] and not held[3] then
    return 0
  end
  local nonce, attempt, good, reconciled, merged, mark = struct.unpack(STATE, held[1] or NO_STATE)
  if args[5] then
    local current = is_reliable(mark, held[2]) and mark or ''
    if args[6] == '' then
      mark = NO_MARK
    elseif args[5] == current then
      mark = args[6]
    end
  end
  redis.call('HSET', clients, field, struct.pack(STATE, nonce, attempt, math.max(good, tonumber(args[2])),
    math.max(reconciled, tonumber(args[3])), math.max(merged, tonumber(args[4])), mark))
  return 1
end

-- row, memory of arrivals, most arrivals, new epoch, channel. Needs KEYS[2].
local function arrive(keys, args)
  local clients, arrivals = keys[1], keys[2]
  local sequence = redis.call('HMGET', clients, 'a')[1]
  -- Only where somebody has listed since there was a session: everybody else begins with a full merge.
  if sequence then
    local memory, most = tonumber(args[2]), tonumber(args[3])
    local epoch, last_milliseconds, _, dropped_milliseconds, dropped_count = struct.unpack(SEQUENCE, sequence)
    local now = now_in_milliseconds()
    local milliseconds, count = place_of(redis.call('XADD', arrivals, '*', 'i', args[1]))
    local length = redis.call('XLEN', arrivals)
    if length == 1 and last_milliseconds > 0 and now - last_milliseconds < memory - 1000 then
      -- The one before should still be there: the server has lost arrivals.
      epoch, dropped_milliseconds, dropped_count = args[4], 0, 0
    end
    local forgotten = redis.call('XTRIM', arrivals, 'MINID', string.format('%.0f', now - memory))
    if forgotten > 0 then
      dropped_milliseconds, dropped_count = now - memory, 0
    end
    local over = length - forgotten - most
    if over > 0 then
      local oldest = redis.call('XRANGE', arrivals, '-', '+', 'COUNT', string.format('%.0f', over))
      dropped_milliseconds, dropped_count = place_of(oldest[#oldest][1])
      redis.call('XTRIM', arrivals, 'MAXLEN', args[3])
    end
    redis.call('PEXPIRE', arrivals, args[2])
    redis.call('HSET', clients, 'a', struct.pack(SEQUENCE, epoch, milliseconds, count,
      dropped_milliseconds, dropped_count))
  end
  redis.call('SPUBLISH', args[5], '')
  return 1
end

redis.register_function('countersign_@VERSION@_admit', admit)
redis.register_function('countersign_@VERSION@_look', look)
redis.register_function('countersign_@VERSION@_password', password)
redis.register_function('countersign_@VERSION@_begin', begin)
redis.register_function('countersign_@VERSION@_end_all', end_all)
redis.register_function('countersign_@VERSION@_remember', remember)
redis.register_function('countersign_@VERSION@_arrive', arrive)
