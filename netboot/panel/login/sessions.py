"""The sessions of logged-in browsers, in memory: a restart of the panel ends them.

A session's token is known to its browser alone; the table has a hash of it. The token of CSRF follows
from the session's token, so that it needs no place either.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from netboot.boot.limits import PANEL_SESSIONS

IDLE = PANEL_SESSIONS.seconds or 0.0
MOST, MOST_OF_ACCOUNT = PANEL_SESSIONS.in_total or 0, PANEL_SESSIONS.per_address or 0
TOKEN_BYTES = 16


@dataclass(slots=True)
class _Session:
    name: str
    stamp: str
    used: float


@dataclass(frozen=True, slots=True)
class Holder:
    """The account of a session: its name, and the stamp of the password that opened it."""

    name: str
    stamp: str


class Sessions:
    """All sessions. ``now`` is of a clock that never goes back, in seconds."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, _Session] = {}  # by the hash of the token, the oldest use first

    def open(self, name: str, stamp: str, now: float) -> str:
        """Begin a session; return its token. Over the limit the one that was idle longest ends."""
        own = [key for key, each in self._sessions.items() if each.name == name]
        for key in own[: max(len(own) - MOST_OF_ACCOUNT + 1, 0)]:
            del self._sessions[key]
        while len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_hex(TOKEN_BYTES)
        self._sessions[_hashed(token)] = _Session(name, stamp, now)
        return token

    def find(self, token: str, now: float, *, touch: bool = True) -> Holder | None:
        """Return the account of a session; None if it has ended. ``touch``: it was used now."""
        key = _hashed(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.used + IDLE < now:
            del self._sessions[key]
            return None
        if touch:
            session.used = now
            self._sessions[key] = self._sessions.pop(key)
        return Holder(session.name, session.stamp)

    def close(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(_hashed(token), None)


def csrf_token(token: str) -> str:
    """Return the token that a change must carry in a header, of the session with this token."""
    return hmac.digest(token.encode("utf-8", "replace"), b"csrf", hashlib.sha256).hex()[:32]


def is_csrf_token(token: str, given: str) -> bool:
    """Return whether that is the session's token of CSRF."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode("utf-8", "replace"))


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
