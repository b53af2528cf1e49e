"""The division of kernel modules into slices of the initramfs. Pure; see netboot.boot.slices."""

from collections.abc import Iterator, Mapping

from netboot.boot.slices import BASE, Slice
from netboot.images import drivers, modules
from netboot.images.modules import Module

PHYS = "phys"


def divide(
    chosen: tuple[Module, ...], builtin: frozenset[str]
) -> Iterator[tuple[str, Slice, tuple[Module, ...]]]:
    """Yield name, description and modules of each slice of a kernel's ``chosen`` modules."""
    every = {module.name: module for module in chosen}

    def of(patterns: tuple[str, ...], *left_out: Mapping[str, Module]) -> dict[str, Module]:
        wanted = [each.name for each in chosen if modules.matches(each, patterns)]
        return closure(wanted, *left_out)

    def closure(wanted: list[str], *left_out: Mapping[str, Module]) -> dict[str, Module]:
        found = modules.closure(every, builtin, wanted)
        return {
            each.name: each for each in found if not any(each.name in less for less in left_out)
        }

    base = of(drivers.BASE)
    yield BASE, Slice(), tuple(base.values())
    for name, patterns in drivers.FEATURES.items():
        yield name, Slice(), tuple(of(patterns, base).values())
    phys = of(drivers.PHYS, base)
    yield PHYS, Slice(), tuple(phys.values())
    for card in chosen:
        ids = modules.cards(card)
        if ids and modules.matches(card, drivers.CARDS):
            found = closure([card.name, *drivers.COMPANIONS.get(card.name, ())], base)
            needs = (PHYS,) if found.keys() & phys.keys() else ()
            own = tuple(module for name, module in found.items() if name not in phys)
            yield card.name, Slice(ids, needs), own
    for name, ids in drivers.BUSES.items():
        companions = [each for each in drivers.COMPANIONS[name] if each in every]
        if name in builtin and companions:
            yield name, Slice(ids), tuple(closure(companions, base).values())
