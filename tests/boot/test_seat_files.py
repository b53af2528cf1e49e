"""The files of a seat: what is in its archive, and what only root of the PC may read."""

import stat
from ipaddress import IPv4Address

import pytest

from netboot.boot import seat_files
from netboot.boot.host_key import host_key
from netboot.boot.seat_files import Facts
from netboot.profile.file import parse
from tests.support import newc

MAC = "52:54:00:12:34:56"
SERVER, SEAT = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.50")
HASH = "$y$j9T$yxb1aWl2o0rlAlPA9pWLP1$WsHwGj0tWcbeZkdAdYvLLPjXL0LyjwuRjKaEEFYH9l6"
HEADING = "# Made by the netboot server for this PC at its start.\n"
FULL = "dhcp: {mode: full, range: 10.0.0.50-10.0.0.99, dns: [10.0.0.2, 9.9.9.9], domain: school.example"

ROOM = f"""
seat: {{keyboard: de(nodeadkeys), locale: de_DE.UTF-8, timezone: Europe/Berlin}}
groups:
  row: {{match: "52:54:*", hostname: "row-{{tail}}", seat: {{start: kiosk, url: "http://10.0.0.1/?a='b"}}}}
clients:
  52:54:00:12:34:56: {{hostname: teacher, seat: {{printers: [10.0.0.5, "ipp://10.0.0.9/ipp/print"], accounts: {{anna: {HASH}}}}}}}
""".replace("?a='b", "?a=$b")


def members(text: str, *, address: IPv4Address = SEAT, **files: bytes) -> dict[str, newc.Member]:
    profile = parse(text, "f")
    facts = Facts(
        SERVER,
        address,
        host_key(b"s" * 32, MAC),
        {f"/{name.replace('__', '/')}": (content, False) for name, content in files.items()},
    )
    archive = seat_files.archive(profile.seat_of(MAC), profile.dhcp, facts)
    return {member.name: member for member in newc.members(archive)}


def texts(found: dict[str, newc.Member]) -> dict[str, str]:
    return {name: member.content.decode() for name, member in found.items()}


# All but the host key. HEADING stands in front of each but etc/timezone, the link and the lists.
GOLDEN = {
    "etc/X11/xorg.conf.d/00-keyboard.conf": (
        'Section "InputClass"\n\tIdentifier "keyboard of the profile"\n\tMatchIsKeyboard "on"\n'
        '\tOption "XkbLayout" "de"\n\tOption "XkbVariant" "nodeadkeys"\nEndSection\n'
    ),
    "etc/cups/client.conf": "ServerName 10.0.0.5\n",
    "etc/default/keyboard": (
        'XKBMODEL="pc105"\nXKBLAYOUT="de"\nXKBVARIANT="nodeadkeys"\nXKBOPTIONS=""\n'
    ),
    "etc/default/locale": "LANG=de_DE.UTF-8\n",
    "etc/hosts": (
        "127.0.0.1 localhost\n127.0.1.1 teacher\n::1 localhost ip6-localhost ip6-loopback\n"
        "10.0.0.1 netboot-server\n"
    ),
    "etc/locale.conf": "LANG=de_DE.UTF-8\n",
    "etc/netboot/seat.conf": (
        "SEAT_START='kiosk'\nSEAT_URL='http://10.0.0.1/?a=$b'\nSEAT_FINGERPRINT=''\n"
        "SEAT_KEYBOARD='de(nodeadkeys)'\n"
        "SEAT_LOCALE='de_DE.UTF-8'\nSEAT_TIMEZONE='Europe/Berlin'\nSEAT_LOGIN='guest'\n"
        "SEAT_HOME='none'\nSEAT_SCREEN='auto'\nSEAT_SERVER='10.0.0.1'\nSEAT_HOSTNAME='teacher'\n"
    ),
    "etc/vconsole.conf": "KEYMAP=de-nodeadkeys\nXKBLAYOUT=de\nXKBVARIANT=nodeadkeys\n",
}


