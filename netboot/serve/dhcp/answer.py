"""Answer: the parts that all answers to DHCP messages have. Pure.

The context of a packet, the options for booting, and the target of an answer (RFC 2131 section 4.1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from netboot.boot.arch import Firmware
from netboot.boot.client import Client
from netboot.boot.plan import BootPlan
from netboot.errors import Ignored
from netboot.profile.profile import Profile
from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import ANY, BOOTREPLY, Option, Packet, dotted, packed
from netboot.serve.dhcp.packet import MessageType as Type
from netboot.serve.dhcp.scope import Scope

SERVER_PORT = 67
CLIENT_PORT = 68
BOOT_SERVER_PORT = 4011  # PXE 2.1 section 2.2.2
EVERYONE = IPv4Address("255.255.255.255")

# "Skip discovery, load the file named": without it BIOS ROMs look for boot servers (PXE-E55).
USE_BOOT_FILE = pxe.serialize_suboptions({pxe.DISCOVERY_CONTROL: bytes((pxe.USE_BOOT_FILE,))})
# A Raspberry Pi knows its server by this menu. The boot ROM of the Pi 3 needs the three spaces
# (raspberrypi/documentation#1686), later ones accept them. Type and time to choose are both 0.
_MENU = b"Raspberry Pi Boot   "
RASPBERRY_PI_BOOT = pxe.serialize_suboptions(
    {
        pxe.DISCOVERY_CONTROL: bytes((pxe.USE_BOOT_FILE,)),
        pxe.BOOT_MENU: b"\0\0" + bytes((len(_MENU),)) + _MENU,
        pxe.MENU_PROMPT: b"\0PXE",
    }
)
# UEFI gets no option 43: EDK2 before 2017 drops the first offer that has sub-options 6 to 10
# (edk2#6944), but caches an offer without them as BINL's and then asks on port 4011.
VENDOR_OPTIONS = {Firmware.BIOS: USE_BOOT_FILE, Firmware.RASPBERRY_PI: RASPBERRY_PI_BOOT}
# The boot ROM of the first Pis asks for its file only once if the answer to its DHCPDISCOVER comes
# at once (raspberrypi/firmware#934). dnsmasq has --dhcp-reply-delay for this.
SLOW_OUI, SLOW_SECONDS = "b8:27:eb", 2.0
SKIP_PROXY_WAIT = pxe.serialize_suboptions({pxe.NO_PXEDHCP: b"\1"})


# RFC 6842, RFC 4578: as sent, and the first copy if it was sent twice.
ECHOED = (Option.CLIENT_IDENTIFIER, Option.CLIENT_MACHINE_IDENTIFIER)
# RFC 3046: all of it, and as the last option, because a relay may cut it off.
ECHOED_TO_RELAY = Option.RELAY_AGENT_INFORMATION
MOST_ECHOED = 700  # bytes in all: the answer must fit into a frame


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Context:
    """The arrival of a packet, and all that its answer depends on.

    ``server`` is our address on the interface that received it, ``port`` is 67 or 4011, ``source``
    is its sender's address and port. ``plan`` decides on a client's boot. ``networks`` are those of
    our interfaces and of the profile: no packet is answered to another one. ``scopes`` are full
    mode's networks.
    """

    profile: Profile
    server: IPv4Address
    port: int
    source: tuple[IPv4Address, int]
    plan: Callable[[Client], BootPlan]
    networks: Sequence[IPv4Network]
    scopes: Sequence[Scope] = ()


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Reply:
    """A packet and its target; ``client`` is None for a DHCP client that does not boot.

    ``unproven`` is True if the offered address may be in use on the link and must be probed.
    ``delay`` is the least number of seconds before the reply is sent. ``renews`` is True for a
    running PC that keeps its address: this is no part of a boot.
    """

    packet: Packet
    address: IPv4Address
    port: int
    request: Type
    answer: Type
    client: Client | None
    unproven: bool = False
    delay: float = 0.0
    renews: bool = False


@dataclass(frozen=True, slots=True)
class Claim(Ignored):
    """A RELEASE or DECLINE of ``address``, which the link can prove or disprove.

    A REQUEST is one if another boot server may have lent the address. The sender may be false. So
    the machines at ``address`` must be asked before the claim of ``owner``, whose card is ``mac``, is
    believed.
    """

    kind: Type = Type.DHCPDECLINE
    owner: str = ""
    mac: str = ""
    address: IPv4Address = ANY
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Shortage(Ignored):
    """No address is free for a PC of the profile.

    Made-up PCs may hold them all, so the caller must look for the machines of the leases.
    """

    owner: str = ""
    scope: Scope | None = None
    is_spared: Callable[[str], bool] = bool  # whether an owner keeps its lease; as given: all do


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Question:
    """A packet and the facts read from it: all that the modes need."""

    packet: Packet
    kind: Type
    mac: str
    client: Client | None
    context: Context


def is_near(address: IPv4Address, context: Context) -> bool:
    """Return True if an answer may go to ``address``."""
    return address != ANY and any(address in network for network in context.networks)


def is_far_relay(question: Question) -> bool:
    """Return True if the packet came through a relay that is in no network of ours."""
    packet = question.packet
    return packet.relayed and not is_near(packet.giaddr, question.context)


def far_relay(question: Question) -> Ignored:
    """Return the reason for no answer through such a relay."""
    return Ignored(
        f"the relay {question.packet.giaddr} is in no network of this server; if PCs boot there, "
        "add its network to dhcp.networks",
        serious=True,
    )


def is_raspberry_pi(client: Client | None) -> bool:
    return client is not None and client.arch.firmware is Firmware.RASPBERRY_PI


def bootfile_of(question: Question) -> bytes:
    """Return the content of the file field, empty for a client that does not boot."""
    client = question.client
    return b"" if client is None else question.context.plan(client).bootfile.encode()


def pxe_options(question: Question) -> dict[int, bytes]:
    """Return the options that mark a proxy's offer or acknowledgement."""
    options = vendor_class(question)
    client = question.client
    if client is not None and client.arch.firmware in VENDOR_OPTIONS:
        options[Option.VENDOR_SPECIFIC_INFORMATION] = VENDOR_OPTIONS[client.arch.firmware]
    if is_raspberry_pi(client):
        options |= server_names(question, b"")  # later Pis look at 66 first
    return options


