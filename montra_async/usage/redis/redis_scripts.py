"""The Lua scripts of `RedisOutbox`. Redis runs each as one transaction.

The keys, which share one hash tag, so that they are on one node of a cluster:

    meta        hash: base_url; events (waiting and claimed), parked_events, size
    requests    stream: one field `b`, the request as a JSON array, see `redis_codec`
    sums        hash: three fields for each open sum. JSON of customer, meter and scale -> recorded_at, spaces, JSON of
                the key; `u` and the same -> the sum, which Redis adds up in exact integers of 64 bits (Lua's numbers
                are doubles); `n` and the same -> number of events
    due         sorted set: open sums by the time at which their window closes
    state       hash: id in the stream -> `attempts wire ambiguous events size owner`, once it was claimed. `wire` is
                the first time at which it may have been sent, or `-` without one, or `+` when it is to begin anew;
                `ambiguous` is 1 when it may have been sent before the last claim
    leases      sorted set: claimed requests by the time at which their claim expires; and a long member that is never
                due. With it Redis keeps the set as a list with an index, and adding one takes a fifth of the time
    delayed     sorted set: requests that are to be claimed again, by the time
    late        sorted set: recorded_at of what was not recorded about when it was added, so that the oldest is known
    parked      sorted set: ids that parked requests had in the stream, all with the score 0: sorted by themselves
    bodies      hash: id of a parked request -> the request; `<id>m` -> why it was parked
    exchanges   hash: owner -> number of its last exchange, and what it claimed
    writer:...  number of the last group of a writer, 0 before the first; with `!` when that group will never be added,
                `?!` when nobody knows whether it was. For an owner: number and result of its last call of drop_oldest
    stage:...   hash: number -> part of a group that is too large for one call

The pending entries of the stream's consumer group are the claimed requests. A delayed one is acknowledged, but stays in
the stream; `XCLAIM ... FORCE` makes it pending again. Claims are taken over by `leases` instead of XAUTOCLAIM, which
would have to walk through all pending entries, live claims included.
"""

from __future__ import annotations

import hashlib

KEYS = (
    *("meta", "requests", "sums", "due", "state", "leases"),
    *("delayed", "late", "parked", "bodies", "exchanges"),
)
"""The keys of every script, in this order."""

CLOSE_ABOVE = 4 * 10**18
"""A sum above this is sealed at once: Redis's integers end at 9.2e18."""


class Script:
    """A Lua script and its digest.

    Args:
        source: the text after the part that all scripts have in common.
    """

    def __init__(self, source: str) -> None:
        self.text: bytes = (_PRELUDE + source).encode()
        self.digest: str = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


