"""Attacks by one PC that has many addresses, or names many PCs: each limit is for one machine."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.attack.lan import Lan, Machine
from tests.attack.test_identity import ATTACKER, RAM, VICTIM, boot

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

ROOM = f"""
interface: br0
swap: {{capacity: 64MiB, size: 16MiB}}
root: {{kind: nbd, image: IMAGE}}
clients: {{"{VICTIM}": {{}}}}
"""


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    (tmp_path / "root.squashfs").write_bytes(b"hsqs" + b"shadow" * 1000)
    (tmp_path / "undionly.kpxe").write_bytes(bytes(100_000))
    lan = Lan(tmp_path, ROOM.replace("IMAGE", str(tmp_path / "root.squashfs")))
    try:
        lan.add("victim", VICTIM, "10.99.0.10")
        attacker = lan.add("attacker", ATTACKER, "10.99.0.66")
        attacker.run("for n in $(seq 100 249); do ip address add 10.99.0.$n/24 dev eth0; done")
        lan.serve()
        yield lan
    finally:
        lan.end()


@contextmanager
def crowd(machine: Machine, *words: str) -> Iterator[int]:
    """Yield how many the attacker holds, while it holds them."""
    process = machine.start("tests.attack.crowd", *words)
    assert process.stdout is not None and process.stdin is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate()


def attaches(machine: Machine, mac: str) -> str:
    """Boot, and attach the swap. Return the reason of a refusal, or an empty text."""
    words = boot(machine, mac)
    status, text = machine.ask("http", "GET", f"/lease/{words['ticket']}?{RAM}")
    if (status, text) != (200, "size=16777216\n"):
        return str(text)
    export = words["swap"].partition("/")[2]
    return str(machine.ask("attach", f"{export}@{words['token']}.1"))


def test_images_held_from_many_addresses_leave_room_for_swap(lan: Lan) -> None:
    attacker, victim = lan.machines["attacker"], lan.machines["victim"]
    words = boot(attacker, ATTACKER)
    image = words["image"].partition("/")[2]
    with crowd(attacker, "images", f"{image}@{words['ticket']}", "120", "100", "103") as held:
        assert held == 16, "of 480 that it wanted"
        assert attaches(victim, VICTIM) == ""


def test_images_held_by_15_made_up_pcs_make_room_for_a_seats_root(lan: Lan) -> None:
    victim = lan.machines["victim"]
    with ExitStack() as held:
        for number in range(15):
            mac, address = f"02:ee:00:00:00:{number:02x}", f"10.99.0.{20 + number}"
            words = boot(machine := lan.add(f"made-up {number}", mac, address), mac)
            image = f"{words['image'].partition('/')[2]}@{words['ticket']}"
            last = str(20 + number)
            assert held.enter_context(crowd(machine, "images", image, "16", last, last)) == 16
        words = boot(victim, VICTIM)
        image = words["image"].partition("/")[2]
        for _ in range(2):
            assert victim.ask("attach", f"{image}@{words['ticket']}") == ""


def test_handshakes_of_many_addresses_are_those_of_one_machine(lan: Lan) -> None:
    attacker, victim = lan.machines["attacker"], lan.machines["victim"]
    with crowd(attacker, "handshakes", "4", "100", "149") as held:
        assert held <= 16, "of 200"
        assert attaches(victim, VICTIM) == ""


def test_transfers_to_many_addresses_leave_room_for_others(lan: Lan) -> None:
    attacker, victim = lan.machines["attacker"], lan.machines["victim"]
    with crowd(attacker, "transfers", "undionly.kpxe", "16", "100", "129") as held:
        assert held >= 240, "half of all places"
        victim.run(
            "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
            "s.settimeout(60); "
            's.sendto(b"\\0\\1undionly.kpxe\\0octet\\0", ("10.99.0.1", 69)); s.recv(600)\''
        )


def test_questions_in_a_seats_name_keep_its_history(lan: Lan) -> None:
    attacker, victim = lan.machines["attacker"], lan.machines["victim"]
    assert attaches(victim, VICTIM) == ""
    before = lan.events(VICTIM)
    with crowd(attacker, "names", VICTIM, "300"):
        after = lan.events(VICTIM)
    stages = {stage for stage, _ in before} - {"dhcp"}
    assert stages <= {stage for stage, _ in after}
