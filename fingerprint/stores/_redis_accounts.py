"""What a replica knows of the accounts in Redis: histories up to a row of the server's, and rows it could not send.

``Accounts`` makes the calls of the script (``_redis_script``) and takes in what it replies; nothing here waits for a
network. Each account that is cached is the history of all rows up to a number and tag, the unsent ones of this replica
included: where the server knows that number and tag, it sends only what came after, otherwise everything. Not
thread-safe: ``RedisStore`` locks.
"""

import hashlib
import zlib
from collections import Counter, OrderedDict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from fingerprint.errors import WindowError
from fingerprint.history import ROW_BYTES, History
from fingerprint.stores import NOBODY, STANDING_BYTES, Seen, Standing
from fingerprint.stores._redis_script import DAMAGED, KNOWN, TAG_BYTES, Call, Item, Limits, Reply

__all__ = ["Accounts"]

MOST_LOGGED: Final = 256  # rows after which a new base is made, however long it is
SENT_AT_ONCE: Final = 256  # unsent rows of an account in one call, and about as many of others beside it
STANDINGS_AT_ONCE: Final = 256
_NEW: Final = ord("1")


@dataclass(slots=True)
class _Known:
    history: History
    number: int = 0
    tag: bytes = b""
    standing: Standing = NOBODY
    replaces: int | None = None  # number of the base that it is time to replace

    def append(self, item: Item) -> bool:
        """Add an exchange that the server does not have; False if it is known."""
        new = self.history.add(item.identity, item.rows)
        if new:
            self.number, self.tag = self.number + 1, _tag(self.tag, item.packed)
        return new

    def seen(self, new: bool) -> Seen:
        return Seen(self.history.windows.copy(), self.standing, new)

    def base(self) -> bytes:
        data = self.history.to_bytes()
        return zlib.crc32(data).to_bytes(4, "little") + data


def _tag(before: bytes, packed: bytes) -> bytes:
    return hashlib.sha1(before + packed, usedforsecurity=False).hexdigest()[:TAG_BYTES].encode()


def _begun(reply: Reply) -> _Known:
    """The account at the base of a reply; WindowError if it is damaged."""
    base = reply.base
    if base is None:
        if reply.since:
            raise WindowError("the account has no base")
        return _Known(History())
    if zlib.crc32(base[4:]).to_bytes(4, "little") != base[:4]:
        raise WindowError("the base is damaged")
    return _Known(History.from_bytes(base[4:]), reply.since, reply.told)


def _standing(data: bytes) -> Standing:
    return Standing.from_bytes(data) if len(data) == STANDING_BYTES else NOBODY


class _Conflict(Exception):
    """The reply does not go on from what is cached, because another thread's reply came in between: the cache is behind
    it, or (with an argument) has other exchanges."""


def _follow(known: _Known, call: Call, reply: Reply) -> list[Seen]:
    """Append the rows of a reply that are not in the history yet; what is seen after each item of the call."""
    number, tag, seen = reply.since, reply.told, []

    def follow(item: Item) -> None:
        nonlocal number, tag
        number, tag = number + 1, _tag(tag, item.packed)
        if number > known.number:
            known.history.add(item.identity, item.rows)
            known.number, known.tag = number, tag
        elif number == known.number and tag != known.tag:
            raise _Conflict("tag")

    if number > known.number:
        raise _Conflict
    if number == known.number and tag != known.tag:
        raise _Conflict("tag")
    if len(reply.others) % ROW_BYTES:
        raise WindowError("the rows of the account are damaged")
    for at in range(0, len(reply.others), ROW_BYTES):
        follow(Item.unpacked(reply.others[at : at + ROW_BYTES]))
    if call.flags is not None:
        seen = [known.seen(flag == _NEW) for flag in call.flags[len(call.unsent) :]]
    else:
        for i, (item, flag) in enumerate(zip((*call.unsent, *call.items), reply.flags, strict=True)):
            if flag == _NEW:
                follow(item)
            if i >= len(call.unsent):
                seen.append(known.seen(flag == _NEW))
    if tag != reply.tag:
        raise WindowError("the rows of the account are damaged")
    return seen