_PRELUDE = """
local META, STREAM, SUMS, DUE, STATE, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local DELAYED, LATE, PARKED, BODIES, EXCHANGES = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local WRITER, STAGE = KEYS[12], KEYS[13]
local GROUP = 'senders'
local call, format = redis.call, string.format
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local base_url = call('HGET', META, 'base_url')
if base_url and base_url ~= ARGV[2] then return {'other', base_url} end

-- A command on the consumer group, which is created when somebody has deleted it.
local function grouped(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    if string.find(reply.err, 'NOGROUP', 1, true) then
      call('XGROUP', 'CREATE', STREAM, GROUP, '0', 'MKSTREAM')
    end
    return call(...)
  end
  return reply
end

-- Redis runs a script to its end when its first write needs no memory. So an outbox can be emptied when memory is full.
local function allow_full_memory() call('HDEL', STATE, '') end

local function count(field, number)
  if number ~= 0 then call('HINCRBY', META, field, format('%d', number)) end
end

-- Bytes that a request, and an open sum, take in about.
local function cost(blob) return #blob + 128 end
local function open_cost(sid) return 4 * #sid + 500 end

-- Number of events and recorded_at of a request; nil when it is none of ours.
local function facts(blob)
  if string.find(blob, '\\n', 1, true) then return nil end
  local events, recorded = string.match(string.sub(blob, -80), ',(%d+),([%d%.e+-]+)%]$')
  return tonumber(events), recorded
end

local function is_late(recorded) return math.abs(now - tonumber(recorded)) > 1 end

local function enqueue(blob, recorded)
  local id = call('XADD', STREAM, '*', 'b', blob)
  if is_late(recorded) then call('ZADD', LATE, recorded, id) end
  return id
end

-- The spaces make the value longer than 64 bytes, so that Redis keeps the hash as a table. It would search through up
-- to 128 short ones from the first on, which takes three times as long.
local function set_sum(sid, recorded, key)
  call('HSET', SUMS, sid, format('%-65s %s', recorded, key))
  if is_late(recorded) then call('ZADD', LATE, recorded, sid) end
end

-- recorded_at and key of an open sum; nil when there is none.
local function sum_of(sid)
  local text = call('HGET', SUMS, sid)
  if text then return string.match(text, '^(%S+) +(.*)$') end
end

-- Close a sum, and move it into the stream under the key that it has had since its first event.
local function seal(sid)
  local recorded, key = sum_of(sid)
  local units, events = call('HGET', SUMS, 'u' .. sid), call('HGET', SUMS, 'n' .. sid)
  call('HDEL', SUMS, sid, 'u' .. sid, 'n' .. sid)
  call('ZREM', DUE, sid)
  call('ZREM', LATE, sid)
  local blob = format('[%s,%s,null,%s,%s,%s]', key, sid, units, events, recorded)
  count('size', cost(blob) - open_cost(sid))
  return enqueue(blob, recorded)
end

local function state(id)
  local text = call('HGET', STATE, id)
  if not text then return nil end
  local attempts, wire, ambiguous, events, size, owner = string.match(text, '^(%d+) (%S+) (%d) (%d+) (%d+) (%S+)$')
  return {attempts = tonumber(attempts), wire = wire, ambiguous = ambiguous, events = tonumber(events),
          size = tonumber(size), owner = owner}
end

local function set_state(id, st)
  call('HSET', STATE, id, format('%d %s %s %d %d %s', st.attempts, st.wire, st.ambiguous, st.events, st.size, st.owner))
end

-- Delete requests from everything.
local function forget(ids)
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    call('XACK', STREAM, GROUP, unpack(ids, first, last))
    call('XDEL', STREAM, unpack(ids, first, last))
    call('HDEL', STATE, unpack(ids, first, last))
    call('ZREM', LEASES, unpack(ids, first, last))
    call('ZREM', DELAYED, unpack(ids, first, last))
    call('ZREM', LATE, unpack(ids, first, last))
  end
end

-- End a claim. `sent`: whether the service may have counted it in this attempt.
local function unclaim(id, st, due, sent)
  if not sent and st.ambiguous == '0' then st.wire = '-' end
  st.owner = '-'
  set_state(id, st)
  call('ZREM', LEASES, id)
  call('ZADD', DELAYED, format('%.6f', due), id)
  call('XACK', STREAM, GROUP, id)
end
"""

OPEN = Script("""
local me, longest_idle = ARGV[3], tonumber(ARGV[4])
if not base_url then call('HSET', META, 'base_url', ARGV[2]) end
grouped('XPENDING', STREAM, GROUP)
for _, consumer in ipairs(call('XINFO', 'CONSUMERS', STREAM, GROUP)) do
  local facts_of = {}
  for i = 1, #consumer, 2 do facts_of[consumer[i]] = consumer[i + 1] end
  if facts_of.name ~= me and facts_of.idle > longest_idle then
    call('XGROUP', 'DELCONSUMER', STREAM, GROUP, facts_of.name)
    call('HDEL', EXCHANGES, facts_of.name)
  end
end
return {'ok'}
""")
"""Args: own owner name; milliseconds after which a silent consumer is deleted."""

STAGE = Script("""
if ARGV[3] == '1' then call('DEL', STAGE) end
call('HSET', STAGE, 's' .. ARGV[3], ARGV[5], 'e' .. ARGV[3], ARGV[6])
call('EXPIRE', STAGE, ARGV[4])
return {'ok'}
""")
"""Keep a part of a large group. Args: number of the part; seconds to keep it; sums and single events as in `APPEND`."""

