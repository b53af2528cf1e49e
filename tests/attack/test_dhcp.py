"""Attacks on DHCP: an empty pool, another's address, reflection, a false rival, made-up PCs."""

import os
import pty
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.attack.wire import HONEST, LOADER, MACS, Wire, answer, serving
from tests.support.command import patient

pytestmark = [pytest.mark.root, pytest.mark.system]

FULL = "dhcp: {mode: full, range: 10.99.0.100-10.99.0.147}\n"  # 48 addresses


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path)
    yield wire
    wire.end()


def until(is_so: Callable[[], bool]) -> None:
    """Wait as firmware does, which asks again."""
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end


def test_declines_of_made_up_pcs_leave_addresses_for_a_real_one(wire: Wire) -> None:
    with serving(wire, FULL):
        assert wire.attacker.do("decline", "60") == 60
        assert wire.honest.do("lease", MACS["honest"]).startswith("10.99.0.1")


def test_leases_of_made_up_pcs_make_room_for_a_pc_of_the_profile(wire: Wire) -> None:
    """A PC that no profile names and that is on keeps its lease. Firmware asks again after 4 s."""
    profile = f"clients: {{'{MACS['honest']}': {{hostname: ann}}}}\n"
    with serving(wire, FULL.replace("147", "107") + profile):
        stranger = wire.attacker.do("lease", MACS["attacker"])
        wire.attacker.script(f"ip address add {stranger}/24 dev eth0")
        assert wire.attacker.do("take", "7", "20") == 7
        assert wire.attacker.do("take", "13", "0.5", "7") == 0
        assert wire.honest.do("discover", MACS["honest"]) == ""
        until(lambda: wire.honest.do("discover", MACS["honest"]) != "")
        address = wire.honest.do("lease", MACS["honest"])
        assert address and address != stranger
        assert wire.attacker.do("discover", "02:dd:00:00:00:01") == "", "strangers wait"
        assert wire.attacker.do("lease", MACS["attacker"]) == stranger


def test_a_false_release_gives_no_address_away(wire: Wire) -> None:
    """The victim answers ARP for its address. All other addresses are taken."""
    with serving(wire, FULL.replace("147", "100")):
        address = wire.honest.do("lease", MACS["honest"])
        assert address == "10.99.0.100"
        wire.honest.script(f"ip address add {address}/24 dev eth0")
        wire.attacker.do("release_of", MACS["honest"], address)
        time.sleep(4)
        assert wire.attacker.do("discover", "02:dd:00:00:00:01") == ""
        wire.honest.script(f"ip address del {address}/24 dev eth0")
        wire.honest.do("release_of", MACS["honest"], address)
        until(lambda: wire.attacker.do("discover", "02:dd:00:00:00:01") == address)


def test_no_answer_goes_to_an_address_that_a_packet_names(wire: Wire) -> None:
    with serving(wire, ""):
        router = [wire.attacker.start("received", "2", "8.8.8.8", port) for port in ("67", "68")]
        wire.attacker.do("relayed", "8.8.8.8")
        assert [answer(each) for each in router] == [[], []]
        near = wire.honest.start("received", "2", HONEST, "67", "60")
        wire.attacker.do("relayed", HONEST)
        assert len(answer(near)) == 1, "a relay of our own network is answered"


def test_port_4011_answers_firmware_and_no_other_program(wire: Wire) -> None:
    with serving(wire, ""):
        assert wire.attacker.do("ask_4011", "4011", "60") > 0
        assert wire.attacker.do("ask_4011", "68", "60") > 0
        assert wire.attacker.do("ask_4011", "5000", "1") == 0
        assert wire.attacker.do("ask_4011", "0", "1") == 0


def test_a_false_rival_keeps_no_service_from_starting(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("INVOCATION_ID", "0123")
    rival = wire.attacker.start("rival")
    with serving(wire, "") as server:
        assert wire.honest.do("tftp", LOADER, "60") > 0
        server.terminate()
        _, warnings = server.communicate(timeout=60)
        assert warnings.count("a second proxyDHCP server, 10.99.0.66") == 1
    ours, theirs = pty.openpty()
    command = patient(wire.netboot(""))
    by_hand = subprocess.run(
        command, cwd=ROOT, stdin=theirs, capture_output=True, timeout=60, check=False
    )
    os.close(ours)
    os.close(theirs)
    assert by_hand.returncode == 2
    rival.terminate()
    assert answer(rival) >= 2


@pytest.mark.parametrize("named", [False, True], ids=["stranger", "profile"])
def test_made_up_pcs_do_not_delay_a_real_download(wire: Wire, named: bool) -> None:
    profile = f"clients: {{'{MACS['honest']}': {{hostname: ann}}}}\n" if named else ""
    with serving(wire, profile):
        assert wire.attacker.do("made_up", "300") == 300
        waited = wire.honest.do("turn", MACS["honest"], "60")
    assert 0 <= waited < (1 if named else 6.5), waited
