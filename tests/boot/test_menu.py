"""The boot menu's entries, and its scripts: what iPXE reads, and what no script holds."""

import re
from ipaddress import IPv4Address

import pytest

from netboot.boot import ipxe, menu
from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.profile.menu import ENTRIES, Menu
from netboot.profile.profile import Profile

MAC = "52:54:00:12:34:56"
BASE = "http://10.0.0.1:8080"
HASH = "$y$j9T$yxb1aWl2o0rlAlPA9pWLP1$WsHwGj0tWcbeZkdAdYvLLPjXL0LyjwuRjKaEEFYH9l6"
OTHERS = {
    "Old server": "chain tftp://10.0.0.9/undionly.kpxe",
    "CD: Prüfung & Co; ${x} || #1 && more": "iso http://10.0.0.9/x.iso?a=1&b=2",
    "Debian installer": "linux http://10.0.0.9/linux http://10.0.0.9/initrd.gz priority=low",
}


def menu_of(**keys: object) -> Menu:
    return Menu.model_validate({"entries": list(ENTRIES), "others": OTHERS, **keys})


def plan_of(arch: str = "bios") -> BootPlan:
    profile = Profile()
    client = Client(MAC, BY_NAME[arch], Stage.IPXE)
    keys = SeatKeys("cafe" * 8, "beef" * 16)
    return boot_plan(profile, profile.seat_of(MAC), client, keys, server=IPv4Address("10.0.0.1"))


def test_each_kind_has_an_entry_with_an_id_of_its_own() -> None:
    entries = menu.entries_of(menu_of(), {"kiosk", "Desk.top"})
    assert [(entry.id, entry.kind) for entry in entries.values()] == [
        ("image-Desk.top", "image"),
        ("image-kiosk", "image"),
        ("rescue", "rescue"),
        ("local", "local"),
        ("memtest", "memtest"),
        ("old-server", "chain"),
        ("cd-prufung-co-x-1-more", "iso"),
        ("debian-installer", "linux"),
    ]
    assert {entry.kind for entry in entries.values()} == set(menu.KINDS), "one row each"


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("bios", True),
        ("uefi-x64", True),
        ("uefi-x64-http", True),
        ("uefi-ia32", False),
        ("uefi-arm64", False),
        ("uefi-arm64-http", False),
    ],
)
def test_a_memory_test_is_for_pcs_that_can_run_its_program(arch: str, expected: bool) -> None:
    entries = menu.entries_of(menu_of(), ())
    assert entries.pop("memtest").runs_on(BY_NAME[arch]) == expected
    assert all(entry.runs_on(BY_NAME[arch]) for entry in entries.values())


def test_a_title_is_a_text_that_ipxe_prints_as_it_is() -> None:
    assert menu.shown("Prüfung & Co; ${x} || #1 && more") == "Pruefung & Co? ??x? ?? ?1 + more"
    script = menu.render(menu_of(), menu.entries_of(menu_of(), ()).values(), plan_of(), BASE)
    (line,) = (line for line in script.splitlines() if line.startswith("item cd-"))
    assert line == "item cd-prufung-co-x-1-more CD: Pruefung & Co? ??x? ?? ?1 + more"


def test_the_menu_boots_as_usual_after_its_time_and_tells_the_server_the_choice() -> None:
    lines = menu.render(menu_of(timeout=45), (), plan_of(), BASE).splitlines()
    assert lines[:2] == ["#!ipxe", ":held"], "a key that is held down would end its time"
    assert "choose --timeout 45000 --default boot entry || set entry boot" in lines
    assert f"chain --replace --autofree {BASE}/menu/{MAC}/bios.ipxe?entry=${{entry}} ||" in lines
    usual = lines[lines.index(":usual") + 1]
    assert usual == f"chain --replace --autofree {BASE}/boot/{MAC}/bios.ipxe ||"


def test_a_usual_script_waits_for_the_key_only_if_there_is_a_menu() -> None:
    plain = ipxe.render(plan_of(), BASE)
    assert "prompt" not in plain and ":menu" not in plain
    offered = ipxe.render(plan_of(), BASE, offered=menu_of())
    added = [line for line in offered.splitlines() if line not in plain.splitlines()]
    assert added[0] == (
        "prompt --key m --timeout 300 netboot: hold m for the boot menu && goto menu ||"
    )
    assert ipxe.read(offered, MAC) == ipxe.read(plain, MAC), "the same boot"
    waits = ipxe.render(plan_of(), BASE, offered=menu_of(key="x", wait=5))
    assert "prompt --key x --timeout 5000 netboot: press x for the boot menu" in waits


