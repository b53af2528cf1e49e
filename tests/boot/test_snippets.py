"""What other DHCP servers are told: tests/serve/dhcp/test_other_servers.py asks real ones."""

import json
import re
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from netboot.boot import ipxe, snippets
from netboot.boot.arch import ARCHITECTURES, BY_NAME
from netboot.boot.plan import BootPlan, boot_plan
from netboot.errors import OperatorError
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot

SERVER = IPv4Address("10.0.0.1")
EVERY = Profile(boot=Boot(architectures=tuple(PROCESSORS)))
KNOWN = snippets.facts(EVERY, SERVER)

every_kind = pytest.mark.parametrize("kind", snippets.KINDS)


@every_kind
def test_a_snippet_begins_with_where_it_goes_and_names_the_server_and_each_file(kind: str) -> None:
    text = snippets.snippet(kind, KNOWN)
    row = snippets.KINDS[kind]
    lines = text.splitlines()
    assert lines[0] == f"{row.comment} For {row.title}."
    assert str(SERVER) in lines[1] and lines[1].startswith(f"{row.comment} ")
    assert len(lines[2]) > 20 and lines[2].startswith(f"{row.comment} ")
    assert all(len(line) <= 100 for line in lines if line.startswith(row.comment))
    for each in KNOWN.rows:
        if not (kind == "unifi" and each.by_http):
            assert each.file in text


@pytest.mark.parametrize("kind", ["dnsmasq", "kea", "isc"])
def test_a_server_reads_its_configuration_before_it_is_restarted(kind: str) -> None:
    text = snippets.snippet(kind, KNOWN)
    assert re.search(r" -(-test|t)\b.* && systemctl restart ", text)


def test_the_files_are_those_of_the_profile() -> None:
    files = {row.name: row.file for row in KNOWN.rows}
    assert set(files) == {row.name for row in ARCHITECTURES} - {"raspberry-pi"}
    assert files["bios"] == "undionly.kpxe"
    assert files["uefi-x64-http"] == "http://10.0.0.1:8080/boot/snponly.efi"
    native = EVERY.model_copy(update={"boot": Boot(loader="native")})
    files = {row.name: row.file for row in snippets.facts(native, SERVER).rows}
    assert (files["bios"], files["uefi-x64"]) == ("ipxe.pxe", "ipxe.efi")
    assert "uefi-arm64" not in files


def test_the_vendor_classes_are_those_of_firmware() -> None:
    classes = {row.name: row.vendor_class for row in KNOWN.rows}
    assert classes["uefi-x64"] == "PXEClient:Arch:00007"
    assert classes["uefi-x64-http"] == "HTTPClient:Arch:00016"


def test_keas_snippet_is_a_part_of_its_json() -> None:
    text = snippets.snippet("kea", KNOWN)
    found = json.loads("{" + re.sub(r"(?m)^//.*\n", "", text) + "}")
    assert [each["name"] for each in found["client-classes"]] == [
        *(f"netboot-{row.name}" for row in KNOWN.rows),
        "netboot-ipxe",
    ]


def test_an_unknown_kind_gets_the_nearest_one() -> None:
    with pytest.raises(OperatorError) as caught:
        snippets.snippet("dnsmask", KNOWN)
    assert "expected dnsmasq, kea, isc" in str(caught.value)
    assert caught.value.hint == "did you mean 'dnsmasq'?"


@pytest.mark.parametrize("file", ['a"b', "a b", "a,b", "a'b", "$(a)", "a;b", "a\n", "", "a" * 128])
def test_a_name_that_could_mean_something_else_is_refused(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*words: Any, **more: Any) -> BootPlan:
        return replace(boot_plan(*words, **more), bootfile=file)

    monkeypatch.setattr("netboot.boot.snippets.boot_plan", other)
    with pytest.raises(OperatorError, match="no plain name"):
        snippets.facts(EVERY, SERVER)


@pytest.mark.parametrize(
    ("name", "options", "sent"),
    [
        ("undionly.kpxe", {"blksize": "1432", "tsize": "0"}, "boot.ipxe"),  # iPXE
        ("/snponly.efi", {"blksize": "1432", "tsize": "0"}, "boot.ipxe"),
        (
            "snponly.efi",
            {"blksize": "1468", "tsize": "0", "windowsize": "4"},
            "snponly.efi",
        ),  # EDK2
        ("undionly.kpxe", {"blksize": "1456"}, "undionly.kpxe"),  # Intel's ROM
        ("undionly.kpxe", {}, "undionly.kpxe"),
        ("boot.ipxe", {"blksize": "1432", "tsize": "0"}, "boot.ipxe"),
        ("shimx64.efi", {"blksize": "1432", "tsize": "0"}, "shimx64.efi"),  # an iPXE may load it
    ],
)
def test_an_ipxe_that_asks_for_a_loader_gets_the_script(
    name: str, options: dict[str, str], sent: str
) -> None:
    assert snippets.instead_of_loader(name, options) == sent


def test_the_script_for_any_ipxe_asks_for_that_of_its_kind() -> None:
    text = ipxe.render_any("http://10.0.0.1:8080")
    assert text.startswith("#!ipxe\n")
    assert "chain --autofree http://10.0.0.1:8080/boot/${netX/mac}/${kind}.ipxe?" in text
    assert set(re.findall(r"set kind (\S+)", text)) <= set(BY_NAME)
