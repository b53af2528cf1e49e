"""The doctor's look around the server: the card's settings, the clock, the firewall, the LAN's DHCP.

None of it is the work of a release, so a deploy does not go back because of it.
"""

import asyncio
import json
import os
import secrets
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

from netboot.boot.arch import BY_CODE
from netboot.boot.client import PROBE_MAC
from netboot.deploy.firewall.check import check
from netboot.deploy.firewall.needs import Conclusion
from netboot.errors import AnswerError, OperatorError
from netboot.host.interfaces import ETHERNET_MTU, Interface
from netboot.host.programs import run
from netboot.profile.profile import Profile
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.packet import MessageType, Option
from netboot.serve.dhcp.question import Asker

LAN_WAITS = (4.0, 4.0)  # others look by ping for 1 to 3 s whether an address is free
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


@dataclass(frozen=True, slots=True)
class LanDhcp:
    """The DHCP server that gives out addresses on a LAN. ``unknown``: why nobody was asked."""

    server: IPv4Address | None = None
    unknown: str = ""

    def sight(self, *, wanted: bool) -> Sight:
        """Return the check of a server that is ``wanted`` (dhcp.mode proxy), or not (full)."""
        if self.unknown:
            return Sight("dhcp", True, self.unknown, known=False)
        if self.server is None:
            told = f"no other DHCP server answered in {sum(LAN_WAITS):g} s"
            problem = "; PCs get no address until one does, or with dhcp.mode full from here"
            return Sight("dhcp", not wanted, told + problem * wanted)
        told = f"the DHCP server {self.server} gives out addresses"
        problem = "; two would contradict each other: switch it off, or use dhcp.mode proxy"
        return Sight("dhcp", wanted, told + problem * (not wanted))


def find_dhcp(interface: Interface) -> LanDhcp:
    """Ask for an address as a PC does, without taking it; return the first server that offers one."""
    if os.geteuid():
        return LanDhcp(unknown="skipped: only root may ask as a PC does")
    question = Asker(PROBE_MAC, BY_CODE[0]).discover(secrets.randbits(32))
    # Not as a PC that boots: a server that only names boot files offers no address.
    plain = (Option.DHCP_MESSAGE_TYPE, Option.PARAMETER_REQUEST_LIST)
    question = replace(question, options={int(each): question.options[each] for each in plain})

    async def ask() -> IPv4Address | None:
        with closing(Asking(interface)) as asking:
            offer = await asking.ask(question, None, [MessageType.DHCPOFFER], LAN_WAITS)
        return offer.address(Option.SERVER_IDENTIFIER)

    try:
        server = asyncio.run(ask())
    except AnswerError:
        return LanDhcp()
    except OperatorError as error:
        return LanDhcp(unknown="; ".join(str(error).splitlines()))
    if server == interface.address:
        return LanDhcp(unknown=f"cannot tell: this machine's own DHCP server answers, {server}")
    return LanDhcp(server)


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