def test_no_script_holds_the_password_or_its_hash() -> None:
    offered = menu_of(password=HASH)
    entries = menu.entries_of(offered, ())
    usual = ipxe.render(plan_of(), BASE, offered=offered)
    shown = menu.render(offered, entries.values(), plan_of(), BASE)
    asked = "http://netboot:${password:uristring}@10.0.0.1:8080/menu/"
    assert "login || goto retry" in usual.splitlines() and asked in usual and asked in shown
    for text in (usual, shown, repr(offered)):
        assert HASH not in text
    open_menu = ipxe.render(plan_of(), BASE, offered=menu_of())
    assert "login" not in open_menu and "${password" not in open_menu


@pytest.mark.parametrize("arch", ["bios", "uefi-x64"])
def test_an_entry_that_does_not_start_ends_in_the_usual_boot(arch: str) -> None:
    for entry in menu.entries_of(menu_of(), ()).values():
        if entry.is_own_linux:
            continue
        lines = menu.render_entry(entry, plan_of(arch), BASE).splitlines()
        targets = set(re.findall(r"goto (\w+)", "\n".join(lines)))
        assert all(f":{target}" in lines for target in targets)
        last = f"chain --replace --autofree {BASE}/menu/{MAC}/{arch}.ipxe?entry=boot ||"
        assert last in lines[lines.index(":failed") :]


@pytest.mark.parametrize(
    ("entry", "arch", "expected"),
    [
        ("local", "bios", ["sanboot --no-describe --drive 0x80 || goto failed"]),
        ("local", "uefi-x64", ["set netboot-leave 1", "exit 1"]),
        ("memtest", "bios", [f"kernel {BASE}/boot/memtest86.bin || goto failed"]),
        ("memtest", "uefi-x64-http", [f"kernel {BASE}/boot/memtest86.efi || goto failed"]),
        ("old-server", "bios", [f"chain --autofree {OTHERS['Old server'][6:]} || goto failed"]),
        (
            "cd-prufung-co-x-1-more",
            "bios",
            ["sanboot http://10.0.0.9/x.iso?a=1&b=2 || goto failed"],
        ),
        (
            "debian-installer",
            "uefi-x64",
            [
                "kernel http://10.0.0.9/linux initrd=initrd.gz priority=low || goto failed",
                "initrd http://10.0.0.9/initrd.gz || goto failed",
            ],
        ),
    ],
)
def test_the_lines_of_each_kind(entry: str, arch: str, expected: list[str]) -> None:
    found = menu.entries_of(menu_of(), ())[entry]
    lines = menu.render_entry(found, plan_of(arch), BASE).splitlines()
    assert [line for line in lines if line in expected] == expected


def test_a_script_that_gave_the_pc_back_to_its_firmware_is_not_fetched_again() -> None:
    leave = "isset ${netboot-leave} && exit 1 ||"
    chain = ipxe.render_chain("uefi-x64.ipxe", BASE).splitlines()
    assert chain[chain.index(leave) - 1].startswith("chain ")
    medium = ipxe.render_medium().splitlines()
    assert medium[medium.index(leave) - 1] == "autoboot ||"


@pytest.mark.parametrize(("url", "boots"), [("", "autoboot"), (BASE, "dhcp")])
def test_a_medium_for_a_tagged_port_boots_from_a_vlan_of_each_card(url: str, boots: str) -> None:
    lines = ipxe.render_medium(url, 10).splitlines()
    made = lines.index("vcreate --tag 10 net${card} ||")
    assert lines[made + 1].startswith(f"{boots} net${{card}}-10 ")
    assert "ifclose net${card}-10 ||" in lines
    assert not any("-10" in line for line in ipxe.render_medium(url).splitlines())


def test_an_image_and_a_rescue_shell_are_settings_of_the_seat() -> None:
    entries = menu.entries_of(menu_of(), {"kiosk"})
    seat = Profile().seat_of(MAC)
    changed = entries["image-kiosk"].settings(seat)
    assert (changed.root.kind, changed.root.image) == ("image", "kiosk")
    assert entries["rescue"].settings(seat).boot.arguments == "quiet netboot.rescue=1"
    assert entries["local"].settings(seat) is seat
