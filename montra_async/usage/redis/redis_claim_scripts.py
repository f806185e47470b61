"""The Lua scripts of `RedisOutbox` that claim requests and settle them. See `redis_scripts` for the keys."""

from __future__ import annotations

from .redis_scripts import Script

MAX_CLAIMS = 1000
"""Maximum number of requests that one script claims or settles: Redis does nothing else meanwhile."""

MAX_CLAIMED_BYTES = 4 * 1024 * 1024
"""A script that has claimed this many bytes claims no more."""

_PARK = """
local function park(id, blob, st, why)
  local events = facts(blob)
  local text = format('%d,%s,%s,%.6f', st.attempts, why, st.ambiguous, now)
  call('HSET', BODIES, id, blob, id .. 'm', text)
  call('ZADD', PARKED, 0, id)
  forget({id})
  count('events', -st.events)
  count('size', cost(blob) + #text + 128 - st.size)
  count('parked_events', events)
  return {id, blob, text}
end
"""

_SETTLE = """
local function body(id)
  local entry = call('XRANGE', STREAM, id, id)[1]
  return entry and entry[2][2]
end

local function settle(settlements)
  local delivered, seen, events, size = {}, {}, 0, 0
  local line = '([^\\n]*)\\n'
  for id, attempts, outcome, first, second in string.gmatch(settlements, line .. line .. line .. line .. line) do
    local st = state(id)
    local mine = st and st.owner == me and st.attempts == tonumber(attempts)
    if outcome == 'delivered' and not seen[id] then
      if not mine then
        -- The claim was lost, to another or because Redis lost its last writes: make sure that it is this request.
        local blob = body(id)
        mine = blob and string.sub(blob, 1, #first + 2) == '[' .. first .. ','
        st = st or (mine and {events = facts(blob), size = cost(blob)})
      end
      if mine then
        seen[id] = true
        delivered[#delivered + 1] = id
        events, size = events + st.events, size + st.size
      end
    elseif mine and outcome == 'retry' then
      unclaim(id, st, now + tonumber(second), first == '1')
    elseif mine and outcome == 'refused' then
      local blob = body(id)
      if blob then park(id, blob, st, '"refused",' .. first) end
    end
  end
  forget(delivered)
  count('events', -events)
  count('size', -size)
end
"""

_CLAIM = f"""
local reply, claimed, expired, bytes = {{}}, {{}}, {{}}, 0

local function room()
  if bytes >= {MAX_CLAIMED_BYTES} then return 0 end
  return math.min(50, limit - #claimed - #expired)
end

local function claim(id, blob, st)
  local events = facts(blob)
  if not events then return end  -- not one of ours
  st = st or {{attempts = 0, wire = '-', ambiguous = '0', events = events, size = cost(blob)}}
  st.ambiguous = st.wire == '-' and '0' or '1'
  local sent_at = tonumber(st.wire)
  if sent_at and now - sent_at > expires_after then
    expired[#expired + 1] = park(id, blob, st, '"ambiguous",null,"",""')
    return
  end
  if not sent_at then st.wire = format('%.6f', now) end
  st.attempts, st.owner = st.attempts + 1, me
  set_state(id, st)
  call('ZADD', LEASES, format('%.6f', now + claim_ttl), id)
  claimed[#claimed + 1] = id
  bytes = bytes + #blob
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = id, blob, format('%d', st.attempts), st.ambiguous
end

-- Claim again: what was delayed, or what its owner was silent about for too long.
local function claim_again(set)
  while room() > 0 do
    local ids = call('ZRANGEBYSCORE', set, '-inf', format('%.6f', now), 'LIMIT', 0, room())
    if #ids == 0 then return end
    call('ZREM', set, unpack(ids))
    local command = {{'XCLAIM', STREAM, GROUP, me, 0, unpack(ids)}}
    command[#command + 1] = 'FORCE'
    local found = {{}}
    for _, entry in ipairs(grouped(unpack(command))) do
      if entry then found[entry[1]] = entry[2][2] end
    end
    for _, id in ipairs(ids) do
      local st = state(id)
      if found[id] then
        claim(id, found[id], st)
      elseif st then  -- somebody has deleted it from the stream
        count('events', -st.events)
        count('size', -st.size)
        forget({{id}})
      end
    end
  end
end

-- Claim what was never claimed. Returns whether all of it was.
local function claim_new()
  while room() > 0 do
    local wanted = room()
    local streams = grouped('XREADGROUP', 'GROUP', GROUP, me, 'COUNT', wanted, 'STREAMS', STREAM, '>')
    if not streams then return true end
    local entries = streams[1][2]
    for _, entry in ipairs(entries) do
      local id = entry[1]
      local st = state(id)
      -- A group that was deleted and created again reads everything again.
      if not st or not (call('ZSCORE', LEASES, id) or call('ZSCORE', DELAYED, id)) then
        if entry[2] then claim(id, entry[2][2], st) end
      end
    end
    if #entries < wanted then return true end
  end
  return false
end

local function seal_until(time)
  for _, sid in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', time, 'LIMIT', 0, limit - #claimed - #expired)) do
    seal(sid)
  end
end

local function is_unread()
  local groups = grouped('XPENDING', STREAM, GROUP) and call('XINFO', 'GROUPS', STREAM)
  for _, group in ipairs(groups) do
    local facts_of = {{}}
    for i = 1, #group, 2 do facts_of[group[i]] = group[i + 1] end
    if facts_of.name == GROUP then
      return call('XREAD', 'COUNT', 1, 'STREAMS', STREAM, facts_of['last-delivered-id']) and true
    end
  end
end

-- Seconds until something waits to be claimed.
local function next_due(all_read)
  local at
  for _, set in ipairs({{DELAYED, DUE}}) do
    local score = tonumber(call('ZRANGE', set, 0, 0, 'WITHSCORES')[2])
    if score and (not at or score < at) then at = score end
  end
  if at and at <= now or #call('ZRANGEBYSCORE', LEASES, '-inf', format('%.6f', now), 'LIMIT', 0, 1) > 0 then
    return '0'
  end
  if flush and at and call('ZCARD', DUE) > 0 or not all_read and is_unread() then return '0' end
  return at and format('%.6f', at - now) or ''
end
"""