def server_names(question: Question, bootfile: bytes) -> dict[int, bytes]:
    """Return options 66 and 67 if the client asks for them; EDK2 prefers them to the fields.

    They end with the NUL that some ROMs need (dnsmasq's rfc2131.c).
    """
    asked = question.packet.options.get(Option.PARAMETER_REQUEST_LIST, b"")
    named: dict[int, bytes] = {}
    if Option.TFTP_SERVER_NAME in asked:
        named[Option.TFTP_SERVER_NAME] = dotted(question.context.server).encode() + b"\0"
    if bootfile and Option.BOOTFILE_NAME in asked:
        named[Option.BOOTFILE_NAME] = bootfile + b"\0"
    return named


def vendor_class(question: Question) -> dict[int, bytes]:
    """Return option 60, by which firmware recognises an answer for itself."""
    client = question.client
    by_http = client is not None and client.arch.firmware is Firmware.UEFI_HTTP
    return {Option.VENDOR_CLASS_IDENTIFIER: pxe.HTTP_CLIENT if by_http else pxe.PXE_CLIENT}


def compose(
    question: Question,
    kind: Type,
    options: dict[int, bytes],
    *,
    flags: int,
    bootfile: bytes = b"",
    ciaddr: IPv4Address = ANY,
    yiaddr: IPv4Address = ANY,
    identifier: IPv4Address | None = None,
) -> Packet:
    """Return an answer with the fields common to all (RFC 2131 table 3) and those for booting.

    ``identifier`` is the server that the PC is to know, if it is not us.
    """
    request, server = question.packet, question.context.server
    all_options = {
        Option.DHCP_MESSAGE_TYPE: bytes((kind,)),
        Option.SERVER_IDENTIFIER: packed(identifier or server),
        **options,
    }
    to_relay = request.options.get(ECHOED_TO_RELAY, b"")
    room = MOST_ECHOED - len(to_relay)
    for echoed in ECHOED:
        value = request.first(echoed)
        if 0 < len(value) <= room and echoed not in request.recalled:
            all_options[echoed] = value
            room -= len(value)
    if 0 < len(to_relay) <= MOST_ECHOED:
        all_options[ECHOED_TO_RELAY] = to_relay
    return Packet(
        op=BOOTREPLY,
        xid=request.xid,
        chaddr=request.chaddr,
        htype=request.htype,
        hlen=request.hlen,
        flags=flags,
        ciaddr=ciaddr,
        yiaddr=yiaddr,
        siaddr=server if bootfile else ANY,
        giaddr=request.giaddr,
        sname=dotted(server).encode() if bootfile else b"",
        file=bootfile,
        options=all_options,
    )


def addressed(question: Question, kind: Type, packet: Packet, *, unproven: bool = False) -> Reply:
    """Address an answer from port 67 (RFC 2131 section 4.1)."""
    request = question.packet
    address, port = EVERYONE, CLIENT_PORT
    if request.relayed:
        address, port = request.giaddr, SERVER_PORT
    elif kind is not Type.DHCPNAK and is_near(request.ciaddr, question.context):
        address = request.ciaddr
    client = question.client
    slow = kind is Type.DHCPOFFER and question.mac.startswith(SLOW_OUI) and is_raspberry_pi(client)
    delay = SLOW_SECONDS if slow else 0.0
    return Reply(packet, address, port, question.kind, kind, client, unproven, delay)
