"""The Lua scripts of `RedisHolds`. Each touches the keys of one customer and meter, which share a hash tag.

KEYS: the sums (a hash), the units of each hold (a hash), the end of each hold (a sorted set). Time is that of Redis.
Arguments are words of one string, and so are replies: that takes half the time. Numbers are doubles in Lua, so a script
refuses units beyond 2^53.

Fields of the sums: `scale`, all numbers are units of 10^-scale; `allowed`, `limit` (empty: none), `server`, `asked`:
the service's answer; `R`: units recorded; `A`: of them acknowledged; `B`: of them included in the answer; `held`;
`mark`, `marked`: R at some time, for usage that nobody acknowledges.
"""

from __future__ import annotations

_ARGS = """
local ARGS = {}
for word in string.gmatch(ARGV[1], '%S+') do ARGS[#ARGS + 1] = word end
"""

TOO_LARGE = "units beyond 2^53"
"""The error of a script when a number would be too large."""

_BEGIN = (
    _ARGS
    + f"local too_large = '{TOO_LARGE}'"
    + """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local sums, units, ends = KEYS[1], KEYS[2], KEYS[3]
local names = {'scale', 'server', 'asked', 'R', 'A', 'B', 'held', 'mark', 'marked', 'allowed', 'limit'}
local found = redis.call('HMGET', sums, unpack(names))
local s = {}
for i = 1, 10 do s[names[i]] = tonumber(found[i]) or 0 end
local answered = found[10]
if found[11] and found[11] ~= '' then s.limit = tonumber(found[11]) end
local function text(number) return string.format('%.0f', number) end
local function check(number)
  if number > 9007199254740992 then error(too_large) end
  return number
end
local function save(...)
  local given = {}
  for _, name in ipairs({...}) do
    given[#given + 1] = name
    given[#given + 1] = s[name] and text(s[name]) or ''
  end
  redis.call('HSET', sums, unpack(given))
end
local rescaled = {'server', 'R', 'A', 'B', 'held', 'mark', 'limit'}
local function fits(factor)
  for _, name in ipairs(rescaled) do
    if s[name] and s[name] * factor > 2 ^ 50 then return false end
  end
  return true
end
-- A finer amount changes the scale if all numbers remain exact, with room to grow.
-- Otherwise the amount is rounded up, or down.
local function scaled(number, scale, down)
  number = tonumber(number)
  scale = tonumber(scale)
  local finer = scale
  while finer > s.scale and not (fits(10 ^ (finer - s.scale)) and number / 10 ^ (scale - finer) < 2 ^ 50) do
    finer = finer - 1
  end
  if finer > s.scale then
    local factor = 10 ^ (finer - s.scale)
    for _, name in ipairs(rescaled) do
      if s[name] then s[name] = s[name] * factor end
    end
    local all = redis.call('HGETALL', units)
    for i = 1, #all, 2 do redis.call('HSET', units, all[i], text(tonumber(all[i + 1]) * factor)) end
    s.scale = finer
    save('scale', 'server', 'R', 'A', 'B', 'held', 'mark', 'limit')
  end
  if scale <= s.scale then return check(number * 10 ^ (s.scale - scale)) end
  number = number / 10 ^ (scale - s.scale)
  return check(down and math.floor(number) or math.ceil(number))
end
local function drop(id)
  local size = redis.call('HGET', units, id)
  if not size then return nil end
  redis.call('HDEL', units, id)
  redis.call('ZREM', ends, id)
  s.held = s.held - tonumber(size)
  return true
end
"""
)

RESERVE = (
    _BEGIN
    + """
-- ARGS: id, units that it has afterwards, scale, life in ms, maximum age of the answer in ms, life of the keys in ms
local wanted = scaled(ARGS[2], ARGS[3])
local expired = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1000)
for _, id in ipairs(expired) do drop(id) end
if #expired > 0 then save('held') end
local used = s.server + math.max(0, s.R - s.B)
local age = now - s.asked
local status = 'held'
if not answered or age > tonumber(ARGS[5]) then status = 'unknown'
elseif s.allowed == 0 then status = 'denied'
else
  local more = wanted - (tonumber(redis.call('HGET', units, ARGS[1])) or 0)
  if s.limit and used + s.held + more > s.limit then status = 'exceeded'
  else
    s.held = check(s.held + more)
    redis.call('HSET', units, ARGS[1], text(wanted))
    redis.call('ZADD', ends, text(now + ARGS[4]), ARGS[1])
    save('held', 'scale')
    redis.call('PEXPIRE', sums, ARGS[6])
    redis.call('PEXPIRE', units, ARGS[6])
    redis.call('PEXPIRE', ends, ARGS[6])
  end
end
local limit = s.limit and text(s.limit) or '-'
return table.concat({status, s.scale, text(used), limit, text(s.held), text(age), s.A > s.B and 1 or 0}, ' ')
"""
)
"""Gives a hold units, or says why not. The same call again changes nothing."""

SETTLE = (
    _BEGIN
    + """
-- ARGS: id, units used, scale
local used = scaled(ARGS[2], ARGS[3])
if not drop(ARGS[1]) then return 0 end
s.R = check(s.R + used)
save('held', 'R')
return 1
"""
)
"""Ends a hold, and counts what it used. The same call again changes nothing."""

RENEW = (
    _ARGS
    + """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last = redis.call('ZSCORE', KEYS[3], ARGS[1])
if not last or tonumber(last) <= now then return 0 end
redis.call('ZADD', KEYS[3], 'XX', string.format('%.0f', now + ARGS[2]), ARGS[1])
return 1
"""
)
"""Extends a hold's life. Returns 0 when it has expired."""

COUNT = (
    _BEGIN
    + """
-- ARGS: units recorded (may be below 0), units acknowledged, scale, life of the keys in ms
s.R = check(math.max(0, s.R + scaled(ARGS[1], ARGS[3])))
s.A = check(s.A + scaled(ARGS[2], ARGS[3], true))
save('R', 'A', 'scale')
redis.call('PEXPIRE', sums, ARGS[4])
return 1
"""
)
"""Counts usage that was recorded without a hold, and usage that was delivered."""

ASK = (
    _BEGIN
    + """
return table.concat({text(s.A), s.scale, text(now)}, ' ')
"""
)
"""Before the service is asked: what was acknowledged until now."""

ANSWER = (
    _BEGIN
    + """
-- ARGS: acknowledged and scale and time before, allowed, limit or -, usage, their scale, local_usage_ttl in ms, life
if tonumber(ARGS[3]) < s.asked then return 0 end
local base = scaled(ARGS[1], ARGS[2], true)
local usage = scaled(ARGS[6], ARGS[7])
s.limit = nil
if ARGS[5] ~= '-' then s.limit = scaled(ARGS[5], ARGS[7], true) end
if s.A > s.R then s.A = s.R end
s.B = math.max(s.B, math.min(base, s.R))
if s.marked == 0 then s.marked = now end
if now - s.marked >= tonumber(ARGS[8]) then
  s.B = math.max(s.B, s.mark)
  s.mark, s.marked = s.R, now
end
s.server, s.asked, s.allowed = usage, tonumber(ARGS[3]), tonumber(ARGS[4])
save('server', 'asked', 'allowed', 'limit', 'A', 'B', 'mark', 'marked', 'scale')
redis.call('PEXPIRE', sums, ARGS[9])
return 1
"""
)
"""Keeps the service's answer, unless a newer one is known."""

FORGET = """
redis.call('HDEL', KEYS[1], 'allowed')
return 1
"""
"""Has the service asked again."""
