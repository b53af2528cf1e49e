"""The slices of the initramfs that a PC gets: those for its network card and its profile. Pure.

iPXE gives the card's PCI id in its DHCP packets (option 175.177). A PC gets the full initramfs if
no slice is for its card, or if the card has no PCI id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BASE = "base"


def file_of(name: str) -> str:
    """Return the name of the file with the slice ``name``, beside the full initramfs."""
    return f"initramfs-{name}.img"


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of the initramfs.

    ``cards``: the PCI ids that it is for, such as ``8086:100e``, or ``8086:*`` for all of a maker.
    ``needs``: slices that it requires. ``lacks``: firmware that its modules request and the build
    does not have, each with the Debian package that has it; the package is empty if none has it.
    """

    cards: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    lacks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The slices of a build, by name.

    ``left_out``: drivers that the kernel has and no slice contains, with the PCI ids of their
    cards.
    """

    slices: Mapping[str, Slice] = field(default_factory=dict)
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Catalogue":
        """Return the catalogue of one processor in a build's manifest (see ``as_json``)."""
        slices = {
            name: Slice(
                tuple(row["cards"]),
                tuple(row["needs"]),
                tuple((each["file"], each["package"]) for each in row["lacks"]),
            )
            for name, row in manifest.get("slices", {}).items()
        }
        left_out = manifest.get("left_out", {}).items()
        return cls(slices, {name: tuple(cards) for name, cards in left_out})

    def as_json(self) -> dict[str, Any]:
        """Return the catalogue as JSON-ready values."""
        slices = {
            name: {
                "cards": list(row.cards),
                "needs": list(row.needs),
                "lacks": [{"file": file, "package": package} for file, package in row.lacks],
            }
            for name, row in self.slices.items()
        }
        return {
            "slices": slices,
            "left_out": {name: list(cards) for name, cards in self.left_out.items()},
        }

    def files(self) -> frozenset[str]:
        """Return the names of all files."""
        return frozenset(map(file_of, self.slices))

    def choose(self, nic: tuple[int, int] | None, features: Iterable[str]) -> tuple[str, ...]:
        """Return the files for a PC with the card ``nic`` (PCI vendor and device).

        Empty if no slice is for this card.
        """
        drivers = self._drivers(nic)
        if not drivers:
            return ()
        needs = [need for name in drivers for need in self.slices[name].needs]
        names = dict.fromkeys([BASE, *(each for each in features), *needs, *drivers])
        return tuple(file_of(name) for name in names if name in self.slices)

    def complaint(self, nic: tuple[int, int]) -> str:
        """Return one line on what the build lacks for a PC with the card ``nic``.

        Empty if it lacks nothing.
        """
        card = f"network card {nic[0]:04x}:{nic[1]:04x}"
        drivers = self._drivers(nic)
        if not drivers:
            unused = ", ".join(_naming(nic, self.left_out))
            why = (
                f"its driver {unused} is left out of the images" if unused else "no driver is known"
            )
            return f"{card}: {why}; the PC gets all drivers of the images, and may find no card"
        lost = {each for name in drivers for each in self.slices[name].lacks}
        files = ", ".join(sorted(file for file, _ in lost))
        packages = ", ".join(sorted({package for _, package in lost if package}))
        where = f"Debian's {packages} has it (non-free-firmware)" if packages else "Debian has none"
        return f"{card}: the images lack firmware of its driver, {files}; {where}" if lost else ""

    def _drivers(self, nic: tuple[int, int] | None) -> list[str]:
        return _naming(nic, {name: row.cards for name, row in self.slices.items()})


def _naming(nic: tuple[int, int] | None, rows: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the names of ``rows`` that have the PCI id ``nic``, or all ids of its maker."""
    if nic is None:
        return []
    vendor, device = nic
    ids = {f"{vendor:04x}:{device:04x}", f"{vendor:04x}:*"}
    return [name for name, cards in rows.items() if not ids.isdisjoint(cards)]
