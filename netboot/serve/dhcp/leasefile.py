"""The file of full mode's leases. A PC whose lease is in it never waits for another save.

It says which address is whose. If the server ends before a longer time is saved, the PC still gets
its address again, and no other PC gets it while that one answers ARP.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from netboot.host.files import PRIVATE
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import StateFile, seal, unseal
from netboot.serve.dhcp.lease import LeasePool
from netboot.serve.dhcp.packet import ANY

VERSION = 1
SAVE_SECONDS = 4.0  # as long as firmware waits before it asks again (PXE 2.1 section 2.2.5)


class LeaseFile:
    """Keeps the leases of pools in ``path``, whose form releases since 0.1.0 read and write."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, mode=PRIVATE)
        self._pools: Sequence[LeasePool] = ()
        self._noted = 0
        # By address, as a number: its owner, and the change that has both.
        self._since: dict[int, tuple[str, int]] = {}
        self.keeper = Keeper("DHCP leases", [Copy(self._file, self._text)])

    def restore(self, pools: Sequence[LeasePool]) -> Iterable[dict[str, Any]]:
        """Read the leases into ``pools``, which are kept from now on. Return their rows."""
        self._pools = pools
        self._file.read(self._parse)
        self.keeper.prepare()
        rows = self._rows()
        for pool in self._pools:
            self._follow(pool, 0)
        return rows

    def _parse(self, data: bytes) -> None:
        saved = unseal(data, VERSION)
        for pool in self._pools:
            pool.restore(saved)

    def note(self) -> None:
        """Save the leases if they have changed. This costs the same for any number of leases."""
        changes = sum(pool.changes for pool in self._pools)
        change = self.keeper.change if changes == self._noted else self.keeper.changed()
        self._noted = changes
        for pool in self._pools:  # also offers, which take the addresses of old leases
            self._follow(pool, change)

    def _follow(self, pool: LeasePool, change: int) -> None:
        for address, owner in pool.take_touched():
            if owner is None:
                self._since.pop(address, None)
            elif self._since.get(address, ("", 0))[0] != owner:
                self._since[address] = (owner, change)

    def has(self, address: IPv4Address) -> bool:
        """Return whether the file has the owner of ``address``, or there is none to have."""
        if address == ANY:
            return True
        owners = (pool.owner_of(address) for pool in self._pools)
        owner = next((each for each in owners if each is not None), None)
        saved, change = self._since.get(int(address), (None, 0))
        return saved is not None and saved == owner and self.keeper.is_saved(change)

    async def saved(self) -> bool:
        """Wait until all leases of now are in the file; False if they cannot be saved."""
        return await self.keeper.saved(self.keeper.change, SAVE_SECONDS)

    def _rows(self) -> list[dict[str, Any]]:
        return [row for pool in self._pools for row in pool.as_json()["leases"]]

    def _text(self) -> str:
        return seal({"version": VERSION, "leases": self._rows()})
