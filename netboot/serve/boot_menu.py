"""The door to the boot menu: its password, and how often an address may try one."""

import asyncio
import logging
import time
from collections.abc import Callable

from netboot.boot.limits import MENU_PASSWORDS
from netboot.errors import DeniedError
from netboot.host import passwords
from netboot.host.complaints import Complaints
from netboot.profile.menu import Menu

log = logging.getLogger(__name__)

NO_PASSWORD = "the boot menu needs its password"


class Attempts:
    """The wrong passwords of each address in the period of MENU_PASSWORDS, and of all together."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begin = now()
        self._wrong: dict[str, int] = {}

    def may_try(self, address: str) -> bool:
        """Return True if this address may try a password now, and count it as wrong until ``right``."""
        limit, now = MENU_PASSWORDS, self._now()
        if now - self._begin >= (limit.seconds or 0):
            self._begin = now
            self._wrong.clear()
        tried = self._wrong.get(address, 0)
        total = sum(self._wrong.values())
        if tried >= (limit.per_address or 0) or total >= (limit.in_total or 0):
            return False
        self._wrong[address] = tried + 1
        return True

    def right(self, address: str) -> None:
        """Note that the last password of an address was right."""
        self._wrong.pop(address, None)


class BootMenu:
    """The menu of a profile. ``record`` journals an event of a seat."""

    def __init__(
        self,
        menu: Menu,
        record: Callable[[str, str, str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.menu = menu
        self._record = record
        self._attempts = Attempts(now)
        self._one = asyncio.Lock()
        self._complaints = Complaints(log)

    async def admit(self, mac: str, address: str, password: str) -> None:
        """Return if a PC may open the menu with a password. Raises DeniedError if it may not.

        The check is in a thread, one for all PCs: the hash is slow by intention.
        """
        hashed = self.menu.password
        if hashed is None:
            return
        if not self._attempts.may_try(address):
            raise self._denied(mac, address, "too many wrong passwords for the boot menu")
        async with self._one:
            try:
                is_right = await asyncio.to_thread(passwords.is_password, password, hashed)
            except OSError as error:
                raise self._denied(mac, address, f"passwords cannot be checked: {error}") from None
        if not is_right:
            raise self._denied(mac, address, "wrong password for the boot menu")
        self._attempts.right(address)

    def _denied(self, mac: str, address: str, reason: str) -> DeniedError:
        if self._complaints.warn(address, "%s: %s: %s", mac, address, reason):
            self._record(mac, "menu", reason)
        return DeniedError(reason)
