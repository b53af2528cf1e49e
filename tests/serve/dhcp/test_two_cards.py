"""Two cards with different networks on one LAN: a PC gets one answer, with the address it reaches."""

import asyncio
from ipaddress import IPv4Address
from typing import cast

import pytest

from netboot.boot.events import Journal
from netboot.profile.profile import Profile
from netboot.serve.dhcp.neighbourhood import Neighbourhood
from netboot.serve.dhcp.server import DhcpServer
from tests.serve.dhcp.test_responder import FULL, PROXY
from tests.serve.dhcp.wire import ETH, Wire, card, server
from tests.support.pxe_client import PxeClient

OTHER = card("eth1", 3, "192.168.77.2/24")
BOTH = (ETH, OTHER)


class Lan:
    """Stands in for the neighbourhood: the LAN's own DHCP server gave 10.0.0.50 on both cards."""

    def lent(self, index: int) -> IPv4Address | None:
        return IPv4Address("10.0.0.50")

    def asked(self, *_: object) -> bool:
        return False

    def replying(self, *_: object) -> None:
        pass


def heard(ours: DhcpServer, wire: Wire, data: bytes, *cards: int) -> None:
    for index in cards:
        ours._answer_all(wire.arrived(data, index))


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
def test_a_pc_gets_one_answer_from_the_address_in_its_network(
    profile: Profile, order: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        ours, wire = server(profile, Journal(), interfaces=BOTH), Wire()
        if profile is PROXY:
            ours._neighbourhood = cast(Neighbourhood, Lan())
        else:  # the first PC that is heard on both cards tells that they are on one LAN
            heard(ours, Wire(), PxeClient(mac="52:54:00:00:00:09").discover(), *order)
        for number in range(3):
            pc = PxeClient(mac=f"52:54:00:00:00:0{number}", xid=number)
            heard(ours, wire, pc.discover(), *order)
        first = order[0]
        assert [each.address for each in wire.interfaces] == [ETH.address] * 3
        assert [(each.index, each.mac[5]) for each in wire.interfaces] == [(first, first)] * 3

    asyncio.run(scenario())
    (line,) = [line for line in caplog.messages if "are on one LAN" in line]
    assert line.startswith("eth0 and eth1 are on one LAN, 10.0.0.0/24 and 192.168.77.0/24: PCs")


def test_a_card_answers_alone_when_the_other_one_is_deaf() -> None:
    ours, wire = server(FULL, Journal(), interfaces=BOTH), Wire()
    heard(ours, Wire(), PxeClient(xid=1).discover(), 2, 3)
    heard(ours, wire, PxeClient(xid=2).discover(), 3)
    assert [each.address for each in wire.interfaces] == [ETH.address]
