"""The doctor's look around the server: the card's settings, the clock and the firewall.

None of it is the work of a release, so a deploy does not go back because of it.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

from netboot.deploy.firewall.check import check
from netboot.deploy.firewall.needs import Conclusion
from netboot.host.interfaces import ETHERNET_MTU, Interface
from netboot.host.programs import run
from netboot.profile.profile import Profile

PANEL = "the room's page, for browsers"
# Of this release. A machine without a battery for its clock starts in 1970, or with its image's date.
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sight:
    """One check; see ``doctor.Finding``."""

    check: str
    ok: bool
    detail: str
    known: bool = True


def look(profile: Profile, interface: Interface) -> list[Sight]:
    """Return what is around the server on ``interface``."""
    ports = {"HTTP": profile.http.port, "pages": profile.swap.port}
    card = _card(json.loads(run(["ip", "-j", "address", "show", "dev", interface.name]).stdout))
    return [
        Sight("card", True, card),
        _clock(time.time()),
        _firewall(
            check(
                interface,
                ports,
                _pcs(profile),
                dhcp=profile.dhcp.mode,
                optional={PANEL: profile.http.panel_port} if profile.http.panel == "lan" else {},
            )
        ),
    ]


def _card(shown: list[dict[str, Any]]) -> str:
    """Return what an operator should know of a card, as ``ip -j address`` shows it."""
    card = next((each for each in shown if each), {})
    addresses = [each for each in card.get("addr_info", ()) if each.get("family") == "inet"]
    mtu = card.get("mtu", ETHERNET_MTU)
    told = []
    if mtu < ETHERNET_MTU:
        told.append(f"MTU {mtu}, below {ETHERNET_MTU}: PCs with another MTU lose large packets")
    told += [
        f"{each['local']} comes from DHCP and can change: reserve it in the router"
        for each in addresses
        if each.get("dynamic")
    ]
    return "; ".join(told) or f"MTU {mtu}, fixed address"


def _pcs(profile: Profile) -> list[IPv4Address]:
    """Return addresses of PCs that the profile names."""
    ranges = [profile.dhcp.range, *(each.range for each in profile.dhcp.networks.values())]
    seats = [seat.address for seat in profile.clients.values()]
    return [each.first for each in ranges if each] + [each for each in seats if each]


def _firewall(found: Conclusion) -> Sight:
    is_open = found.is_open
    return Sight("firewall", is_open is not False, found.detail, known=is_open is not None)


def _clock(now: float) -> Sight:
    at = datetime.fromtimestamp(now, UTC)
    if at < EARLIEST:
        return Sight(
            "clock", False, f"the clock says {at:%Y-%m-%d}: set it (timedatectl set-ntp on)"
        )
    return Sight("clock", True, f"{at:%Y-%m-%d %H:%M:%S} UTC")
