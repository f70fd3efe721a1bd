"""What the server does for ``RedisStore``: two Lua scripts, calls and replies, and the one hash that an account is.

    q t     sequence number of the newest row and its tag
    b m u   the base (a history as bytes), the sequence number of the newest row in it, and that row's tag
    rN      row number N after its tag, for the rows that are newer than the base
    iID     an exchange id that is remembered
    oN f    the ids of the rows from number N on, as they went into the base; the first such N
    s       how the account stands

A tag is a hash of the row and of the tag before it, so that number and tag say which rows there are, in which order: a
server that lost rows and got others in their place is found out. One key an account: it expires, is evicted and moves
between servers as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fingerprint.contribution import Contributions
from fingerprint.history import pack_row, unpack_row

__all__ = ["DAMAGED", "GONE", "KNOWN", "STAND", "TAG_BYTES", "UPDATE", "Call", "Item", "Limits", "Reply"]

TAG_BYTES: Final = 16
KNOWN, GONE, DAMAGED = 1, 2, 3  # the first number of a reply; only with KNOWN anything was written

# Arguments: seconds to expiry, ids to remember, rows after which a new base is asked for; number and tag of what the
# client knows; "" or the number of the base that a base of what the client knows is to replace, that base; what to do
# with the account before ("restore": take the base if nothing is known of it; "reset": forget it if the tag is that of
# its newest row), ids of the rows in a base that is restored; rows.
# Reply: one of the numbers above; number and tag of the newest row; those of the row before the first one returned;
# number of the base, its bytes if it is time for a new one (else -1); standing; "1" or "0" for each row, new or not;
# the base if the client has to begin there; the rows that were there before and that the client does not know.
UPDATE = """
local key, expire, keep, limit = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local known, tag, replaced, base, first, ids = tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local ROWS = 10 -- the first of them in ARGV

local got = redis.pcall('HMGET', key, 'q', 't', 'm', 'u', 'f', 's')
local standing = not got.err and got[6] or ''

local function forget()
  redis.call('DEL', key)
  if standing ~= '' then
    redis.call('HSET', key, 's', standing)
    redis.call('EXPIRE', key, expire)
  end
  return {3}
end