APPEND = Script(f"""
local number, ttl, window = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local max_events, max_size, events, size = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local parts = tonumber(ARGV[10])
local last = call('GET', WRITER)
if last then
  if string.sub(last, -1) == '!' then return {{'refused'}} end
  if tonumber(last) >= number then return {{'ok'}} end
end
local stored = call('HMGET', META, 'events', 'parked_events', 'size')
local all_events, all_size = tonumber(stored[1] or 0) + tonumber(stored[2] or 0), tonumber(stored[3] or 0)
if all_events + events > max_events or all_size + size > max_size then
  call('DEL', STAGE)
  return {{'full', format('%d', all_events), format('%d', all_size)}}
end
if parts > 0 and call('HLEN', STAGE) ~= 2 * parts then return {{'incomplete'}} end
call('SET', WRITER, ARGV[3], 'EX', ttl)
if not base_url then call('HSET', META, 'base_url', ARGV[2]) end
local added_events, added_size = 0, 0

local function add_to_sum(sid, units, number_of_events, recorded, key)
  local since, first_key = sum_of(sid)
  if not since then
    set_sum(sid, recorded, key)
    call('ZADD', DUE, format('%.6f', now + window), sid)
    added_size = added_size + open_cost(sid)
  elseif tonumber(recorded) < tonumber(since) then
    set_sum(sid, recorded, first_key)
  end
  call('HINCRBY', SUMS, 'n' .. sid, number_of_events)
  added_events = added_events + tonumber(number_of_events)
  if call('HINCRBY', SUMS, 'u' .. sid, units) > {CLOSE_ABOVE} then seal(sid) end
end

-- A function that returns the lines of a text, one after the other. It is faster than a pattern.
local function lines(text)
  local find, sub, at = string.find, string.sub, 1
  return function()
    local stop = find(text, '\\n', at, true)
    if not stop then return nil end
    local line = sub(text, at, stop - 1)
    at = stop + 1
    return line
  end
end

local function add(sums, singles)
  local line = lines(sums)
  for sid in line do add_to_sum(sid, line(), line(), line(), line()) end
  line = lines(singles)
  for blob in line do
    enqueue(blob, line())
    added_events, added_size = added_events + 1, added_size + cost(blob)
  end
end

if parts == 0 then
  add(ARGV[11], ARGV[12])
else
  for part = 1, parts do add(call('HGET', STAGE, 's' .. part), call('HGET', STAGE, 'e' .. part)) end
  call('DEL', STAGE)
end
count('events', added_events)
count('size', added_size)
return {{'ok'}}
""")
"""Add a group of events, once. Args: its number; seconds to remember it; coalesce window; the bounds of events and
bytes; the events and bytes of the group; the number of staged parts, or 0; sums, each as the lines customer with meter
and scale, units, events, recorded_at, key; single events, each as the lines request, recorded_at."""

REGISTER = Script("""
call('SET', WRITER, '0', 'EX', ARGV[3], 'NX')
call('EXPIRE', WRITER, ARGV[3])
return {'ok'}
""")
"""Remember the number of a writer's last group, or that it has none yet. Args: seconds to remember it."""

RESOLVE = Script("""
local number, last = ARGV[3], call('GET', WRITER)
if last and string.sub(last, -1) ~= '!' and tonumber(last) >= tonumber(number) then return {'ok', 'added'} end
local forgotten = not last or last == '?!'
call('SET', WRITER, (forgotten and '?' or number) .. '!', 'EX', ARGV[4])
return {'ok', forgotten and 'forgotten' or 'never'}
""")
"""Whether a writer's last group was added, or that was forgotten; if it was not, it never will be. Args: its number;
seconds to remember that."""

APPEND_AMBIGUOUS = Script("""
local stored = call('HMGET', META, 'events', 'parked_events', 'size')
local all_events, all_size = tonumber(stored[1] or 0) + tonumber(stored[2] or 0), tonumber(stored[3] or 0)
if all_events >= tonumber(ARGV[3]) or all_size >= tonumber(ARGV[4]) then
  return {'full', format('%d', all_events), format('%d', all_size)}
end
if not base_url then call('HSET', META, 'base_url', ARGV[2]) end
local events, size = 0, 0
for i = 5, #ARGV, 3 do
  local blob, recorded = ARGV[i], ARGV[i + 1]
  local sent_at = format('%.6f', math.min(tonumber(ARGV[i + 2]), now))  -- the clock of its machine may be ahead
  local st = {attempts = 0, wire = sent_at, ambiguous = '1', events = 1, size = cost(blob), owner = '-'}
  set_state(enqueue(blob, recorded), st)
  events, size = events + 1, size + st.size
end
count('events', events)
count('size', size)
return {'ok'}
""")
"""Add events that may have been sent before. Args: the bounds of events and bytes; for each event request, recorded_at,
first time at which it may have been sent."""