EXCHANGE = Script(
    """
allow_full_memory()
local me, number, limit, flush = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6] == '1'
local claim_ttl, expires_after, patience = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
"""
    + _PARK
    + _SETTLE
    + _CLAIM
    + """
-- The same exchange again: its answer was lost, so that nobody knows what it has claimed. None of it was sent.
local last = call('HGET', EXCHANGES, me)
if last and string.match(last, '^%S+') == number then
  for id in string.gmatch(last, ' (%S+)') do
    local st = state(id)
    if st and st.owner == me then
      st.attempts = st.attempts - 1
      unclaim(id, st, now, false)
    end
  end
end
settle(ARGV[10])
local all_read = false
if limit > 0 then
  call('ZADD', LEASES, '+inf', string.rep('-', 65))
  claim_again(LEASES)
  claim_again(DELAYED)
  -- Sums stay open behind a backlog, so that they become larger, but not for long.
  if room() > 0 then seal_until(format('%.6f', now - patience)) end
  claim_new()
  if room() > 0 then seal_until(flush and '+inf' or format('%.6f', now)) end
  all_read = claim_new()
end
if #claimed > 0 then
  call('HSET', EXCHANGES, me, number .. ' ' .. table.concat(claimed, ' '))
elseif last then
  call('HDEL', EXCHANGES, me)
end
return {'ok', next_due(all_read), table.concat(reply, '\\n'), expired}
"""
)
"""Args: owner; number of the exchange; limit; 1 to claim open sums; seconds of a claim; `expires_after`; seconds that a
sum stays open behind a backlog; settlements, each as the lines id, attempts, outcome, and two more. The requests are in
the reply as the lines id, request, attempts, ambiguous."""

RENEW = Script("""
allow_full_memory()
local me, claim_ttl, kept = ARGV[3], tonumber(ARGV[4]), {}
for i = 5, #ARGV, 2 do
  local id = ARGV[i]
  local st = state(id)
  if st and st.owner == me and st.attempts == tonumber(ARGV[i + 1]) then
    call('ZADD', LEASES, format('%.6f', now + claim_ttl), id)
    grouped('XCLAIM', STREAM, GROUP, me, 0, id, 'JUSTID')
    kept[#kept + 1] = id
  end
end
return {'ok', kept}
""")
"""Args: owner; seconds of a claim; for each request id and attempts."""

RELEASE = Script("""
allow_full_memory()
local me = ARGV[3]
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local st = state(id)
  if st and st.owner == me and st.attempts == tonumber(ARGV[i + 1]) then unclaim(id, st, now, true) end
end
grouped('XPENDING', STREAM, GROUP)
call('XGROUP', 'DELCONSUMER', STREAM, GROUP, me)
call('HDEL', EXCHANGES, me)
return {'ok'}
""")
"""Hand back claims, and delete the consumer. Args: owner; for each request id and attempts."""
