"""How long somebody who gave wrong passwords must wait. No clock of its own: ``now`` is an argument.

A guesser has an address and aims at an account, so failures are counted for both. An address waits
longer from failure to failure, up to 15 minutes. An account cannot be closed like that, because then
any stranger could keep its owner out. So the delay of an account has a small limit, a refused attempt
does not prolong it, and it does not hold for:

- a browser that has logged in to this account before (a mark in a cookie, as OWASP's *device cookies*),
- an address without a failure, some times in ten minutes,
- the machine of the panel itself: a tunnel of SSH ends there.

A new password (``netboot panel user passwd``) ends the delay of an account as well.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from netboot.boot.limits import PANEL_FAILURES, PANEL_FRESH

FREE = 3  # failures without a delay: typing mistakes
ADDRESS_DELAY, ACCOUNT_DELAY = 900.0, 60.0  # seconds, at most
MEMORY = PANEL_FAILURES.seconds or 0.0
MOST = PANEL_FAILURES.in_total or 0
FRESH, FRESH_PERIOD = PANEL_FRESH.per_address or 0, PANEL_FRESH.seconds or 0.0


@dataclass(slots=True)
class _Record:
    count: int = 0
    last: float = 0.0
    until: float = 0.0  # no attempt before this time
    fresh: list[float] = field(default_factory=list)  # attempts from addresses without a failure


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to log in. ``address``: of the browser. ``stamp``: of the account, "" without one.

    ``device``: the mark of a browser that logged in to this account before, else empty.
    """

    name: str
    stamp: str
    address: str
    device: str = ""


class Lockout:
    """The failures of the last hour. Its tables have a limit: the oldest failure is forgotten."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Record] = OrderedDict()
        self._known: OrderedDict[str, _Record] = OrderedDict()  # accounts that exist
        self._unknown: OrderedDict[str, _Record] = OrderedDict()

    def begin(self, attempt: Attempt, now: float) -> float:
        """Return the seconds to wait. 0: the password may be checked, and counts as wrong until then.

        Attempts that run at the same time are so counted as well; see ``succeed``.
        """
        sender = self._sender(attempt, now)
        if sender.until > now:
            return sender.until - now
        if not attempt.device:
            account = self._account(attempt, now)
            if account.until > now:
                if sender.count or not _has_place(account, now):
                    return account.until - now
                account.fresh.append(now)
            _count(account, now, ACCOUNT_DELAY)
        _count(sender, now, ADDRESS_DELAY)
        return 0.0

    def succeed(self, attempt: Attempt, now: float) -> None:
        """Note that the password was right: this attempt was no failure. Those before it remain.

        Else a guesser who has an account would clear its address by logging in.
        """
        records = [self._sender(attempt, now)]
        if not attempt.device:
            records.append(self._account(attempt, now))
        for record in records:
            record.count = max(record.count - 1, 0)
            record.until = 0.0

    def failures(self, attempt: Attempt, now: float) -> int:
        """Return how often the sender has failed."""
        return self._sender(attempt, now).count

    def _sender(self, attempt: Attempt, now: float) -> _Record:
        key = f"device {attempt.device}" if attempt.device else network(attempt.address)
        return _record(self._senders, key, now)

    def _account(self, attempt: Attempt, now: float) -> _Record:
        place = "here" if is_local(attempt.address) else "lan"
        table = self._known if attempt.stamp else self._unknown
        return _record(table, f"{place} {attempt.name} {attempt.stamp}", now)


def _record(table: OrderedDict[str, _Record], key: str, now: float) -> _Record:
    record = table.pop(key, None)
    if record is None or record.last + MEMORY < now:
        record = _Record(last=now)
    table[key] = record
    while len(table) > MOST:
        table.popitem(last=False)
    return record


def _count(record: _Record, now: float, most: float) -> None:
    record.count += 1
    record.last = now
    if record.count >= FREE:
        record.until = now + min(2.0 ** min(record.count - FREE, 20), most)


def _has_place(account: _Record, now: float) -> bool:
    account.fresh = [when for when in account.fresh if when + FRESH_PERIOD > now]
    return len(account.fresh) < FRESH


def network(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or a /64 of IPv6, which one machine has."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> 64 << 64)) + "/64"
    return str(found)


def is_address(text: str) -> bool:
    """Return whether a text is an address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_local(address: str) -> bool:
    """Return whether an address is one of this machine's loopback."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


def mark(key: bytes, name: str, stamp: str) -> str:
    """Return the mark of a browser that has logged in to an account, for a cookie."""
    nonce = secrets.token_hex(8)
    return f"{nonce}.{_seal(key, name, stamp, nonce)}"


def device(key: bytes, name: str, stamp: str, cookie: str) -> str:
    """Return the name of the browser with this mark; empty if it is not of this account."""
    nonce, _, seal = cookie.partition(".")
    right = (
        key
        and stamp
        and hmac.compare_digest(seal.encode(), _seal(key, name, stamp, nonce).encode())
    )
    return nonce if right else ""


def _seal(key: bytes, *words: str) -> str:
    text = "\0".join(("device", *words))
    return hmac.digest(key, text.encode("utf-8", "replace"), hashlib.sha256).hex()
