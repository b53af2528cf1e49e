"""A signed image's command line, and the words that it gets."""

from ipaddress import IPv4Address

import pytest

from netboot.boot import own_image
from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.plan import HashTree, SeatKeys, boot_plan
from netboot.errors import OperatorError
from netboot.profile.file import parse

MAC = "52:54:00:12:34:56"
SERVER = IPv4Address("10.0.0.1")
NONCE = "0123456789abcdef" * 2


def words(text: str) -> list[str]:
    profile = parse(text, "room.yaml")
    client = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    keys = SeatKeys("token", "session")
    trees = {"/srv/root.img": HashTree(7, "ab" * 32)}
    plan = boot_plan(profile, profile.seat_of(MAC), client, keys, server=SERVER, trees=trees)
    return own_image.seat_words(plan, "cd" * 32).split()


def test_the_words_name_the_digests_of_all_that_follows() -> None:
    found = words("root: {kind: nbd, image: /srv/root.img}")
    assert f"netboot.verify=yes,7:{'ab' * 32}" in found, "auto would let a PC go on without"
    assert f"netboot.files={'cd' * 32}" in found
    assert {"netboot.ticket=session", "netboot.token=token"} <= set(found)
    assert not [word for word in words("{}") if "verify" in word]


def test_a_command_line_has_no_seat_and_the_operators_words_do_not_replace_ours() -> None:
    text = "boot: {arguments: 'console=ttyS0 netboot.server=http://10.9.9.9:80'}"
    profile = parse(text, "room.yaml")
    line = own_image.command_line(profile, SERVER, "d1")
    assert line.split()[-2:] == ["netboot.server=http://10.0.0.1:8080", "netboot.secure=d1"]
    assert "console=ttyS0" in line and "ticket" not in line


def test_an_operator_can_have_linux_test_its_ciphers() -> None:
    profile = parse("boot: {arguments: cryptomgr.notests=0}", "room.yaml")
    client = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    plan = boot_plan(
        profile, profile.seat_of(MAC), client, SeatKeys("token", "session"), server=SERVER
    )
    image = own_image.command_line(profile, SERVER, "d1").split()
    for line in (list(plan.arguments), image):
        assert [word for word in line if word.startswith("cryptomgr.")] == [
            "cryptomgr.notests=1",
            "cryptomgr.notests=0",
        ], "of equal words the last one counts"


def test_two_boot_servers_are_both_named() -> None:
    profile = parse("boot: {servers: [10.0.0.2, 10.0.0.1]}\ninterface: eth0", "room.yaml")
    line = own_image.command_line(profile, SERVER, "d1")
    assert "netboot.server=http://10.0.0.1,10.0.0.2:8080 " in line


def test_too_many_words_are_told() -> None:
    profile = parse(f"boot: {{arguments: {'x' * 1990}}}", "room.yaml")
    with pytest.raises(OperatorError, match="too long for a signed image: 20[0-9]{2} characters"):
        own_image.command_line(profile, SERVER, "d1")


def test_each_part_of_an_image_changes_its_digest() -> None:
    parts = (b"stub", b"kernel", b"initrd")
    made = {
        own_image.identity(parts, "quiet"),
        own_image.identity(parts, "loud"),
        own_image.identity((b"stubk", b"ernel", b"initrd"), "quiet"),
        own_image.identity((*parts, b""), "quiet"),
    }
    assert len(made) == 4 and own_image.identity(parts, "quiet") in made
    assert {len(each) for each in made} == {32}


def test_what_is_signed_has_the_question_in_it() -> None:
    assert own_image.document(NONCE, MAC, "d1", "a=b c=d").decode().splitlines() == [
        "netboot words 1",
        NONCE,
        MAC,
        "d1",
        "a=b c=d",
    ]


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "G" * 32, "\n" * 32, "A" * 32])
def test_other_numbers_are_none(text: str) -> None:
    assert own_image.is_nonce(NONCE) and not own_image.is_nonce(text)
