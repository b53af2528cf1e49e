"""The rotation of a server's secret as the running server follows it.

The file is looked at every second: an operator's command, and the copy from another server, need
no signal. The previous secret is forgotten a day later, in memory and in the file. That day ends by
the server's clock, or by the seconds that servers have counted, whichever is first.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from netboot.boot.keyring import Keyring
from netboot.errors import OperatorError
from netboot.host import clock
from netboot.host.complaints import Complaints
from netboot.serve import secret
from netboot.serve.secret import Secrets

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# Between two saves of the seconds that are left: as much is lost if the machine loses its power.
SAVE_SECONDS = 900.0


class SecretFollower:
    """Keeps ``keys`` as the file ``path`` has them. ``found`` is what it has now.

    ``now`` is the server's clock (seconds since the epoch), ``ticks`` counts seconds and never
    jumps. ``on_new`` is called after each change of the current secret.
    """

    def __init__(
        self,
        path: Path,
        keys: Keyring,
        found: Secrets,
        now: Callable[[], float],
        ticks: Callable[[], float] = clock.since_boot,
    ) -> None:
        self._path = path
        self._keys = keys
        self._found = found
        self._now, self._ticks = now, ticks
        self._counted_at = self._saved_at = ticks()
        self._seen: tuple[int, ...] = ()
        self._is_saved = True
        self._complaints = Complaints(log)
        self.on_new: Callable[[], None] = lambda: None
        self._keys.renew(found.current, found.previous)
        self._count()

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            self.look()
            if not self._is_saved:
                await asyncio.to_thread(self.save)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Take a new secret up, and forget a previous one whose time is over."""
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)
            if seen != self._seen:
                self._take(secret.read(self._path))
                self._seen = seen
        except FileNotFoundError:  # the operator wants another one, from the next start on
            pass
        except (OSError, ValueError, OperatorError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            self._complaints.warn(
                "read", "%s: %s; the secret so far is used until the next start", self._path, cause
            )
        self._count()

    def save(self) -> None:
        """Save what is left of the previous secret's time. A full disk is told, and tried again."""
        found = self._found
        try:
            secret.save(self._path, found)
        except OSError as error:
            self._complaints.warn(
                "save", "%s: cannot be written: %s; tried again", self._path, error.strerror
            )
            return
        self._saved_at = self._ticks()
        self._is_saved = found == self._found

    def _take(self, found: Secrets) -> None:
        before = self._found
        if (found.current, found.previous) == (before.current, before.previous):
            return  # our own save, or a copy of the same file
        self._found = found
        self._counted_at = self._ticks()
        self._keys.renew(found.current, found.previous)
        if found.current != before.current:
            rest = "boot every PC once within a day: the previous one is accepted so long"
            gone = "PCs that booted before have to boot again"
            log.warning(
                "%s: a new secret is used: %s", self._path, rest if found.previous else gone
            )
            self.on_new()

    def _count(self) -> None:
        found = self._found
        if not found.previous:
            return
        ticks, now = self._ticks(), self._now()
        left, until = found.left - (ticks - self._counted_at), found.until
        self._counted_at = ticks
        if until is None:
            until, self._is_saved = now + left, False
        self._found = dataclasses.replace(found, left=left, until=until)
        if ticks - self._saved_at >= SAVE_SECONDS:
            self._is_saved = False
        if left <= 0 or now >= until:
            self._found, self._is_saved = Secrets(found.current), False
            self._keys.renew(found.current)
            log.warning(
                "%s: the previous secret is forgotten: PCs that booted with it keep their swap, but "
                "get no orders until they boot again",
                self._path,
            )