COUNTS = Script("""
local stored = call('HMGET', META, 'events', 'size')
local oldest  -- as text, which is exact
local function consider(recorded)
  if recorded and (not oldest or tonumber(recorded) < tonumber(oldest)) then oldest = recorded end
end
local age = 0
local first = call('XRANGE', STREAM, '-', '+', 'COUNT', 1)[1]
if first then
  local _, recorded = facts(first[2][2])
  consider(recorded)
  if ARGV[1] == '' then age = math.max(0, now - tonumber(string.match(first[1], '^%d+')) / 1000) end
end
consider(call('ZRANGE', LATE, 0, 0, 'WITHSCORES')[2])
local sid = call('ZRANGE', DUE, 0, 0)[1]
if sid then consider((sum_of(sid))) end
if oldest then age = math.max(age, now - tonumber(oldest)) end
local claimed = call('ZCOUNT', LEASES, '-inf', '(+inf')
return {'ok', tonumber(stored[1] or 0), call('XLEN', STREAM) + call('ZCARD', DUE), claimed, call('ZCARD', PARKED),
        oldest or '', format('%.6f', age), tonumber(stored[2] or 0)}
""")

DROP_OLDEST = Script("""
allow_full_memory()
local wanted, from, number, dropped = tonumber(ARGV[3]), ARGV[4], ARGV[5], 0
-- The same call again: its answer was lost.
local last = call('GET', WRITER)
if last then
  local last_number, last_dropped, last_from, last_sums = string.match(last, '^(%d+) (%d+) (%S*) (%d+)$')
  if last_number == number then return {'ok', tonumber(last_dropped), last_from, tonumber(last_sums)} end
end
local ids, size = {}, 0
local entries = from == '' and {} or call('XRANGE', STREAM, from, '+', 'COUNT', 200)
local following = ''
for _, entry in ipairs(entries) do
  local id, blob = entry[1], entry[2][2]
  following = id
  if dropped >= wanted then break end
  local events = facts(blob)
  if events and not call('ZSCORE', LEASES, id) then
    ids[#ids + 1] = id
    dropped = dropped + events
    size = size + cost(blob)
  end
end
forget(ids)
if #entries < 200 and dropped < wanted then
  following = ''
  for _, sid in ipairs(call('ZRANGE', DUE, 0, 199)) do
    if dropped >= wanted then break end
    local id = seal(sid)
    local blob = call('XRANGE', STREAM, id, id)[1][2][2]
    forget({id})
    dropped = dropped + tonumber((facts(blob)))
    size = size + cost(blob)
  end
end
count('events', -dropped)
count('size', -size)
local sums = call('ZCARD', DUE)
call('SET', WRITER, format('%s %d %s %d', number, dropped, following, sums), 'EX', ARGV[6])
return {'ok', dropped, following, sums}
""")
"""Args: the number of events; the id to begin with; number of the call; seconds to remember it. Returns the number of
dropped events, the id to go on with, and the number of open sums that are left."""

LIST_PARKED = Script("""
local ids = call('ZRANGEBYLEX', PARKED, ARGV[3] == '' and '-' or '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4])
local found = {}
for _, id in ipairs(ids) do
  local body = call('HMGET', BODIES, id, id .. 'm')
  if body[1] and body[2] then
    found[#found + 1] = id
    found[#found + 1] = body[1]
    found[#found + 1] = body[2]
  end
end
return {'ok', found}
""")
"""Args: the id before the first, or nothing; the maximum number."""

UNPARK = Script("""
allow_full_memory()
local again, taken = ARGV[3] == 'retry', 0
for i = 4, #ARGV do
  local id = ARGV[i]
  local body = call('HMGET', BODIES, id, id .. 'm')
  if body[1] and body[2] then
    local blob, why = body[1], body[2]
    local events, recorded = facts(blob)
    call('HDEL', BODIES, id, id .. 'm')
    call('ZREM', PARKED, id)
    count('parked_events', -events)
    count('size', -(cost(blob) + #why + 128))
    if again then
      local attempts, ambiguous = string.match(why, '^(%d+),.*,(%d),[^,]*$')
      local wire = ambiguous == '1' and '+' or '-'
      set_state(enqueue(blob, recorded), {attempts = attempts, wire = wire, ambiguous = ambiguous, events = events,
                                          size = cost(blob), owner = '-'})
      count('events', events)
      count('size', cost(blob))
    end
    taken = taken + 1
  end
end
return {'ok', taken}
""")
"""Args: `retry` or `drop`; ids. An ambiguous request may be sent again for `expires_after` from its next
claim on."""

PARKED_IDS = Script("""
return {'ok', call('ZRANGE', PARKED, 0, -1)}
""")
