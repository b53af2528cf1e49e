"""Events as steps of a boot: which of them the PC itself caused, and the figures in them. Pure."""

from typing import Any

from netboot.boot.arch import BOOTCODE, is_loader
from netboot.boot.grub import CONFIG_SUFFIX
from netboot.feed.records import Event

# The server's own remarks, and what others do: they show no sign of life.
NO_STEPS = frozenset(
    (
        *("ordered", "silent", "twin", "identity", "pages:in-use", "pages:moved", "pages:away"),
        *("pages:flapping", "pages:detach", "pages:delayed", "pages:damaged", "pages:worker-died"),
        *("pages:stalled", "pages:answers"),
    )
)
# They are told before a boot that may succeed, or of a PC that runs.
NO_END = frozenset(("failed:memory", "failed:version", "failed:keep", "failed:load"))


def is_step(event: Event) -> bool:
    """Return True if the PC itself caused an event."""
    # An operator may delete what a seat keeps; a seat asks, and is granted swap or refused.
    granted = "bytes_granted" in event.data or event.message.startswith("refused")
    return event.stage not in NO_STEPS and (event.stage != "lease" or granted)


def is_loader_file(name: str) -> bool:
    """Return True if a boot file is a loader or its script, and no part of the system."""
    return is_loader(name) or name == BOOTCODE or name.endswith((".ipxe", CONFIG_SUFFIX))


def figure(data: dict[str, Any], key: str) -> float | None:
    """Return a figure of an event; None if it is missing or no figure: PCs report what they like."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -(2**63) < value < 2**63 else None
