"""Models of firmware boot from our answers, and reject answers that are known to fail."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP

from netboot.boot.arch import ARCHITECTURES, Architecture, Firmware
from netboot.serve.dhcp.answer import Context, Reply
from netboot.serve.dhcp.packet import parse, serialize
from netboot.serve.dhcp.responder import respond
from tests import ROOT
from tests.serve.dhcp.test_responder import FULL, NOW, PROXY, US, context
from tests.support import offers
from tests.support.offers import Ask, Boot, Choice, Offer
from tests.support.pxe_client import PxeClient

DOCUMENT = ROOT / "docs/explanation/boot-captures.md"
OURS, ROUTER, PC = str(US), "10.0.0.254", "10.0.0.77"
Model = Callable[[Sequence[Offer]], Choice]
FILES = {
    "bios": "undionly.kpxe",
    "uefi-ia32": "boot/grubia32.efi",
    "uefi-x64": "snponly.efi",
    "uefi-x64-bc": "snponly.efi",
    "raspberry-pi": "bootcode.bin",
    "uefi-arm64": "ipxe-arm64.efi",
    "uefi-arm64-http": f"http://{OURS}:8080/boot/ipxe-arm64.efi",
    "uefi-x64-http": f"http://{OURS}:8080/boot/snponly.efi",
}
MODELS: dict[Firmware, tuple[Model, ...]] = {
    Firmware.BIOS: (offers.pxe_rom, offers.ipxe),
    Firmware.UEFI: (offers.old_edk2, offers.new_edk2, offers.ipxe),
    Firmware.UEFI_HTTP: (offers.edk2_http,),
    Firmware.RASPBERRY_PI: (offers.pi_3, offers.pi_4),
}
EVERY = [(row, model) for row in ARCHITECTURES for model in MODELS[row.firmware]]
every_firmware = pytest.mark.parametrize(
    ("row", "model"), EVERY, ids=[f"{row.name}-{model.__name__}" for row, model in EVERY]
)


def made(*options: Any, yiaddr: str = "0.0.0.0", source: str = ROUTER, **header: Any) -> Offer:
    """Return an offer of another server."""
    head = BOOTP(op=2, yiaddr=yiaddr, chaddr=bytes(6), **header)
    listed = [("message-type", "offer"), ("server_id", source), *options, "end"]
    return Offer(bytes(head / DHCP(options=listed)), source)


def plain(**header: Any) -> Offer:
    """Return an offer of the LAN's own DHCP server, without any setting for PXE."""
    return made(("subnet_mask", "255.255.255.0"), ("router", ROUTER), yiaddr=PC, **header)


def client_of(code: int, model: Model) -> PxeClient:
    return PxeClient(arch=code, ipxe=model is offers.ipxe)


def answer(data: bytes, where: Context) -> Offer:
    reply = respond(parse(data), where, NOW)
    assert isinstance(reply, Reply), reply
    return Offer(serialize(reply.packet), OURS, where.port)


def boots(choice: Choice, client: PxeClient) -> Choice:
    """Follow a choice to its end: if the firmware asks us on port 4011, answer it."""
    if not isinstance(choice, Ask) or choice.server != OURS:
        return choice
    where = context(PROXY, 4011, PC)
    return offers.acknowledged(choice, answer(client.request(ciaddr=PC, flags=0), where))


def expected(row_name: str, client: PxeClient) -> Boot:
    return Boot(OURS, f"{row_name}.ipxe" if client.ipxe else FILES[row_name])


@every_firmware
@pytest.mark.parametrize("ours_first", [True, False])
def test_every_firmware_boots_from_us_beside_an_untouched_server(
    row: Architecture, model: Model, ours_first: bool
) -> None:
    client = client_of(row.code, model)
    seen = [answer(client.discover(), context()), plain()]
    choice = model(seen if ours_first else seen[::-1])
    assert boots(choice, client) == expected(row.name, client)
    if row.firmware is Firmware.UEFI and not client.ipxe:
        assert choice == Ask(OURS)  # port 4011, as old and new EDK2 both can


@every_firmware
def test_every_firmware_boots_from_us_alone(row: Architecture, model: Model) -> None:
    client = client_of(row.code, model)
    choice = model([answer(client.discover(), context(FULL))])
    assert choice == expected(row.name, client)


@every_firmware
def test_a_boot_file_that_the_router_names_does_not_win(row: Architecture, model: Model) -> None:
    client = client_of(row.code, model)
    seen = [plain(siaddr=ROUTER, file=b"pxelinux.0"), answer(client.discover(), context())]
    assert boots(model(seen), client) == expected(row.name, client)


# Controls: answers of peers that fail, by their fault. The models must reject each.

