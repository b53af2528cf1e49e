"""One table for each kind of value: accepted notations with their values, and refused ones."""

from pathlib import Path
from typing import Any

import pytest

from netboot.errors import OperatorError
from netboot.profile.arguments import parse_endpoint, parse_exports, parse_images
from netboot.profile.reading import Text, Unreadable
from netboot.profile.values import (
    ADDRESS,
    BOOLEAN,
    BOOLEAN_OR_AUTO,
    HOST_ADDRESS,
    HOSTNAME,
    HOSTNAME_PATTERN,
    MAC,
    MAC_PATTERN,
    SIZE,
    bit_rate,
    duration,
    integer,
    rate,
)

PORT = integer(1, 65535)
LEASE = duration("1m", "365d", "12h")
RATE = rate("4MiB", "20MiB/s")
BIT_RATE = bit_rate("1Mbit", "400Gbit", "1Gbit")
LOWER = "52:54:00:ab:cd:ef"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SIZE, "0", 0),
        (SIZE, "4096", 4096),
        (SIZE, "512MiB", 512 << 20),
        (SIZE, " 1.5 GiB ", 3 << 29),
        (SIZE, "2g", 2 << 30),
        (SIZE, "3TiB", 3 << 40),
        (LEASE, "90s", 90),
        (LEASE, "90", 90),
        (LEASE, "12h", 43200),
        (LEASE, "365 d", 365 * 86400),
        (RATE, "20MiB/s", 20 << 20),
        (BIT_RATE, "1Gbit", 125_000_000),
        (BIT_RATE, "2.5 gbit/s", 312_500_000),
        (BIT_RATE, "none", None),
        (RATE, "4 m / s", 4 << 20),
        (RATE, "None", None),
        (PORT, "1", 1),
        (PORT, "65535", 65535),
        (BOOLEAN, "On", True),
        (BOOLEAN, "no", False),
        (BOOLEAN_OR_AUTO, "no", False),
        (BOOLEAN_OR_AUTO, "Yes", True),
        (BOOLEAN_OR_AUTO, "Auto", None),
        (MAC, "52:54:00:AB:cd:ef", LOWER),
        (MAC, "52-54-00-ab-cd-ef", LOWER),
        (MAC, "5254.00ab.cdef", LOWER),
        (MAC, "525400ABCDEF", LOWER),
        (MAC_PATTERN, "525400ABCDEF", LOWER),
        (MAC_PATTERN, "52-54-0*", "52:54:0*"),
        (MAC_PATTERN, "AB:*", "ab:*"),
        (MAC_PATTERN, "52:54*", "52:54*"),
        (MAC_PATTERN, "*", "*"),
        (HOSTNAME, "PC-07", "PC-07"),
        (HOSTNAME, "a" * 63, "a" * 63),
        (HOSTNAME_PATTERN, "{tail}-x", "{tail}-x"),
    ],
)
def test_reads(kind: Text[Any], text: str, value: object) -> None:
    assert kind.parse(text) == kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "nearest"),
    [
        (SIZE, "1GB", "1GiB"),
        (SIZE, "1.5mb", "1.5MiB"),
        (SIZE, "1.5", ""),
        (SIZE, "1B", ""),
        (SIZE, "-1", ""),
        (SIZE, "0x10", ""),
        (SIZE, "1e9", ""),
        (SIZE, "1_000", ""),
        (SIZE, "0755", ""),
        (SIZE, "１KiB", ""),
        (SIZE, "1\u212aiB", ""),  # the Kelvin sign
        (SIZE, "99999999TiB", ""),
        (SIZE, "9" * 5000, ""),
        (RATE, "20MiB", "20MiB/s"),
        (RATE, "20MB/s", "20MiB/s"),
        (RATE, "1MiB/s", ""),
        (BIT_RATE, "1000", "1000Mbit"),
        (BIT_RATE, "10G", "10Gbit"),
        (BIT_RATE, "1GB/s", ""),
        (BIT_RATE, "500Gbit", ""),
        (RATE, "160Mbit/s", ""),
        (RATE, "0", ""),
        (LEASE, "59s", ""),
        (LEASE, "366d", ""),
        (LEASE, "12:00", ""),
        (LEASE, "1.5h", ""),
        (PORT, "0", ""),
        (PORT, "65536", ""),
        (PORT, "+1", ""),
        (PORT, "1.0", ""),
        (BOOLEAN, "1", ""),
        (BOOLEAN_OR_AUTO, "ture", "true"),
        (BOOLEAN, "y", "yes"),
        (BOOLEAN, "ture", "true"),
        (MAC, "52:54:00-ab:cd:ef", ""),
        (MAC, "52:54:00:ab:cd", ""),
        (MAC, "5254.00ab.cdeg", ""),
        (MAC, "", ""),
        (MAC_PATTERN, "5254*", ""),
        (MAC_PATTERN, "52:*:00", ""),
        (MAC_PATTERN, "52:54:00:ab:cd:ef*", ""),
        (HOSTNAME, "lab.pc", "lab-pc"),
        (HOSTNAME, "-a", "a"),
        (HOSTNAME, "a" * 64, "a" * 63),
        (HOSTNAME, "ä", "a"),
        (HOSTNAME, "語", ""),
        (HOSTNAME_PATTERN, "{mac}", "mac"),
        (HOSTNAME_PATTERN, "a" * 60 + "{tail}", "a" * 60 + "000"),
    ],
)
def test_refuses(kind: Text[Any], text: str, nearest: str) -> None:
    with pytest.raises(Unreadable) as caught:
        kind.parse(text)
    assert caught.value.nearest == nearest
    assert str(caught.value) == f"expected {kind.expected}"


