"""Plans and scripts: the files that a PC loads, and that secrets stay secret."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from netboot.boot import ipxe, ticket
from netboot.boot.arch import ARCHITECTURES, BY_NAME, Architecture, Firmware, is_grub
from netboot.boot.client import Client, Stage
from netboot.boot.memory import Shortage
from netboot.boot.plan import (
    BootPlan,
    HashTree,
    RootVersion,
    RootVersions,
    SeatKeys,
    boot_plan,
    image_export,
    no_root_version,
    verified_export,
)
from netboot.profile.fields import SwapSize
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot, Root, Swap

MAC = "52:54:00:12:34:56"
SECRET = b"s" * 32
KEYS = SeatKeys(
    token="cafe" * 8,
    session=ticket.begin(SECRET, MAC, b"nonce!", 1e9),
)
SERVER = IPv4Address("10.0.0.1")
BIOS = BY_NAME["bios"]


def plan_of(
    profile: Profile,
    stage: Stage = Stage.IPXE,
    arch: Architecture = BIOS,
    initrds: tuple[str, ...] = (),
    trees: Mapping[str, HashTree] = MappingProxyType({}),
    versions: RootVersions = no_root_version,
) -> BootPlan:
    client = Client(MAC, arch, stage)
    return boot_plan(
        profile,
        profile.seat_of(client.mac),
        client,
        KEYS,
        server=SERVER,
        initrds=initrds,
        trees=trees,
        versions=versions,
    )


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda row: row.name)
def test_firmware_gets_its_loader_and_ipxe_a_script_of_its_seat(arch: Architecture) -> None:
    loader = plan_of(Profile(), Stage.FIRMWARE, arch).bootfile
    by_http = arch.firmware is Firmware.UEFI_HTTP
    path = arch.loader
    if by_http or is_grub(path):
        path = f"boot/{path}"
    assert loader == (f"http://{SERVER}:8080/{path}" if by_http else path)
    assert len(loader) < 128, "the DHCP header's file field"
    plan = plan_of(Profile(), Stage.IPXE, arch)
    assert plan.bootfile == f"{arch.name}.ipxe"
    assert plan.script_path == f"boot/{MAC}/{arch.name}.ipxe"
    assert len(plan.bootfile) < 128, "the DHCP header's file field"


def test_the_script_names_every_file_and_the_swap_of_the_seat() -> None:
    text = ipxe.render(plan_of(Profile(), initrds=("load.img",)), "http://10.0.0.1:8080")
    lines = text.splitlines()
    assert lines[0] == "#!ipxe"
    base = f"http://netboot:{KEYS.session}@10.0.0.1:8080/boot/own"
    kernel = next(line for line in lines if line.startswith("kernel "))
    assert kernel.startswith(f"kernel {base}/amd64/vmlinuz initrd=initramfs.img initrd=load.img ")
    assert f"initrd {base}/amd64/initramfs.img || goto failed" in lines
    assert f"initrd {base}/load.img || goto failed" in lines
    for word in (
        "ip=${ip}::${gateway}:${netmask}:pc-123456::off",
        "BOOTIF=01-${mac:hexhyp}",
        "netboot.swap=10.0.0.1:10809/seat-525400123456",
        f"netboot.token={KEYS.token}",
        f"netboot.ticket={KEYS.session}",
    ):
        assert word in kernel.split()


def test_no_answer_of_dhcp_holds_a_secret_or_the_name_of_a_seat() -> None:
    """Another DHCP server can name the same files."""
    for arch in ARCHITECTURES:
        for stage in Stage:
            for attempt in range(4):
                client = Client(MAC, arch, stage)
                plan = boot_plan(
                    Profile(), Profile().seat_of(MAC), client, KEYS, server=SERVER, attempt=attempt
                )
                other = replace(client, mac="52:54:00:00:00:01")
                seat = Profile().seat_of(other.mac)
                assert (
                    plan.bootfile
                    == boot_plan(
                        Profile(), seat, other, SeatKeys(), server=SERVER, attempt=attempt
                    ).bootfile
                )


def test_the_chain_script_is_the_same_for_all_and_ipxe_names_its_card_in_it() -> None:
    text = ipxe.render_chain("bios.ipxe", "http://10.0.0.1:8080")
    url = "http://10.0.0.1:8080/boot/${netX/mac}/bios.ipxe"
    memory = ".".join(f"${{smbios/{number}.17.12.2:hexraw}}" for number in range(8))
    assert f"chain --autofree {url}?modules={memory} ||" in text
    read = ipxe.read(text, "52:54:00:00:00:07")
    assert read == ipxe.Chain(url.replace("${netX/mac}", "52:54:00:00:00:07"))


def test_a_pc_with_too_little_ram_says_so_before_its_screen_goes_dark() -> None:
    plan, url = plan_of(Profile()), "http://10.0.0.1:8080"
    lines = ipxe.render(plan, url, Shortage(64, 96)).splitlines()
    said = "echo netboot: TOO LITTLE RAM: this PC has 64 MiB of RAM, and needs 96 MiB to boot"
    assert lines.index(said) < lines.index(":retry"), "once"
    assert lines[lines.index(":retry") - 1] == "sleep 30 ||"
    assert "RAM" not in ipxe.render(plan, url)


def test_without_swap_no_token_is_given() -> None:
    profile = Profile(swap=Swap(size=SwapSize(bytes=0)))
    assert KEYS.token not in ipxe.render(plan_of(profile), "http://10.0.0.1:8080")


def test_a_pc_tags_its_frames_only_if_the_profile_says_so() -> None:
    assert not any("vlan" in word for word in plan_of(Profile()).arguments)
    boot = {"vlan": 10}
    assert "netboot.vlan=10" in plan_of(Profile.model_validate({"boot": boot})).arguments
    one = Profile.model_validate({"boot": boot, "clients": {MAC: {"boot": {"vlan": "none"}}}})
    assert not any("vlan" in word for word in plan_of(one).arguments)


def test_further_areas_are_asked_for_only_if_the_profile_says_so() -> None:
    assert not any("grow" in word for word in plan_of(Profile()).arguments)
    assert "netboot.grow=3" in plan_of(Profile(swap=Swap(grow=3))).arguments


def swap_words(layout: str, mac: str = MAC) -> dict[str, str]:
    others = tuple(
        IPv4Address(f"10.0.0.{last}") for last in (2, 3, 4)[: 2 if layout == "mirror" else 3]
    )
    swap = Swap.model_validate({"servers": others, "layout": layout})
    profile, client = Profile(swap=swap), Client(mac, BIOS, Stage.IPXE)
    plan = boot_plan(profile, profile.seat_of(mac), client, KEYS, server=SERVER)
    return dict(word.split("=", 1) for word in plan.arguments if word.startswith("netboot."))


@pytest.mark.parametrize(
    ("layout", "hosts"), [("stripe", "10.0.0.2,10.0.0.3,10.0.0.4"), ("mirror", "10.0.0.2,10.0.0.3")]
)
def test_further_page_servers_are_named_and_grant_tokens_of_their_own(
    layout: str, hosts: str
) -> None:
    words = swap_words(layout)
    assert words["netboot.swap"] == f"{hosts}:10809/seat-525400123456"
    assert words["netboot.layout"] == layout
    assert words["netboot.server"] == "http://10.0.0.1:8080"
    assert "netboot.token" not in words


def test_with_two_boot_servers_the_seat_takes_its_token_with_its_lease() -> None:
    other = IPv4Address("10.0.0.2")
    profile = Profile(boot=Boot(servers=(SERVER, other)), swap=Swap(grow=1))
    for server in (SERVER, other):
        client = Client(MAC, BIOS, Stage.IPXE)
        plan = boot_plan(profile, profile.seat_of(MAC), client, KEYS, server=server)
        assert f"netboot.swap={server}:10809/seat-525400123456" in plan.arguments
        assert {"netboot.layout=spread", "netboot.grow=1"} < set(plan.arguments)
        assert not any("netboot.token" in word for word in plan.arguments)


def test_seats_are_spread_and_each_has_an_order_of_its_own_that_stays() -> None:
    hosts = [
        swap_words("spread", f"52:54:00:00:00:{last:02x}")["netboot.swap"].partition(":")[0]
        for last in range(60)
    ]
    assert hosts[0] == swap_words("spread", "52:54:00:00:00:00")["netboot.swap"].partition(":")[0]
    assert len(set(hosts)) == 6, "every order of three"
    first = [each.partition(",")[0] for each in hosts]
    assert all(10 <= first.count(server) <= 30 for server in set(first))


def test_a_root_image_has_a_name_of_its_own_and_needs_no_swap() -> None:
    root, swap = Root(kind="nbd", image="/srv/root.squashfs"), Swap(size=SwapSize(bytes=0))
    words = plan_of(Profile(root=root, swap=swap)).arguments
    (image,) = (word for word in words if word.startswith("netboot.image="))
    assert image == f"netboot.image=10.0.0.1:10809/{image_export('/srv/root.squashfs')}"
    assert "netboot.timeout=3" in words
    assert image_export("/srv/other.squashfs") != image_export("/srv/root.squashfs")
    assert not [word for word in plan_of(Profile()).arguments if "image" in word]


@pytest.mark.parametrize(("verify", "mode"), [("auto", "auto"), ("yes", "yes"), ("no", "")])
def test_a_root_image_is_verified_by_the_hash_of_its_tree(verify: str, mode: str) -> None:
    path = "/srv/root.squashfs"
    root = {"kind": "nbd", "image": path, "verify": verify}
    profile = Profile.model_validate({"root": root})
    trees = {path: HashTree(300, "cafe" * 16)}
    words = dict(
        word.partition("=")[::2] for word in plan_of(profile, trees=trees).arguments if "=" in word
    )
    export = verified_export(path) if mode else image_export(path)
    assert words["netboot.image"] == f"10.0.0.1:10809/{export}"
    assert words.get("netboot.verify", "") == (f"{mode},300:{'cafe' * 16}" if mode else "")
    assert not [word for word in plan_of(Profile(), trees=trees).arguments if "verify" in word]


@pytest.mark.parametrize(("verify", "mode"), [("auto", "auto"), ("yes", "yes"), ("no", "")])
def test_a_root_image_is_resolved_when_the_command_line_is_made(verify: str, mode: str) -> None:
    root = {"kind": "image", "image": "kiosk", "verify": verify}
    profile = Profile.model_validate({"root": root})
    current = {"kiosk": RootVersion("image-1", HashTree(300, "cafe" * 16))}
    plan = plan_of(profile, versions=current.get)

    def words() -> dict[str, str]:
        return dict(word.split("=", 1) for word in plan.arguments if "=" in word)

    assert words()["netboot.root"] == "nbd", "the hook of the initramfs"
    suffix = "-verified" if mode else ""
    assert words()["netboot.image"] == f"10.0.0.1:10809/image-1{suffix}"
    assert words().get("netboot.verify", "") == (f"{mode},300:{'cafe' * 16}" if mode else "")
    current["kiosk"] = RootVersion("image-2", HashTree(300, "cafe" * 16))
    assert words()["netboot.image"] == f"10.0.0.1:10809/image-2{suffix}"
    del current["kiosk"]
    assert "netboot.image" not in words() and "netboot.verify" not in words()


@pytest.mark.parametrize(
    ("fitting", "processors"),
    [((), ["amd64", "i386"]), (("amd64",), ["amd64"]), (("i386",), ["i386"])],
)
def test_a_pc_boots_by_a_kernel_whose_drivers_its_image_has(
    fitting: tuple[str, ...], processors: list[str]
) -> None:
    boot = {"architectures": ["amd64", "i386"]}
    profile = Profile.model_validate({"boot": boot, "root": {"kind": "image", "image": "kiosk"}})
    current = {"kiosk": RootVersion("image-1", HashTree(300, "cafe" * 16), fitting)}
    plan = plan_of(profile, versions=current.get)
    assert [each.processor.name for each in plan.images] == processors
    text = ipxe.render(plan, "http://10.0.0.1:8080")
    assert ("cpuid" in text) == (processors != ["i386"])


def test_a_line_on_the_screen_is_shown_and_never_obeyed() -> None:
    line = "root image kiosk@1: it has ${net0/mac} || shell && reboot\nsanboot 'x'; é ; shell ;"
    plan, base = plan_of(Profile()), "http://10.0.0.1:8080"
    text = ipxe.render_obstacle(plan, base, line)
    shown = "root image kiosk@1: it has ??net0/mac? ?? shell ?? reboot?sanboot 'x'; ? , shell ,"
    assert text.splitlines()[1] == f"echo netboot: {plan.seat.hostname} cannot boot: {shown}"
    assert ipxe.read(text, MAC) == ipxe.Chain(f"{base}/{plan.script_path}", 30)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ("auto", None),
        ("512MiB", "netboot.changes=524288"),
        ("16 MiB", "netboot.changes=16384"),
        ("1.5x", "netboot.changes=150%"),
        ("0.125x", "netboot.changes=12%"),
        ("2X", "netboot.changes=200%"),
    ],
)
def test_a_pc_is_told_how_much_it_may_change(changes: str, word: str | None) -> None:
    root = {"kind": "nbd", "image": "/srv/root.squashfs", "changes": changes}
    words = plan_of(Profile.model_validate({"root": root})).arguments
    assert [each for each in words if "changes" in each] == ([word] if word else [])


def test_a_pc_is_told_where_its_files_are_kept() -> None:
    root = {"kind": "nbd", "image": "/srv/root.squashfs", "persist": "2GiB"}
    (word,) = [
        each
        for each in plan_of(Profile.model_validate({"root": root})).arguments
        if "persist" in each
    ]
    assert word == f"netboot.persist=10.0.0.1:10809/seat-{MAC.replace(':', '')}-persist"
    ram = Profile.model_validate({"root": {"persist": "2GiB"}})
    assert "persist" not in " ".join(plan_of(ram).arguments), "nothing mounts it"


def test_the_operators_arguments_come_last_so_that_they_win() -> None:
    profile = Profile(boot=Boot(arguments="quiet netboot.on_failure=reboot"))
    assert plan_of(profile).arguments[-2:] == ("quiet", "netboot.on_failure=reboot")


def test_a_plan_never_shows_its_keys() -> None:
    shown = repr(KEYS) + repr(ticket.read(SECRET, KEYS.session, 0))
    assert not [key for key in (KEYS.token, KEYS.session) if key in shown]


def test_a_ticket_names_its_seat_and_nobody_can_make_one() -> None:
    good = ticket.issue(SECRET, MAC)
    assert ticket.seat_of(SECRET, good) == MAC
    assert ticket.seat_of(b"t" * 32, good) is None
    for bad in ("", good[:-1], good[:-1] + ("0" if good[-1] != "0" else "1"), "é" * 44, MAC):
        assert ticket.seat_of(SECRET, bad) is None


def choices(*architectures: str, arch: str = "bios") -> list[str]:
    profile = Profile(boot=Boot(architectures=architectures))
    return ipxe.render(plan_of(profile, arch=BY_NAME[arch]), "http://10.0.0.1:8080").splitlines()


def test_a_pc_without_long_mode_gets_the_32_bit_kernel() -> None:
    lines = choices("amd64", "i386")
    first = lines.index("cpuid --ext 29 && goto amd64 ||")
    # An iPXE without this command fails in both, and continues with what most PCs can run.
    assert lines[first + 1 : first + 3] == ["cpuid 0 && goto i386 ||", ":amd64"]
    after = lines[lines.index(":i386") :]
    assert "/i386/vmlinuz " in after[1] and after[2].endswith("/i386/initramfs.img || goto failed")


def test_without_32_bit_images_it_is_said_and_others_boot() -> None:
    lines = choices("amd64")
    first = lines.index("cpuid --ext 29 && goto amd64 ||")
    assert lines[first + 1] == "cpuid 0 || goto amd64"
    assert "boot.architectures lacks i386" in lines[first + 2]
    assert not [line for line in choices("i386") if "cpuid" in line]
    assert not [line for line in choices("amd64", "i386", arch="uefi-x64") if "i386" in line]


OTHER = IPv4Address("10.0.0.2")
HERE, THERE = "http://10.0.0.1:8080", "http://10.0.0.2:8080"


def test_a_pc_with_two_boot_servers_has_both_in_its_command_line() -> None:
    root = Root(kind="nbd", image="/srv/room.img")
    for servers in ((SERVER, OTHER), (OTHER, SERVER)):
        words = plan_of(Profile(boot=Boot(servers=servers), root=root)).arguments
        assert "netboot.server=http://10.0.0.1,10.0.0.2:8080" in words
        assert any(word.startswith("netboot.image=10.0.0.1,10.0.0.2:10809/") for word in words)
    assert f"netboot.server={HERE}" in plan_of(Profile()).arguments
    persist = plan_of(Profile(boot=Boot(servers=(SERVER, OTHER)), root=root)).arguments
    assert not any("persist" in word and "," in word for word in persist)


def test_the_script_of_the_other_boot_server_takes_over_after_a_download_that_fails() -> None:
    plan = plan_of(Profile(boot=Boot(servers=(SERVER, OTHER))))
    text = ipxe.render(plan, HERE, other=THERE)
    lines = text.splitlines()
    loads = [line for line in lines if line.startswith(("kernel ", "initrd "))]
    assert loads and all(" --timeout 5000 http://" in line for line in loads)
    failed = lines[lines.index(":failed") :]
    chain = f"chain --replace --timeout 5000 --autofree {THERE}/{plan.script_path}{ipxe.OWN_RAM} ||"
    assert failed.index("sleep 1") < failed.index(chain) < failed.index("sleep 3")
    boot = ipxe.read(text, MAC)
    assert isinstance(boot, ipxe.Boot) and all(HERE in file for file in boot.files)
    assert boot.arguments["netboot.server"] == "http://10.0.0.1,10.0.0.2:8080"
    assert "timeout" not in ipxe.render(plan, HERE).replace("netboot.timeout", "")


def test_a_script_that_waits_asks_the_other_boot_server_too() -> None:
    text = ipxe.render_chain("bios.ipxe", HERE, THERE)
    asked = [line for line in text.splitlines() if line.startswith("chain ")]
    assert [THERE in line for line in asked] == [False, True]
    assert all("--timeout 5000" in line and line.endswith(" ||") for line in asked)
    assert ipxe.read(text, MAC) == ipxe.Chain(f"{HERE}/boot/{MAC}/bios.ipxe")
