"""What a PC is outlives a restart of its server."""

from dataclasses import replace

import pytest

from netboot.feed.records import Hardware
from netboot.panel import facts as module
from netboot.panel.facts import Facts
from tests.panel.feeding import MIB, a_seat, mac_of

WHOLE = replace(
    a_seat(1, 1000.0), hardware=Hardware(256 * MIB, "8086:100e", "e1000", "bios", "6.1.0")
)
# What a server that has just started knows: the agent's report.
BARE = replace(WHOLE, uuid="", hardware=Hardware(memory=205 * MIB))


def test_a_row_gets_what_it_lacks_and_a_new_boot_says_it_anew() -> None:
    facts = Facts()
    assert facts.complete(BARE) is BARE
    assert facts.complete(WHOLE) is WHOLE
    assert facts.complete(BARE) == WHOLE
    more = replace(WHOLE, hardware=replace(WHOLE.hardware, memory=512 * MIB, card="10ec:8168"))
    assert facts.complete(more) is more
    assert facts.complete(BARE) == more
    other = a_seat(2, 1000.0)
    assert facts.complete(other) is other


def test_what_the_history_tells_counts_too() -> None:
    facts = Facts()
    facts.learn(WHOLE.mac, WHOLE.uuid, WHOLE.hardware)
    assert facts.complete(replace(BARE, hardware=Hardware())) == WHOLE


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PCS", 2)
    facts = Facts()
    for number in (1, 2, 3):
        facts.learn(mac_of(number), "u", Hardware(memory=MIB))
    assert facts.complete(BARE) == BARE
    assert facts.complete(replace(BARE, mac=mac_of(3))).uuid == "u"