@pytest.mark.parametrize("value", [None, [], {}])
def test_containers_are_refused_and_typed_values_pass(value: object) -> None:
    with pytest.raises(Unreadable):
        PORT.read(value)
    assert PORT.read(80) == 80


def test_exports_and_endpoints_of_the_command_line() -> None:
    assert parse_exports(["a=b=1GiB", "c=0"]) == {"a=b": 1 << 30, "c": 0}
    assert parse_endpoint("127.0.0.1:10809") == ("127.0.0.1", 10809)
    assert parse_endpoint("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("1GiB", "export '1GiB': expected NAME=SIZE such as scratch=1GiB", ""),
        ("x" * 5000, f"export '{'x' * 57}...': expected NAME=SIZE such as scratch=1GiB", ""),
        ("a=1GB", f"export 'a=1GB': expected {SIZE.expected}", "did you mean 'a=1GiB'?"),
    ],
)
def test_export_is_refused(text: str, line: str, hint: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_exports([text])
    assert (str(caught.value), caught.value.hint) == (line, hint)


@pytest.mark.parametrize("text", ["root", "=/root.img", "root=", "root=a\0b"])
def test_image_is_refused(text: str) -> None:
    assert parse_images(["root=/a=b"]) == {"root": Path("/a=b")}
    with pytest.raises(OperatorError, match="^image '.*': expected NAME=FILE"):
        parse_images([text])


@pytest.mark.parametrize("text", ["10809", ":1", "host:", "host:65536", "::1", "a..b:80"])
def test_endpoint_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="^address '.*': expected "):
        parse_endpoint(text)


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_addresses_that_no_pc_can_use_are_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="an IPv4 address that PCs can reach"):
        HOST_ADDRESS.parse(text)
    assert str(ADDRESS.parse(text)) == text


@pytest.mark.parametrize("text", ["00:00:00:00:00:00", "000000000000", "0000.0000.0000"])
def test_a_mac_address_of_zeros_is_refused(text: str) -> None:
    for kind in (MAC, MAC_PATTERN):
        with pytest.raises(Unreadable, match="not zeros alone"):
            kind.parse(text)
