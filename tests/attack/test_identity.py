"""Attacks on a seat by machines that know its MAC address, an old ticket, or its session.

Findings 1, 9, 11 and 13 of the review of 0.1.0: a DHCP answer, heard or asked for, opened the swap
of any seat. Each attack here is done as it was done then.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.boot import ticket
from netboot.boot.plan import image_export
from tests import ROOT
from tests.attack.lan import FAR, Lan, Machine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

VICTIM, ATTACKER = "52:54:99:00:00:10", "52:54:99:00:00:66"
ROOM = """
swap: {capacity: 64MiB, size: 16MiB}
root: {kind: nbd, image: IMAGE}
"""
RELAYED = """
interface: br0
swap: {capacity: 64MiB, size: 16MiB}
dhcp:
  mode: full
  range: 10.99.0.50-10.99.0.60
  networks:
    10.88.0.0/24: {range: 10.88.0.50-10.88.0.60, router: 10.88.0.1}
"""
RAM = "ram=16777216"
GRATUITOUS_ARP = r"""
import socket, time
sock, own, ip = socket.socket(17, 3), bytes.fromhex("525499000066"), bytes((10, 99, 0, 10))
sock.bind(("eth0", 0))
while True:
    sock.send(b"\xff" * 6 + own + bytes.fromhex("08060001080006040002") + own + ip + own + ip)
    time.sleep(0.02)
"""


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    (tmp_path / "root.squashfs").write_bytes(b"hsqs" + b"shadow" * 1000)
    lan = Lan(tmp_path, ROOM.replace("IMAGE", str(tmp_path / "root.squashfs")))
    try:
        lan.add("victim", VICTIM, "10.99.0.10")
        lan.add("attacker", ATTACKER, "10.99.0.66")
        lan.serve()
        yield lan
    finally:
        lan.end()


@pytest.fixture
def attacker(lan: Lan) -> Machine:
    return lan.machines["attacker"]


class Victim:
    """A PC that uses its swap."""

    def __init__(self, lan: Lan) -> None:
        self._machine = lan.machines["victim"]
        self._machine.ask("offered", VICTIM)
        self._seat = self._machine.start("tests.deploy.holder", "10.99.0.1", VICTIM)
        assert self._seat.stdout is not None and self._seat.stdout.readline() == "attached\n"

    def keeps_its_swap(self) -> bool:
        """Return True if the page is still what was written, some reads later."""
        time.sleep(0.2)
        said, _ = self._seat.communicate("", timeout=60)
        return self._seat.returncode == 0 and int(said.split()[0]) > 3


def boot(machine: Machine, mac: str) -> dict[str, str]:
    """Return the words of the command line that ``mac`` gets at this machine."""
    machine.ask("offered", mac)
    status, script = machine.ask("http", "GET", f"/boot/{mac}/bios.ipxe")
    assert status == 200, script
    return dict(re.findall(r"netboot\.(\w+)=(\S+)", script))


def doors(key: str) -> list[tuple[str, str]]:
    return [
        ("GET", f"/boot/{key}/bios.ipxe"),
        ("GET", f"/lease/{key}?{RAM}"),
        ("GET", f"/lease/{key}?{RAM}&fresh=1"),
        ("GET", f"/lease/{key}?{RAM}&area=2"),
        ("DELETE", f"/lease/{key}?area=1"),
        ("GET", f"/orders/{key}"),
        ("POST", f"/beacon/{key}/failed:images"),
    ]


def old_ticket(folder: Path) -> str:
    """Return the victim's ticket, which 0.1.0 broadcast."""
    return ticket.issue((folder / "state/secret").read_bytes(), VICTIM)


def test_a2_the_mac_address_of_a_pc_in_use_opens_nothing(
    lan: Lan, attacker: Machine, tmp_path: Path
) -> None:
    victim = Victim(lan)
    attacker.ask("offered", VICTIM)
    for key in (VICTIM, old_ticket(tmp_path)):
        for method, path in doors(key):
            status, text = attacker.ask("http", method, path)
            if key == VICTIM and not path.startswith("/boot/"):
                assert status == 404, "a MAC address names a boot file and nothing else"
                continue
            assert status == 403, (method, path, text)
            assert "which has the MAC address 52:54:99:00:00:66" in text
    for name in ("x86_64-efi.cfg", "i386-efi.cfg", "failed.cfg"):
        for key in (VICTIM, old_ticket(tmp_path)):
            assert attacker.ask("tftp", f"boot/{key}/{name}") == ""
    assert "525499000010" not in attacker.ask("tftp", "boot/x86_64-efi.cfg"), "its own"
    assert victim.keeps_its_swap()
    told = [message for stage, message in lan.events(VICTIM) if stage == "identity"]
    assert told == ["refused a request of 10.99.0.66, which has the MAC address 52:54:99:00:00:66"]
    assert not [stage for stage, _ in lan.events(VICTIM) if stage.startswith("failed:")]