def test_a_seat_has_these_files() -> None:
    found = members(ROOM)
    content = texts(found)
    assert {name: content[name] for name in GOLDEN} == {
        name: HEADING + text for name, text in GOLDEN.items()
    }
    assert content["etc/timezone"] == "Europe/Berlin\n"
    assert content["etc/localtime"] == "/usr/share/zoneinfo/Europe/Berlin"
    assert stat.S_ISLNK(found["etc/localtime"].mode)
    assert content["etc/netboot/printers"] == "ipp://10.0.0.9/ipp/print\n"
    assert content["etc/netboot/accounts"] == f"anna:{HASH}\n"
    others = {"etc/timezone", "etc/localtime", "etc/netboot/printers", "etc/netboot/accounts"}
    keys = {"etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub"}
    assert set(found) == {*GOLDEN, *others, *keys}, "no directory: they keep their modes"


def test_secrets_are_for_root_and_nothing_else_holds_one() -> None:
    found = members(ROOM)
    private = {name for name, member in found.items() if stat.S_IMODE(member.mode) == 0o600}
    assert private == {"etc/ssh/ssh_host_ed25519_key", "etc/netboot/accounts"}
    for name in set(found) - private:
        assert stat.S_IMODE(found[name].mode) in (0o644, 0o777)
        assert HASH.encode() not in found[name].content


def test_a_seat_without_settings_has_defaults() -> None:
    content = texts(members(""))
    assert content["etc/localtime"] == "/usr/share/zoneinfo/UTC"
    assert 'XKBLAYOUT="us"\nXKBVARIANT=""' in content["etc/default/keyboard"]
    assert "SEAT_URL=''\n" in content["etc/netboot/seat.conf"]
    assert "KEYMAP=us\n" in content["etc/vconsole.conf"]
    assert not {"etc/netboot/accounts", "etc/cups/client.conf", "etc/netboot/printers"} & set(
        content
    )


@pytest.mark.parametrize(
    ("room", "address", "expected"),
    [
        (f"{FULL}}}", SEAT, "search school.example\nnameserver 10.0.0.2\nnameserver 9.9.9.9\n"),
        (
            f"{FULL}, networks: {{10.9.0.0/24: {{range: 10.9.0.5-10.9.0.9, dns: 10.9.0.1}}}}}}",
            IPv4Address("10.9.0.7"),
            "search school.example\nnameserver 10.9.0.1\n",
        ),
        ("dhcp: {mode: full, range: 10.0.0.50-10.0.0.99, domain: a}", SEAT, None),
        ("dhcp: {dns: [10.0.0.2]}", SEAT, None),  # proxy mode: the lease of the LAN's server
    ],
)
def test_name_servers_are_those_that_dhcp_tells(
    room: str, address: IPv4Address, expected: str | None
) -> None:
    content = texts(members(room, address=address))
    assert content.get("etc/resolv.conf") == (None if expected is None else HEADING + expected)


def test_the_domain_of_full_mode_is_in_the_seats_own_name() -> None:
    assert (
        "127.0.1.1 pc-123456.school.example pc-123456\n" in texts(members(FULL + "}"))["etc/hosts"]
    )


@pytest.mark.parametrize(
    ("room", "servers"),
    [
        ("seat: {ntp: [ntp.example, 10.0.0.3]}", "ntp.example 10.0.0.3"),
        (f"{FULL}, ntp: 10.0.0.4}}", "10.0.0.4"),
        (f"{FULL}, ntp: 10.0.0.4}}\nseat: {{ntp: 10.0.0.3}}", "10.0.0.3"),
        ("dhcp: {ntp: 10.0.0.4}", None),
    ],
)
def test_time_servers(room: str, servers: str | None) -> None:
    content = texts(members(room)).get("etc/systemd/timesyncd.conf.d/netboot.conf")
    assert content == (None if servers is None else f"{HEADING}[Time]\nNTP={servers}\n")


def test_a_file_of_the_profile_replaces_ours() -> None:
    content = texts(members("", etc__hosts=b"1.2.3.4 a\n", opt__x=b"\0"))
    assert (content["etc/hosts"], content["opt/x"]) == ("1.2.3.4 a\n", "\0")