local function each(start, last, visit) -- the fields of rows, some hundreds at a time
  for n = start, last, 500 do
    local fields = {}
    for i = n, math.min(n + 499, last) do fields[#fields + 1] = 'r' .. i end
    visit(fields)
  end
end

local function rows(after, last) -- nil where one is missing
  local out = {}
  each(after + 1, last, function(fields)
    for _, row in ipairs(redis.call('HMGET', key, unpack(fields))) do
      if row and out then out[#out + 1] = row else out = nil end
    end
  end)
  return out
end

if got.err then return forget() end
local q, t, m, u, f = tonumber(got[1]), got[2], tonumber(got[3]), got[4], tonumber(got[5])
local fresh = not (got[1] or t)
if first == 'reset' then
  if t == tag then
    forget()
    fresh = true
  end
  tag = ''
end
if fresh and first == 'restore' then
  q, t, m, u, f = known, tag, known, tag, known + 1 - #ids / 8
  redis.call('HSET', key, 'q', q, 't', t, 'b', base, 'm', m, 'u', u, 'f', f, 'o' .. f, ids)
  for i = 1, #ids, 8 do redis.call('HSET', key, 'i' .. ids:sub(i, i + 7), '') end
elseif fresh then
  if known > 0 then return {2} end
  q, t, m, u, f = 0, '', 0, '', 1
  if #ARGV < ROWS then return {1, 0, '', 0, '', 0, -1, standing, '', false, ''} end
  redis.call('HSET', key, 'm', 0, 'u', '', 'f', 1)
elseif not (q and t and m and u and f and m >= 0 and m <= q and f <= m + 1) then
  return forget()
end

local same = false
if known > 0 and known == q then
  same = tag == t
elseif known > 0 and known == m then
  same = tag == u
elseif known > m and known < q then
  local row = redis.call('HGET', key, 'r' .. known)
  same = row and row:sub(1, 16) == tag
end
local since, told = known, tag
if not same then since, told = m, u end
local others = rows(since, q)
if not others then return forget() end
for i, row in ipairs(others) do others[i] = row:sub(17) end

if same and replaced ~= '' and tonumber(replaced) == m and known > m then
  local folded = rows(m, known)
  if not folded then return forget() end
  for i, row in ipairs(folded) do folded[i] = row:sub(17, 24) end
  redis.call('HSET', key, 'b', base, 'o' .. (m + 1), table.concat(folded))
  each(m + 1, known, function(fields) redis.call('HDEL', key, unpack(fields)) end)
  m, u = known, tag
  while f <= m do
    local old = redis.call('HGET', key, 'o' .. f) or ''
    local after = #old < 8 and m + 1 or f + #old / 8
    if m + 1 - after < keep and #old >= 8 then break end
    redis.call('HDEL', key, 'o' .. f)
    for i = 1, #old, 8 do redis.call('HDEL', key, 'i' .. old:sub(i, i + 7)) end
    f = after
  end
  redis.call('HSET', key, 'm', m, 'u', u, 'f', f)
end

local flags = {}
for i = ROWS, #ARGV do
  local row = ARGV[i]
  if redis.call('HSETNX', key, 'i' .. row:sub(1, 8), '') == 1 then
    q, t = q + 1, redis.sha1hex(t .. row):sub(1, 16)
    redis.call('HSET', key, 'r' .. q, t .. row, 'q', q, 't', t)
    flags[#flags + 1] = '1'
  else
    flags[#flags + 1] = '0'
  end
end
redis.call('EXPIRE', key, expire)

return {1, q, t, since, told, m, q - m > limit and redis.call('HSTRLEN', key, 'b') or -1, standing, table.concat(flags),
  not same and m > 0 and redis.call('HGET', key, 'b'), table.concat(others)}
"""

# Arguments: seconds to expiry, the standing.
STAND = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 's', ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
"""


class Limits(NamedTuple):
    """``expire_s`` of keys, ``ids`` that the server remembers of an account, rows in its log (``log_rows``), accounts
    in the cache, and exchanges that wait for the server (``ROW_BYTES`` each)."""

    expire_s: int
    ids: int
    log_rows: int
    cache: int
    queue: int


class Item(NamedTuple):
    identity: int
    rows: Contributions
    packed: bytes

    @classmethod
    def of(cls, identity: int, rows: Contributions) -> "Item":
        return cls(identity, rows, pack_row(identity, rows))

    @classmethod
    def unpacked(cls, packed: bytes) -> "Item":
        _, identity, rows = unpack_row(packed)
        return cls(identity, rows, packed)


class Reply(NamedTuple):
    """See ``_redis_script``."""

    status: int
    number: int = 0
    tag: bytes = b""
    since: int = 0
    told: bytes = b""
    base_number: int = 0
    base_bytes: int = -1
    standing: bytes = b""
    flags: bytes = b""
    base: bytes | None = None
    others: bytes = b""


@dataclass(slots=True)
class Call:
    """A call of the script for an account: unsent rows first, then those that were asked for. ``flags`` are what an
    earlier reply said of them: they were sent already, only the account is wanted."""

    key: str
    items: list[Item]
    unsent: Sequence[Item] = ()
    number: int = 0
    tag: bytes = b""
    first: str = ""
    replaced: int | str = ""
    base: bytes = b""
    ids: bytes = b""
    flags: bytes | None = None

    def arguments(self, limits: Limits) -> list[Any]:
        rows = [] if self.flags is not None else [item.packed for item in (*self.unsent, *self.items)]
        about = [self.number, self.tag, self.replaced, self.base, self.first, self.ids]
        return [limits.expire_s, limits.ids, limits.log_rows, *about, *rows]
