"""GRUB's configuration, for PCs that no iPXE boots."""

from ipaddress import IPv4Address

from netboot.boot import grub, ticket
from netboot.boot.arch import BY_GRUB, BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.plan import SeatKeys, boot_plan
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot

MAC = "52:54:00:12:34:56"
KEYS = SeatKeys(
    token="cafe" * 8,
    session=ticket.begin(b"s" * 32, MAC, b"nonce!", 1e9),
)
SERVER = IPv4Address("10.0.0.1")


def configuration(profile: Profile, *initrds: str) -> str:
    client = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    plan = boot_plan(
        profile, profile.seat_of(client.mac), client, KEYS, server=SERVER, initrds=initrds
    )
    return grub.render(plan, str(SERVER))


def test_the_seats_file_names_all_that_is_loaded_and_the_swap_of_the_seat() -> None:
    lines = configuration(Profile(), "load.img").splitlines()
    folder = f"(tftp,10.0.0.1)/boot/{KEYS.session}"
    (load,) = (line for line in lines if "linux" in line)
    linux = f"linux {folder}/amd64/vmlinuz ip=::::pc-123456::off "
    initrd = f"initrd {folder}/amd64/initramfs.img {folder}/load.img"
    assert load.startswith(f"if cpuid -l; then if {linux}")
    assert load.endswith(f"; then if {initrd}; then boot; fi; fi; fi")
    words = load.replace(";", " ").split()
    for word in (
        "BOOTIF=01-$net_default_mac",
        "netboot.swap=10.0.0.1:10809/seat-525400123456",
        f"netboot.token={KEYS.token}",
    ):
        assert word in words
    assert f"source (tftp,10.0.0.1)/boot/{MAC}/failed.cfg" in lines


def test_an_operators_words_are_quoted() -> None:
    text = configuration(Profile(boot=Boot(arguments="dyndbg=file,x;+p a=$b it's")))
    assert """ 'dyndbg=file,x;+p' 'a=$b' 'it'"'"'s'; then """ in text


def test_the_first_file_holds_nothing_of_a_seat() -> None:
    text = grub.render_first()
    own = "boot/$net_default_mac/$grub_cpu-$grub_platform.cfg"
    assert text == f"source (tftp,$net_default_server)/{own}\n"


def test_an_unsigned_grub_is_sent_with_its_servers_address_inside() -> None:
    own = grub.OWN_SCRIPT.replace("PLATFORM", "i386-efi").encode()
    image = b"MZ" + own + b"\0" * 100 + grub.PREFIX
    aimed = grub.aimed(image, "255.255.255.255", "i386-efi")
    assert len(aimed) == len(image)
    script = b"source (tftp,255.255.255.255)/boot/$net_default_mac/i386-efi.cfg\n"
    assert aimed[2:].startswith(script) and not aimed[2 + len(script) : 2 + len(own)].strip()
    assert b"/grub" not in aimed
    assert grub.aimed(b"another GRUB", "10.0.0.1", "i386-efi") == b"another GRUB"


def test_each_platform_of_grub_has_one_row() -> None:
    for platform, row in BY_GRUB.items():
        assert row.grub == platform and row.code in (6, 7, 11)
