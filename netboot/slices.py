"""Which slices of the initramfs a PC gets: only what its network card and its profile ask for.

iPXE tells the card's PCI id in its DHCP packets (option 175.177). A card of no slice, or of a kind
that has no PCI id, gets the full initramfs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BASE = "base"


def file_of(name: str) -> str:
    """The file with the slice ``name``, beside the full initramfs."""
    return f"initramfs-{name}.img"


@dataclass(frozen=True, slots=True)
class Slice:
    """``cards``: the PCI ids it is for, such as ``8086:100e``, or ``8086:*`` for all of a maker.
    ``needs``: slices that have to come along.
    """

    cards: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The slices of a build, by name."""

    slices: Mapping[str, Slice] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Catalogue":
        """As a build's manifest has it for each processor (``as_json``)."""
        rows = manifest.get("slices", {}).items()
        return cls({name: Slice(tuple(row["cards"]), tuple(row["needs"])) for name, row in rows})

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            name: {"cards": list(row.cards), "needs": list(row.needs)}
            for name, row in self.slices.items()
        }

    def files(self) -> frozenset[str]:
        """The names of all files."""
        return frozenset(map(file_of, self.slices))

    def choose(self, nic: tuple[int, int] | None, features: Iterable[str]) -> tuple[str, ...]:
        """The files for a PC with this card (PCI vendor and device); none if no slice is for it."""
        if nic is None:
            return ()
        vendor, device = nic
        ids = {f"{vendor:04x}:{device:04x}", f"{vendor:04x}:*"}
        drivers = [name for name, row in self.slices.items() if ids & set(row.cards)]
        if not drivers:
            return ()
        needs = [need for name in drivers for need in self.slices[name].needs]
        names = dict.fromkeys([BASE, *(each for each in features), *needs, *drivers])
        return tuple(file_of(name) for name in names if name in self.slices)
