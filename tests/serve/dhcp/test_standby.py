"""The second boot server: which PCs it answers, and which it leaves to the first one."""

import asyncio
import time
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from netboot.boot.arch import BY_NAME
from netboot.boot.client import PROBE_MAC
from netboot.boot.events import Journal
from netboot.boot.limits import DHCP_STANDBY
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot
from netboot.serve.dhcp import server as dhcp_server
from netboot.serve.dhcp.packet import MessageType, Packet, serialize
from netboot.serve.dhcp.question import Asker
from netboot.serve.dhcp.sockets import Arrival
from netboot.serve.dhcp.standby import AGAIN_SECONDS, AWAY_SECONDS, Standby, Turn
from tests.serve.dhcp.wire import ETH, Wire, server

FIRST, SECOND = IPv4Address("10.0.0.9"), ETH.address
SERVERS = (FIRST, SECOND)
MAC = "52:54:00:00:00:01"
PC = Asker(MAC, BY_NAME["bios"])
ASKS = PC.discover(7)


def second(now: float = 0.0) -> Standby:
    standby = Standby(SERVERS, now)
    standby.follow([SECOND])
    return standby


def test_the_first_server_and_the_only_one_leave_nothing() -> None:
    first = Standby(SERVERS, 0.0)
    first.follow([FIRST])
    for standby in (first, Standby()):
        assert standby.turn(ASKS, FIRST, 0.0) is Turn.OURS


def test_all_is_left_to_a_healthy_server_until_it_is_silent_for_three_seconds() -> None:
    standby = second()
    standby.heard(10.0)
    assert standby.turn(ASKS, SECOND, 10.0 + AWAY_SECONDS - 0.1) is Turn.THEIRS
    standby.offered(FIRST, ASKS.card, 10.0 + AWAY_SECONDS)  # late
    assert standby.turn(ASKS, SECOND, 10.0 + AWAY_SECONDS) is Turn.OURS
    standby.heard(20.0)
    assert standby.turn(ASKS, SECOND, 20.0) is Turn.THEIRS


@pytest.mark.parametrize("secs", [0, 4])
def test_a_pc_that_waits_or_asks_again_is_answered_if_the_first_server_is_silent(secs: int) -> None:
    standby, now = second(), 0.0
    asks = replace(ASKS, secs=secs)
    if secs == 0:  # firmware that never counts them up
        assert standby.turn(asks, SECOND, now) is Turn.THEIRS
        assert standby.turn(asks, SECOND, now + 0.1) is Turn.THEIRS, "the same, on another card"
        now += AGAIN_SECONDS
    assert standby.turn(asks, SECOND, now) is Turn.IF_SILENT
    assert not standby.was_answered(asks.card, now)
    standby.offered(FIRST, asks.card, now + 0.1)
    assert standby.was_answered(asks.card, now)
    assert not standby.was_answered(asks.card, now + 1)


def test_an_offer_of_the_first_server_ends_the_wait_of_a_pc() -> None:
    standby = second()
    assert standby.turn(ASKS, SECOND, 0.0) is Turn.THEIRS
    standby.offered(SECOND, ASKS.card, 0.1)
    standby.offered(FIRST, ASKS.card, 0.2)
    # its iPXE
    assert standby.turn(replace(ASKS, xid=8), SECOND, 2.0) is Turn.THEIRS
    assert standby.turn(replace(ASKS, xid=8), SECOND, 2.5) is Turn.IF_SILENT, (
        "at its second question"
    )


def test_a_request_is_of_the_server_that_it_names() -> None:
    standby = second()

    def request(chosen: IPv4Address) -> Packet:
        return replace(PC.request(replace(ASKS, options={54: chosen.packed})), secs=9)

    assert standby.turn(request(SECOND), SECOND, 0.0) is Turn.OURS
    assert standby.turn(request(FIRST), SECOND, 0.0) is Turn.THEIRS
    assert standby.turn(request(IPv4Address("10.0.0.3")), SECOND, 0.0) is Turn.THEIRS


def test_made_up_pcs_fill_no_memory() -> None:
    standby, most = second(), DHCP_STANDBY.in_total or 0
    for number in range(most + 10):
        card = number.to_bytes(6, "big").ljust(16, b"\0")
        packet = replace(ASKS, chaddr=card)
        standby.turn(packet, SECOND, 0.0)
        standby.offered(FIRST, packet.card, 0.0)
        standby.turn(packet, SECOND, 0.0)
    assert len(standby._asked) == len(standby._offered) == most


@pytest.mark.parametrize("is_answered", [False, True])
def test_the_server_waits_for_the_first_ones_answer(
    is_answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dhcp_server, "GRACE_SECONDS", 0.02)
    profile = Profile(boot=Boot(servers=SERVERS))

    async def scenario() -> None:
        standby, journal = Standby(SERVERS, time.monotonic()), Journal()
        ours, wire = server(profile, journal, standby=standby), Wire()
        ours._answer_all(wire.arrived(serialize(ASKS)))
        assert (wire.sent, journal.seats()) == ([], []), "no event: it is no seat of ours"
        ours._answer_all(wire.arrived(serialize(replace(ASKS, secs=4))))
        if is_answered:
            standby.offered(FIRST, ASKS.card, time.monotonic())
        await asyncio.sleep(0.05)
        assert wire.sent == ([] if is_answered else [MessageType.DHCPOFFER])
        assert bool(journal.seats()) is not is_answered

    asyncio.run(scenario())


def test_a_pc_that_asks_this_server_alone_is_answered() -> None:
    profile = Profile(boot=Boot(servers=SERVERS))
    ours = server(profile, Journal(), standby=Standby(SERVERS, time.monotonic()))
    played, wire = Asker(PROBE_MAC, BY_NAME["bios"]), Wire()
    ours._answer_all(wire.arrived(serialize(played.discover(1))))
    assert wire.sent == [MessageType.DHCPOFFER]
    (each,) = wire.arrived(serialize(ASKS))
    sent_to_us = Arrival(each.arrival.data, ("10.0.0.50", 68), ETH.index, SECOND.packed)
    ours._answer_all([replace(each, arrival=sent_to_us)])
    assert len(wire.sent) == 2
