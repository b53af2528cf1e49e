"""The sessions of logged-in browsers. A file of the state folder keeps them over a restart of the panel.

A session's token is known to its browser alone; the table and the file have a hash of it. The token of
CSRF follows from the session's token, so that it needs no place either. A session is bound to the stamp
of its account's password, so another password ends it, also while the panel is off.
"""

import contextlib
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netboot.boot.limits import PANEL_SESSIONS
from netboot.host.files import PRIVATE, replace_file
from netboot.host.state import read_regular

FILE, VERSION = "panel-sessions.json", 1

IDLE = PANEL_SESSIONS.seconds or 0.0
MOST, MOST_OF_ACCOUNT = PANEL_SESSIONS.in_total or 0, PANEL_SESSIONS.per_address or 0
TOKEN_BYTES = 16
KEEP_SECONDS = 300.0  # between two writes of when sessions were used last

log = logging.getLogger(__name__)


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
    """All sessions. ``now`` is of a clock that never goes back, in seconds.

    ``path``: the file that keeps them; without it they end with the panel. ``wall``: the time of the
    day, by which the next panel reckons.
    """

    def __init__(self, path: Path | None = None, wall: Callable[[], float] = time.time) -> None:
        self._sessions: dict[bytes, _Session] = {}  # by the hash of the token, the oldest use first
        self._path, self._wall = path, wall
        self._kept = float("-inf")

    def load(self, now: float) -> None:
        """Take the sessions that the panel before has kept. A file that is none has none."""
        if self._path is None:
            return
        try:
            kept = _parsed(read_regular(self._path), self._wall())
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("%s: no sessions: %s; browsers log in again", self._path, error)
            return
        for key, name, stamp, idle in sorted(kept, key=lambda each: -each[3])[-MOST:]:
            self._sessions[key] = _Session(name, stamp, now - idle)

    def keep(self, now: float) -> None:
        """Write the sessions for the next panel."""
        if self._path is None:
            return
        self._kept, wall = now, self._wall()
        rows = [
            {
                "hash": key.hex(),
                "name": each.name,
                "stamp": each.stamp,
                "used": round(wall - (now - each.used), 3),
            }
            for key, each in self._sessions.items()
        ]
        try:
            text = json.dumps({"version": VERSION, "sessions": rows}) + "\n"
            replace_file(self._path, text, mode=PRIVATE)
        except OSError as error:
            log.warning("%s: sessions end with the panel: %s", self._path, error.strerror)
            # It may have one that has ended: a browser must not come back by it.
            with contextlib.suppress(OSError):
                self._path.unlink()

    def open(self, name: str, stamp: str, now: float) -> str:
        """Begin a session; return its token. Over the limit the one that was idle longest ends."""
        own = [key for key, each in self._sessions.items() if each.name == name]
        for key in own[: max(len(own) - MOST_OF_ACCOUNT + 1, 0)]:
            del self._sessions[key]
        while len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_hex(TOKEN_BYTES)
        self._sessions[_hashed(token)] = _Session(name, stamp, now)
        self.keep(now)
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
            if now - self._kept >= KEEP_SECONDS:
                self.keep(now)
        return Holder(session.name, session.stamp)

    def close(self, token: str, now: float) -> None:
        """End a session."""
        if self._sessions.pop(_hashed(token), None) is not None:
            self.keep(now)


def _parsed(data: bytes, wall: float) -> list[tuple[bytes, str, str, float]]:
    """Return hash, name, stamp and idle seconds of each session. Raises what a damaged file causes."""
    content, found = json.loads(data), []
    if content["version"] != VERSION:
        raise ValueError(f"version {content['version']}, expected {VERSION}")
    for each in content["sessions"]:
        name, stamp = each["name"], each["stamp"]
        idle = max(wall - float(each["used"]), 0.0)  # the clock may have been set back
        if not (isinstance(name, str) and isinstance(stamp, str)):
            raise TypeError("expected a name and a stamp")
        if idle <= IDLE:  # nor is NaN
            found.append((bytes.fromhex(each["hash"]), name, stamp, idle))
    return found


def csrf_token(token: str) -> str:
    """Return the token that a change must carry in a header, of the session with this token."""
    return hmac.digest(token.encode("utf-8", "replace"), b"csrf", hashlib.sha256).hex()[:32]


def is_csrf_token(token: str, given: str) -> bool:
    """Return whether that is the session's token of CSRF."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode("utf-8", "replace"))


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