def test_a3_a_broadcast_that_is_heard_opens_nothing(lan: Lan, attacker: Machine) -> None:
    """It says nothing but what the attacker is told itself: two bytes of each MAC address differ."""
    ear = subprocess.Popen(
        attacker.command("python3", "-m", "tests.attack.pc", "listen"),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ear.stderr is not None and ear.stderr.readline() == "listening\n"
    victim = Victim(lan)
    heard = bytes.fromhex(ear.communicate(timeout=60)[0].strip('"'))
    own = bytes.fromhex(attacker.ask("offered", ATTACKER))
    assert heard[28:34].hex(":") == VICTIM and own[28:34].hex(":") == ATTACKER
    assert (heard[:4], heard[8:28], heard[34:]) == (own[:4], own[8:28], own[34:])
    assert heard[108:236].rstrip(b"\0") == b"bios.ipxe"
    assert victim.keeps_its_swap()


def test_a7_strangers_learn_how_many_seats_there_are_and_nothing_else(
    lan: Lan, attacker: Machine, tmp_path: Path
) -> None:
    victim = Victim(lan)
    status, text = attacker.ask("http", "GET", "/status")
    assert status == 200 and json.loads(text).keys() == {"count", "cpu_seconds"}
    assert attacker.ask("http", "GET", f"/status/{VICTIM}")[0] == 403
    assert victim.keeps_its_swap()
    words = [sys.executable, "-m", "netboot", "status", "--server", "10.99.0.1:8080", "--state"]
    for machine, folder, expected in (
        (attacker, "nowhere", None),
        (attacker, "state", VICTIM),
        (lan.here, "nowhere", VICTIM),
    ):
        done = subprocess.run(
            machine.command(*words, str(tmp_path / folder)),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if expected is None:
            assert done.returncode == 2 and done.stdout == ""
            assert "with its secret" in done.stderr and "--state FOLDER" in done.stderr
        else:
            assert done.returncode == 0 and expected in done.stdout, done.stderr


def test_a_user_of_a_seat_that_runs_cannot_begin_a_boot_of_it(lan: Lan) -> None:
    """Its address is the seat's. But a user cannot send DHCP from the ports of firmware."""
    victim, pc = Victim(lan), lan.machines["victim"]
    for before in ((), ("ask67", VICTIM)):
        if before:
            pc.ask(*before, uid=65534)
        for path in ("bios.ipxe", f"{VICTIM}/bios.ipxe"):
            status, text = pc.ask("http", "GET", f"/boot/{path}", uid=65534)
            assert status == 403 and "this PC runs, and its firmware did not ask DHCP" in text
        assert pc.ask("tftp", "boot/x86_64-efi.cfg", uid=65534) == ""
        for method, path in doors(VICTIM)[1:]:
            assert pc.ask("http", method, path, uid=65534)[0] == 404
    assert victim.keeps_its_swap()


def test_a25_port_4011_opens_nothing_behind_a_router(lan: Lan, tmp_path: Path) -> None:
    far = lan.add_far("52:54:88:00:00:66")
    victim = Victim(lan)
    assert far.ask("ask4011", FAR, VICTIM, uid=65534) in ("", "bios.ipxe")
    for path in ("/boot/bios.ipxe", f"/boot/{VICTIM}/bios.ipxe"):
        status, text = far.ask("http", "GET", path)
        assert status == 403 and "behind a router that is not in dhcp.networks" in text
    for method, path in doors(old_ticket(tmp_path)):
        status, text = far.ask("http", method, path)
        assert status == 403 and "behind a router that is not in dhcp.networks" in text
    assert victim.keeps_its_swap()


def test_behind_a_relay_the_address_is_the_one_that_we_gave(lan: Lan) -> None:
    own, stranger = "52:54:88:00:00:10", "10.88.0.77"
    far = lan.add_far(own)
    lan.profile(RELAYED)
    lan.serve()
    given, file = lan.machines["router"].ask("relay", "10.88.0.1", own)
    for address, expected in ((stranger, 403), (given, 200)):
        far.run(f"ip address flush dev eth0; ip address add {address}/24 dev eth0")
        far.run("ip route replace default via 10.88.0.1")
        assert far.ask("http", "GET", f"/boot/{file}")[0] == expected
        if expected == 200:
            lan.serve()
            assert far.ask("http", "GET", f"/boot/{file}")[0] == 200, "from the lease file"


def test_the_seat_itself_boots_again(lan: Lan) -> None:
    victim = Victim(lan)
    assert victim.keeps_its_swap()
    assert Victim(lan).keeps_its_swap()


def test_a_stolen_ip_address_is_told(lan: Lan, attacker: Machine) -> None:
    victim = Victim(lan)
    attacker.run("ip address add 10.99.0.10/24 dev eth0")
    forger = subprocess.Popen(attacker.command("python3", "-c", GRATUITOUS_ARP))
    try:
        time.sleep(2)  # the kernel believes no change of an address within a second
        assert not victim.keeps_its_swap(), "its packets go to another machine: ARP is not ours"
        told = [message for stage, message in lan.events(VICTIM) if stage == "identity"]
    finally:
        forger.kill()
        forger.wait()
    assert told == [f"its address 10.99.0.10 had the MAC address {VICTIM}, and has {ATTACKER} now"]


def test_a_session_that_was_overheard_opens_nothing_for_another_seat(
    lan: Lan, attacker: Machine
) -> None:
    words = boot(lan.machines["victim"], VICTIM)
    boot(attacker, ATTACKER)  # so the attacker is a seat, as a PC of the room is
    for method, path in doors(words["ticket"]):
        assert attacker.ask("http", method, path)[0] == 403
    asked = lan.machines["victim"].ask("http", "GET", f"/lease/{words['ticket']}?{RAM}")
    assert asked == [200, "size=16777216\n"]


def test_linux_may_use_another_card_than_ipxe(lan: Lan) -> None:
    words = boot(lan.machines["victim"], VICTIM)
    dock = lan.add("dock", "52:54:99:00:00:11", "10.99.0.11")
    asked = dock.ask("http", "GET", f"/lease/{words['ticket']}?{RAM}")
    assert asked == [200, "size=16777216\n"]
    assert dock.ask("http", "POST", f"/beacon/{words['ticket']}/swap")[0] == 200


@pytest.mark.parametrize("end", [Lan.stop, Lan.kill], ids=["restart", "crash"])
def test_a_restart_between_script_and_lease_strands_nobody(lan: Lan, end: object) -> None:
    pc = lan.machines["victim"]
    words = boot(pc, VICTIM)
    assert callable(end)
    end(lan)
    lan.serve()
    assert pc.ask("http", "GET", f"/lease/{words['ticket']}?{RAM}") == [200, "size=16777216\n"]
    export = words["swap"].partition("/")[2]
    assert pc.ask("attach", f"{export}@{words['token']}.1") == ""
    image = words["image"].partition("/")[2]
    assert pc.ask("attach", f"{image}@{words['ticket']}") == ""


def test_a_pc_that_the_last_release_booted_goes_on(
    lan: Lan, attacker: Machine, tmp_path: Path
) -> None:
    """Its agent holds a ticket. It asks for a fresh lease, reports, and takes orders."""
    old = ticket.issue((tmp_path / "state/secret").read_bytes(), VICTIM)
    pc = lan.machines["victim"]
    status, text = pc.ask("http", "GET", f"/lease/{old}?{RAM}&fresh=1")
    granted = re.fullmatch(r"size=16777216 token=(\w+)\n", text)
    assert status == 200 and granted is not None
    assert pc.ask("attach", f"seat-525499000010@{granted[1]}.1") == ""
    assert pc.ask("http", "POST", f"/beacon/{old}/agent:renewed")[0] == 200
    refused = "refused=this boot began before the server was upgraded; boot again\n"
    assert pc.ask("http", "GET", f"/lease/{old}?{RAM}") == [200, refused]
    assert attacker.ask("http", "GET", f"/lease/{old}?{RAM}&fresh=1")[0] == 403
    image = image_export(str(tmp_path / "root.squashfs"))
    assert pc.ask("attach", f"{image}@{old}") == "", "it goes on reading its root"
    assert "no such export" in attacker.ask("attach", f"{image}@{old}")
    assert attacker.ask("tftp", f"boot/{old}/x86_64-efi.cfg") == ""


def test_a21_made_up_pcs_do_not_join_the_queue_for_downloads(attacker: Machine) -> None:
    for number in range(5):
        mac = f"02:00:00:00:00:{number:02x}"
        attacker.ask("offered", mac)
        assert attacker.ask("http", "GET", f"/boot/{mac}/bios.ipxe")[0] == 403


def test_a14_the_root_image_is_for_who_boots(lan: Lan, attacker: Machine) -> None:
    words = boot(lan.machines["victim"], VICTIM)
    image = words["image"].partition("/")[2]
    played = boot(attacker, "02:6e:62:73:00:01")["ticket"]
    own = boot(attacker, ATTACKER)["ticket"]
    for key in ("", VICTIM, ATTACKER, played, words["token"], words["ticket"]):
        assert "no such export" in attacker.ask("attach", f"{image}@{key}")
    assert attacker.ask("attach", f"{image}@{own}") == "", "it is a PC of the room as well"
    told = [message for stage, message in lan.events(VICTIM) if stage == "identity"]
    assert told == ["refused a request of 10.99.0.66, which has the MAC address 52:54:99:00:00:66"]