class Accounts:
    """The accounts that were seen last, and exchanges and standings that the server does not have yet."""

    def __init__(self, limits: Limits, counts: Counter[str]) -> None:
        self.limits, self.counts = limits, counts
        self.waiting = 0  # exchanges
        self.standings: OrderedDict[str, Standing] = OrderedDict()  # that wait
        self._known: OrderedDict[str, _Known] = OrderedDict()  # least recently seen first
        self._unsent: OrderedDict[str, list[bytes]] = OrderedDict()  # first come first

    def __len__(self) -> int:
        return len(self._known)

    def call(self, key: str, items: list[Item]) -> Call:
        """What to ask the server."""
        call, known = Call(key, items), self._known.get(key)
        if key in self._unsent:
            call.unsent = [Item.unpacked(row) for row in self._unsent[key][:SENT_AT_ONCE]]
        if known:
            call.number, call.tag = known.number, known.tag
            if known.replaces is not None:
                call.replaced, call.base = known.replaces, known.base()
        return call

    def backlog(self, without: Container[str]) -> list[Call]:
        """Calls for a few accounts with exchanges that wait, those that wait longest first."""
        calls, rows = [], 0
        for key in self._unsent:
            if rows >= SENT_AT_ONCE:
                break
            if key not in without:
                calls.append(self.call(key, []))
                rows += len(calls[-1].unsent)
        return calls

    def standing_to(self, calls: Sequence[Call]) -> list[tuple[str, Standing]]:
        """Some standings that wait, of accounts that the server knows or is told of by these calls."""
        told = {call.key for call in calls}
        known = (one for one in self.standings.items() if one[0] in told or one[0] not in self._unsent)
        return list(islice(known, STANDINGS_AT_ONCE))

    def have_stood(self, standings: Sequence[tuple[str, Standing]]) -> None:
        """The server has these, unless they were for an account that it has lost: ``take`` sees that."""
        for key, standing in standings:
            if self.standings.get(key) == standing:
                del self.standings[key]

    def take(self, call: Call, reply: Reply) -> list[Seen] | Call:
        """What is seen after each item of a call (if it has none: the account, if anything is known of it); or another
        call, if the reply is not enough."""
        if reply.status != KNOWN:
            return self._again(call, reply.status)
        old = self._known.get(call.key)
        whole = not call.number or (reply.since, reply.told) != (call.number, call.tag)
        try:
            known = _begun(reply) if whole else old
            if known is None:
                raise _Conflict
            known.standing = self.standings.get(call.key) or _standing(reply.standing)
            seen = _follow(known, call, reply)
        except (WindowError, _Conflict) as error:
            if error.args:
                self._known.pop(call.key, None)
            if whole and isinstance(error, WindowError):
                self.counts["damaged"] += 1
                return Call(call.key, call.items, call.unsent, tag=reply.tag, first="reset")
            return Call(call.key, call.items, call.unsent, flags=reply.flags if call.flags is None else call.flags)
        if duplicates := sum(not one.new for one in seen):
            self.counts["duplicates"] += duplicates
        logged, base_rows = reply.number - reply.base_number, reply.base_bytes // ROW_BYTES
        known.replaces = reply.base_number if base_rows >= 0 and logged > min(base_rows, MOST_LOGGED) else None
        self._have_sent(call)
        overtaken = old is not None and (old.number, old.tag) != (call.number, call.tag)  # by another thread's reply
        if whole and not (overtaken and old and old.number >= known.number):
            self._complete(call.key, known, None if overtaken else old)
            old = known
        if old and old.number:
            self._keep(call.key, old)
        return seen if call.items or not known.number else [known.seen(False)]

    def _complete(self, key: str, known: _Known, old: _Known | None) -> None:
        """Exchanges that the server does not have although it should: it was behind, or lost them. They wait to be sent
        again; the ids that it remembers make that harmless."""
        for row in self._unsent.get(key, ()):
            known.append(Item.unpacked(row))
        for _, identity, rows in old.history.beyond(known.history) if old else ():
            self.counts["resent"] += 1
            item = Item.of(identity, rows)
            known.append(item)
            self._wait(key, item.packed)

    def _again(self, call: Call, status: int) -> Call:
        """The server knows nothing of the account: what is cached is its new base."""
        if status == DAMAGED:
            self.counts["damaged"] += 1
        known = self._known.get(call.key)
        if known is None:
            return Call(call.key, call.items, call.unsent)
        self.counts["restored"] += 1
        if known.standing != NOBODY:
            self.stand(call.key, known.standing, waits=True)
        base = known.base()
        held = {identity for _, identity, _ in known.history.beyond(History())}
        held.update(int.from_bytes(row[:8], "little") for row in self._unsent.get(call.key, ()))
        ids = b"".join(identity.to_bytes(8, "little") for identity in sorted(held))
        return Call(call.key, call.items, call.unsent, known.number, known.tag, "restore", "", base, ids)

    def local(self, call: Call) -> list[Seen]:
        """As ``take``, without the server: the items wait for it."""
        known = self._known.get(call.key) or _Known(History())
        if not known.number:
            for row in self._unsent.get(call.key, ()):
                known.append(Item.unpacked(row))
        known.standing = self.standings.get(call.key, known.standing)
        seen = []
        for item in call.items:
            new = known.append(item)
            if new:
                self._wait(call.key, item.packed)
            seen.append(known.seen(new))
        if known.number:
            self._keep(call.key, known)
        return seen if call.items or not known.number else [known.seen(False)]

    def stand(self, key: str, standing: Standing, waits: bool) -> None:
        """Keep a standing here; ``waits``: the server does not have it."""
        if known := self._known.get(key):
            known.standing = standing
        if waits:
            self.standings[key] = standing
            self.standings.move_to_end(key)
            if len(self.standings) > self.limits.queue:
                self.standings.popitem(last=False)
                self.counts["dropped"] += 1

    def _keep(self, key: str, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self.limits.cache:
            self._known.popitem(last=False)

    def _wait(self, key: str, packed: bytes) -> None:
        self._unsent.setdefault(key, []).append(packed)
        self.waiting += 1
        while self.waiting > self.limits.queue:
            first, rows = next(iter(self._unsent.items()))
            del rows[0]
            if not rows:
                del self._unsent[first]
            self.waiting -= 1
            self.counts["dropped"] += 1

    def _have_sent(self, call: Call) -> None:
        if not call.unsent:
            return
        sent = {item.packed for item in call.unsent}
        rows = self._unsent.pop(call.key, [])
        self.waiting -= len(rows)
        if rest := [row for row in rows if row not in sent]:
            self._unsent[call.key] = rest
            self.waiting += len(rest)
