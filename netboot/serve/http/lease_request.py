"""A seat's request for swap over HTTP. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """The swap that a seat with ``ram_bytes`` of RAM asks for.

    ``session`` is its boot, empty if the PC did not say which. A ``fresh`` lease is for a seat whose
    pages are lost. A further ``area``, from 2, is for a seat that needs more swap (swap.grow).
    Area 0 is not swap, but what the seat keeps (root.persist). ``address`` is the PC's.
    """

    ram_bytes: int
    session: str = ""
    fresh: bool = False
    area: int = 1
    address: str = ""
