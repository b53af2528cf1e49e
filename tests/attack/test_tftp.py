"""Attacks on TFTP: all places taken, and a false sender whose address gets the packets."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.wire import HONEST, LOADER, PLACES, Wire, answer, serving

pytestmark = [pytest.mark.root, pytest.mark.system]

FRAME = 14  # bytes of an Ethernet header
SHORT = f"0001{b'undionly.kpxe'.hex()}00{b'octet'.hex()}00"
OPTIONS = SHORT + b"blksize\x001456\0tsize\x000\0windowsize\x0016\0".hex()


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path)
    yield wire
    wire.end()


@pytest.mark.parametrize("rate", ["40", "400"])
def test_silent_strangers_keep_no_boot_rom_waiting(wire: Wire, rate: str) -> None:
    with serving(wire, ""):
        flood = wire.attacker.start("tftp_flood", rate, "8")
        for _ in range(3):
            time.sleep(1)
            assert wire.honest.do("tftp", LOADER, "60", "20") == 1, "its first request has a place"
        assert answer(flood) > PLACES


@pytest.mark.parametrize(("request_", "most"), [(SHORT, 1), (OPTIONS, 3)], ids=["plain", "options"])
def test_a_false_senders_victim_gets_little(wire: Wire, request_: str, most: int) -> None:
    with serving(wire, ""):
        wire.honest.do("tftp", LOADER, "60")  # the server knows the victim's card
        victim = wire.honest.start("received", "5", HONEST, "7777", "60")
        asked = wire.attacker.do("tftp_as", HONEST, "7777", request_)
        got = answer(victim)
    assert 1 <= len(got) <= most
    assert sum(FRAME + each for each in got) <= 10 * (FRAME + asked)


def test_a_far_address_gets_nothing(wire: Wire) -> None:
    with serving(wire, ""):
        router = wire.attacker.start("received", "2", "8.8.8.8", "7777")
        wire.attacker.do("tftp_as", "8.8.8.8", "7777", SHORT)
        assert answer(router) == []
        assert wire.honest.do("tftp", LOADER, "60") > 0