OPTION_60 = ("vendor_class_id", b"PXEClient")
SKIP = ("vendor_specific", bytes.fromhex("060108ff"))
WRONG = {
    # bootimus proxydhcp.go, smee proxy.go:166, PyPXE: sub-option 6 and a file to UEFI (bootimus#77)
    "option 43 to UEFI": (
        offers.old_edk2,
        [plain(), made(OPTION_60, SKIP, source=OURS, siaddr=OURS, file=b"snponly.efi")],
    ),
    "no option 60": (
        offers.new_edk2,
        [plain(), made(source=OURS, siaddr=OURS, file=b"snponly.efi")],
    ),
    "no option 60 to iPXE": (
        offers.ipxe,
        [plain(), made(source=OURS, siaddr=OURS, file=b"bios.ipxe")],
    ),
    "option 60 with a tail": (
        offers.ipxe,
        [
            plain(),
            made(("vendor_class_id", b"PXEClient:Arch:00000"), source=OURS, siaddr=OURS, file=b"x"),
        ],
    ),
    "a proxy and nobody who gives addresses": (
        offers.old_edk2,
        [made(OPTION_60, source=OURS, siaddr=OURS, file=b"snponly.efi")],
    ),
    "a path to HTTP boot": (
        offers.edk2_http,
        [plain(), made(("vendor_class_id", b"HTTPClient"), source=OURS, file=b"snponly.efi")],
    ),
    "PXEClient to HTTP boot": (
        offers.edk2_http,
        [plain(), made(OPTION_60, source=OURS, file=b"http://10.0.0.1/snponly.efi")],
    ),
    "too late for iPXE": (
        offers.ipxe,
        [
            plain(),
            Offer(made(OPTION_60, source=OURS, siaddr=OURS, file=b"x").data, OURS, seconds=2.5),
        ],
    ),
}


@pytest.mark.parametrize(("model", "seen"), WRONG.values(), ids=WRONG)
def test_models_reject_what_boots_nothing(model: Model, seen: list[Offer]) -> None:
    assert model(seen) is None


def test_models_show_what_the_mend_of_2017_changed() -> None:
    seen = [plain(), made(OPTION_60, SKIP, source=OURS, siaddr=OURS, file=b"snponly.efi")]
    assert offers.old_edk2(seen) is None
    assert offers.new_edk2(seen) == Boot(OURS, "snponly.efi")


@pytest.mark.parametrize("model", [offers.old_edk2, offers.new_edk2])
def test_the_trap_of_option_60_leads_uefi_to_the_site_server(model: Model) -> None:
    """FOG's docs (#188): BIOS boots, every UEFI board stops. We can only notice and explain it."""
    ours = answer(PxeClient(arch=7).discover(), context())
    trap = made(OPTION_60, yiaddr=PC)
    assert model([trap, ours]) == model([ours, trap]) == Ask(ROUTER)
    assert offers.pxe_rom([trap, answer(PxeClient().discover(), context())]) == Boot(
        OURS, "undionly.kpxe"
    )


def test_a_rom_without_sub_option_6_looks_for_boot_servers() -> None:
    """PXE-E55, PXE-E77."""
    seen = [plain(), made(OPTION_60, source=OURS, siaddr=OURS, file=b"undionly.kpxe")]
    assert offers.pxe_rom(seen) == Ask(OURS)


def test_an_answer_from_another_port_is_not_one() -> None:
    """iPXE's dhcp.c:719: only from port 4011 of the server that it asked."""
    client = PxeClient(arch=7)
    data = client.request(ciaddr=PC, flags=0)
    good = answer(data, context(PROXY, 4011, PC))
    assert offers.acknowledged(Ask(OURS), good) == Boot(OURS, "snponly.efi")
    assert offers.acknowledged(Ask(OURS), Offer(good.data, OURS, 67)) is None
    assert offers.acknowledged(Ask(OURS), Offer(good.data, ROUTER, 4011)) is None


@pytest.mark.parametrize(
    ("client", "row"),
    [
        (PxeClient(arch=16, vendor=b"PXEClient"), "uefi-x64"),
        (PxeClient(arch=7, vendor=b"HTTPClient"), "uefi-x64-http"),
        (PxeClient(arch=9, vendor=b"HTTPClient"), "uefi-x64-http"),
        (PxeClient(arch=19, vendor=b"PXEClient"), "uefi-arm64"),
        (PxeClient(arch=11, vendor=b"HTTPClient"), "uefi-arm64-http"),
    ],
)
def test_option_60_decides_on_the_way_and_option_93_on_the_processor(
    client: PxeClient, row: str
) -> None:
    """Firmware takes only an answer with its own class, so another one would be in vain."""
    by_http = client.vendor == b"HTTPClient"
    model = offers.edk2_http if by_http else offers.new_edk2
    seen = [answer(client.discover(), context()), plain()]
    assert boots(model(seen), client) == Boot(OURS, FILES[row])


def test_the_tests_that_the_document_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", DOCUMENT.read_text())
    assert len(named) >= 10
    file = ""
    for where, name in named:
        file = where or file
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"
