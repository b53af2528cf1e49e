"""The frames of the network card of a booting PC, as scapy reads them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA
from scapy.layers.tftp import TFTP, TFTP_OACK, TFTP_RRQ

from tests.support import capture, scapy_nbd
from tests.vm.conftest import Outcome

Lab = Callable[..., Outcome]

SERVER = "10.77.0.1"
MAC = "52:54:00:77:00:01"  # of the first PC
HTTP_PORT, PAGES_PORT = 8080, 10809
DHCP_TYPES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 5: "ACK"}
NBD_GREETING_BYTES = 18
NBD_WRITE = 1
IPXE_ROUTER_WAIT = 16  # seconds, of iPXE in 2019
SWAP_MAGIC = b"SWAPSPACE2"  # at the end of the swap header


@dataclass
class Wire:
    """Milestones of a boot with their times, and files by name."""

    milestones: list[tuple[float, str]] = field(default_factory=list)
    packets: dict[str, Any] = field(default_factory=dict)  # the first packet of each milestone
    dhcp: list[str] = field(default_factory=list)  # every packet, for a failure's report

    def note(self, when: float, name: str, packet: Any = None) -> None:
        if name not in self.packets:
            self.milestones.append((float(when), name))
            self.packets[name] = packet

    def order(self) -> list[str]:
        return [name for _, name in sorted(self.milestones, key=lambda entry: entry[0])]


def read(path: Path) -> Wire:
    wire, packets = Wire(), capture.read(path)
    for packet in packets:
        if UDP in packet:
            _note_udp(wire, packet)
        elif ICMPv6ND_RA in packet:
            wire.note(packet.time, "router advertisement", packet[ICMPv6ND_RA])
    for stream in capture.streams(packets, HTTP_PORT):
        _note_http(wire, stream)
    for stream in capture.streams(packets, PAGES_PORT):
        _note_nbd(wire, stream)
    return wire


def _note_udp(wire: Wire, packet: Any) -> None:
    ports = {packet[UDP].sport, packet[UDP].dport}
    if BOOTP in packet or 4011 in ports:
        bootp = packet[BOOTP] if BOOTP in packet else BOOTP(bytes(packet[UDP].payload))
        kind: dict[str, Any] = dict(
            option for option in bootp[DHCP].options if isinstance(option, tuple)
        )
        name = DHCP_TYPES[kind["message-type"]]
        sender = bytes(bootp.chaddr)[:6].hex(":")
        wire.dhcp.append(f"{packet.time} {name} of {packet[IP].src} for {sender} {bootp.xid:08x}")
        if sender != MAC:
            return  # probes of the server for others, which the card's queue keeps for the PC
        if name in ("OFFER", "ACK"):
            name += " of " + packet[IP].src
        wire.note(packet.time, f"{'4011 ' if 4011 in ports else ''}{name}", bootp)
        return
    if 69 in ports:
        tftp = TFTP(bytes(packet[UDP].payload))
        wire.note(packet.time, "TFTP RRQ", tftp)
        wire.packets["tid"] = (packet[IP].src, packet[UDP].sport)
    elif (packet[IP].dst, packet[UDP].dport) == wire.packets.get("tid"):
        tftp = TFTP(bytes(packet[UDP].payload))
        wire.note(packet.time, {6: "TFTP OACK", 3: "TFTP DATA"}.get(tftp.op, "TFTP other"), tftp)


def _note_http(wire: Wire, stream: capture.Stream) -> None:
    """Note all requests of a kept connection of iPXE: ``GET bios.ipxe``, ``POST swap``."""
    at, sent = 0, bytes(stream.sent)
    while at < len(sent):
        end = sent.index(b"\r\n\r\n", at) + 4
        lines = sent[at:end].decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        parts = path.partition("?")[0].split("/")
        wire.note(stream.time_of(at), f"{method} {'lease' if parts[1] == 'lease' else parts[-1]}")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        at = end + int(fields.get("content-length", 0))


def _note_nbd(wire: Wire, stream: capture.Stream) -> None:
    """Note each option of the handshake, then each request of the transmission."""
    greeting = scapy_nbd.Greeting(bytes(stream.received[:NBD_GREETING_BYTES]))
    assert (greeting.magic, greeting.option_magic) == (0x4E42444D41474943, 0x49484156454F5054)
    flags = scapy_nbd.ClientFlags(bytes(stream.sent[:4]))
    assert flags.flags.NO_ZEROES and flags.flags.FIXED_NEWSTYLE
    sent_at, at, received = 4, NBD_GREETING_BYTES, bytes(stream.received)
    name = ""
    while name != "GO":  # the first connection asks INFO for its key before
        option = scapy_nbd.Option(bytes(stream.sent[sent_at:]))
        name = option.sprintf("%option%")
        wire.note(stream.time_of(sent_at), f"NBD {name}", option)
        sent_at += 16 + option.length
        at += _note_replies(wire, received[at:])
    at = sent_at
    while at + 28 <= len(stream.sent):
        request = scapy_nbd.Request(bytes(stream.sent[at : at + 28]))
        assert request.magic == 0x25609513, f"out of step at {at}"
        name = request.sprintf("%type%")
        wire.note(stream.time_of(at), f"NBD {name}", request)
        at += 28 + (request.length if request.type == NBD_WRITE else 0)


def _note_replies(wire: Wire, received: bytes) -> int:
    """Note the replies to one option. Return their size."""
    at = 0
    while True:
        reply = scapy_nbd.OptionReply(received[at:])
        at += 20 + int(reply.length)
        kind = reply.sprintf("%type%")
        if kind == "INFO":
            info = scapy_nbd.InfoReply(reply.data)
            wire.packets.setdefault("NBD INFO " + info.sprintf("%info%"), info)
        else:
            assert kind == "ACK", kind
            return at


def assert_in_order(names: list[str], expected: list[str]) -> None:
    rest = iter(names)
    for name in expected:
        assert name in rest, f"{name} is missing, or comes too early, in {names}"


@pytest.mark.parametrize(
    ("firmware", "dhcp", "dhcp_order", "script", "card"),
    [
        (
            "bios",
            "full",
            ["OFFER of 10.77.0.1", "REQUEST", "ACK of 10.77.0.1"],
            "bios.ipxe",
            "e1000",
        ),
        (
            "uefi",
            "proxy",
            ["REQUEST", "ACK of 10.77.0.254", "4011 REQUEST", "4011 ACK of 10.77.0.1"],
            "uefi-x64.ipxe",
            "virtio_pci",
        ),
    ],
)
def test_a_boot_on_the_wire(
    lab: Lab, firmware: str, dhcp: str, dhcp_order: list[str], script: str, card: str
) -> None:
    outcome = lab("--firmware", firmware, "--dhcp", dhcp, "--capture")
    assert outcome.status == 0, outcome.report
    wire = read(outcome.folder / "pc1.pcap")
    expected = ["DISCOVER", *dhcp_order, "TFTP RRQ", "TFTP OACK", "TFTP DATA", f"GET {script}"]
    expected += [
        "GET vmlinuz",
        "GET initramfs-base.img",
        f"GET initramfs-{card}.img",
        "GET lease",
        "NBD INFO",
        "NBD GO",
        "NBD WRITE",
        "POST init:start",
        "POST swap",
        "POST userland",
    ]
    assert_in_order(wire.order(), expected)
    _check_dhcp(wire, dhcp, outcome.seats[0]["mac"])
    assert wire.packets["TFTP RRQ"][TFTP_RRQ].mode == b"octet"
    assert b"blksize" in [
        bytes(o.oname) for o in wire.packets["TFTP OACK"][TFTP_OACK].payload.options
    ]
    _check_nbd(wire)
    assert SWAP_MAGIC in (outcome.folder / "pc1.pcap").read_bytes()


def test_encrypted_swap_is_noise_on_the_wire(lab: Lab) -> None:
    options = ("--memory", "128", "--load", "0.8", "--capture", "--set", "swap.encrypt=yes")
    outcome = lab(*options, "--set", "swap.discard=no")
    assert outcome.status == 0, outcome.report
    data = {stage["stage"]: stage["data"] for stage in outcome.seats[0]["stages"]}
    assert data["swap"]["device"].startswith("/dev/dm-")
    assert (data["load:verified"]["wrong"], data["load:verified"]["pswpin"] > 0) == (0, True)
    assert SWAP_MAGIC not in (outcome.folder / "pc1.pcap").read_bytes()
    # Of the kernel's letters Dc is for discards (setup_swap_info in mm/swapfile.c).
    assert re.search(r"across:[0-9]+k SS(FS)?\s", outcome.console())


def _check_dhcp(wire: Wire, dhcp: str, mac: str) -> None:
    offer = wire.packets["OFFER of 10.77.0.1"]
    asked = wire.packets["DISCOVER"]
    # EDK2 and iPXE retransmit with the same xid (EDK2's DhcpRetransmit): the first was answered.
    assert (offer.op, offer.xid, offer.chaddr) == (2, asked.xid, asked.chaddr), wire.dhcp
    assert bytes(offer.chaddr)[:6].hex(":") == mac
    assert offer.siaddr == SERVER
    options: dict[str, Any] = dict(
        option for option in offer[DHCP].options if isinstance(option, tuple)
    )
    assert options["server_id"] == SERVER
    if dhcp == "proxy":
        assert offer.yiaddr == "0.0.0.0"
        assert options["vendor_class_id"] == b"PXEClient"
        assert "vendor_specific" not in options, "old EDK2 throws such an offer away"
        acknowledged = wire.packets["4011 ACK of 10.77.0.1"]
        assert acknowledged.siaddr == SERVER
        assert bytes(acknowledged.file).rstrip(b"\0") == b"snponly.efi"
    else:
        assert offer.yiaddr.startswith("10.77.0.")
        assert bytes(offer.file).rstrip(b"\0") == b"bios.ipxe"
        # The PC is alone with the server: without a router old iPXE saves 16 s.
        assert wire.packets["router advertisement"].routerlifetime == 0
        when = {name: moment for moment, name in wire.milestones}
        assert when["TFTP RRQ"] - when["ACK of 10.77.0.1"] < IPXE_ROUTER_WAIT / 2
    assert len(bytes(offer)) >= 300


def _check_nbd(wire: Wire) -> None:
    secrets = set()
    for option in ("NBD INFO", "NBD GO"):
        export = scapy_nbd.GoData(wire.packets[option].data).export.decode()
        name, _, secret = export.partition("@")
        secret, _, set_number = secret.partition(".")
        assert name.startswith("seat-525400") and len(secret) == 32 and int(set_number, 16) > 0
        secrets.add(secret)
    assert len(secrets) == 2, "the token of the command line, and the key"
    info = wire.packets["NBD INFO EXPORT"]
    assert info.size % 4096 == 0 and info.flags.CAN_MULTI_CONN and info.flags.SEND_TRIM
    first_write = wire.packets["NBD WRITE"]
    assert (first_write.offset, first_write.length) == (0, 4096), "the swap header"
