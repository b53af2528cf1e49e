"""Wake-on-LAN, heard on loopback."""

import socket
from ipaddress import IPv4Address

import pytest

from netboot.host import wake

MAC = "00:1e:37:aa:bb:cc"


def test_the_magic_packet() -> None:
    assert wake.magic_packet(MAC) == b"\xff" * 6 + bytes.fromhex("001e37aabbcc") * 16


def test_it_is_sent_several_times_from_the_address_that_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(60)
        monkeypatch.setattr(wake, "DISCARD_PORT", heard.getsockname()[1])
        with wake.open_socket(IPv4Address("127.0.0.3")) as sock:
            wake.send(sock, MAC, "127.0.0.1")
        for _ in range(wake.REPEATS):
            packet, (source, _) = heard.recvfrom(2000)
            assert packet == wake.magic_packet(MAC) and source == "127.0.0.3"


def test_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        wake.open_socket(IPv4Address("203.0.113.1"))
