"""respond(packet, context, now): what one DHCP message is answered. Pure but for the pool given.

Proxy mode leaves addresses to the LAN's own DHCP server and adds where to boot from; full mode
gives addresses too. RFC 2131 section 4.3, PXE 2.1 sections 2.2 to 2.4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from netboot.arch import Firmware
from netboot.client import Client, Stage, client_from_packet
from netboot.dhcp import pxe
from netboot.dhcp.lease import LeasePool
from netboot.dhcp.packet import ANY, BOOTREPLY, BOOTREQUEST, BROADCAST_FLAG, Option, Packet
from netboot.dhcp.packet import MessageType as Type
from netboot.errors import Ignored
from netboot.plan import BootPlan
from netboot.profile import Profile

SERVER_PORT = 67
CLIENT_PORT = 68
BOOT_SERVER_PORT = 4011  # PXE 2.1 section 2.2.2
EVERYONE = IPv4Address("255.255.255.255")

# "Skip discovery, load the file named": without it BIOS ROMs look for boot servers (PXE-E55).
USE_BOOT_FILE = pxe.serialize_suboptions({pxe.DISCOVERY_CONTROL: bytes((pxe.USE_BOOT_FILE,))})
SKIP_PROXY_WAIT = pxe.serialize_suboptions({pxe.NO_PXEDHCP: b"\1"})


@dataclass(frozen=True, slots=True)
class Context:
    """Where a packet arrived and what it is answered from.

    ``server`` and ``network`` are those of the interface it came in by, ``port`` is 67 or 4011,
    ``source`` its sender's address and port. ``pool`` is None in proxy mode, and in full mode on
    an interface whose network is not the pool's.
    """

    profile: Profile
    server: IPv4Address
    network: IPv4Network
    port: int
    source: tuple[IPv4Address, int]
    plan: Callable[[Client], BootPlan]
    pool: LeasePool | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A packet and where to send it; ``client`` is None for a DHCP client that is not PXE."""

    packet: Packet
    address: IPv4Address
    port: int
    request: Type
    answer: Type
    client: Client | None


@dataclass(frozen=True, slots=True)
class _Question:
    """A packet with what was read from it; all that the modes below ask about."""

    packet: Packet
    kind: Type
    mac: str
    client: Client | None
    context: Context


def respond(packet: Packet, context: Context, now: float) -> Reply | Ignored:
    """Answers ``packet``, or says why not. ``now``: seconds since the epoch, for leases.

    Raises ProtocolError if an option that the answer depends on cannot be decoded.
    """
    kind = packet.message_type
    if packet.op != BOOTREQUEST:
        return Ignored("a server's reply")
    if kind is None:
        return Ignored("BOOTP without DHCP: no option 53")
    if packet.mac is None:
        return Ignored(f"hardware type {packet.htype} with {packet.hlen} bytes is not Ethernet")
    sender = client_from_packet(packet)
    # A plain DHCP client gets an address in full mode; a PXE client that we cannot boot would
    # only take one and then hang.
    if isinstance(sender, Ignored) and (pxe.is_pxe(packet) or context.profile.dhcp.mode == "proxy"):
        return sender
    client = None if isinstance(sender, Ignored) else sender
    question = _Question(packet, kind, packet.mac, client, context)
    if context.port == BOOT_SERVER_PORT:
        return _boot_server(question)
    if context.profile.dhcp.mode == "proxy":
        return _proxy(question)
    return _full(question, now)


def _proxy(question: _Question) -> Reply | Ignored:
    """Port 67 next to another DHCP server: a second offer, with a file and without an address."""
    if question.kind is not Type.DHCPDISCOVER:
        return Ignored("left to the LAN's own DHCP server")
    packet = _answer(
        question,
        Type.DHCPOFFER,
        _pxe_options(question),
        flags=question.packet.flags | BROADCAST_FLAG,  # the client has no address yet
        bootfile=_bootfile(question),
    )
    return _reply(question, Type.DHCPOFFER, packet)


def _boot_server(question: _Question) -> Reply | Ignored:
    """Port 4011: a client that has its address asks where its file is (PXE 2.1, BINL)."""
    if question.kind is not Type.DHCPREQUEST or question.client is None:
        return Ignored(f"{question.kind.name} on port {BOOT_SERVER_PORT}")
    address, port = question.context.source
    if address == ANY:
        return Ignored(f"a request on port {BOOT_SERVER_PORT} from a client without an address")
    packet = _answer(
        question,
        Type.DHCPACK,
        _pxe_options(question),
        ciaddr=question.packet.ciaddr,
        flags=question.packet.flags & ~BROADCAST_FLAG,
        bootfile=_bootfile(question),
    )
    return Reply(packet, address, port, question.kind, Type.DHCPACK, question.client)


def _bootfile(question: _Question) -> bytes:
    """What goes into the file field; empty for a client that is not PXE."""
    client = question.client
    return b"" if client is None else question.context.plan(client).bootfile.encode()


def _pxe_options(question: _Question) -> dict[int, bytes]:
    """Options that make a proxy's offer or acknowledgement one."""
    options = {int(Option.VENDOR_CLASS_IDENTIFIER): pxe.VENDOR_CLASS}
    client = question.client
    if client is not None and client.arch.firmware is Firmware.BIOS:
        options[Option.VENDOR_SPECIFIC_INFORMATION] = USE_BOOT_FILE
    # UEFI gets no option 43: EDK2 before 2017 throws the first offer away that has sub-options
    # 6 to 10 (edk2#6944), but caches one without as BINL's and then asks on port 4011.
    return options


def _full(question: _Question, now: float) -> Reply | Ignored:
    """Port 67 as the LAN's only DHCP server (RFC 2131 section 4.3)."""
    packet, context, pool = question.packet, question.context, question.context.pool
    if pool is None:
        return Ignored(f"no addresses to give in {context.network}")
    if packet.giaddr != ANY and packet.giaddr not in context.network:
        return Ignored(f"relayed by {packet.giaddr}, which is not in {context.network}")
    match question.kind:
        case Type.DHCPDISCOVER:
            wanted = packet.address(Option.REQUESTED_IP_ADDRESS)
            address = pool.offer(question.mac, now, wanted)
            if address is None:
                return Ignored("all addresses of dhcp.range are in use")
            return _lease(question, Type.DHCPOFFER, address, pool.lease_time)
        case Type.DHCPREQUEST:
            return _request(question, pool, now)
        case Type.DHCPINFORM:
            return _lease(question, Type.DHCPACK, ANY, None)
        case Type.DHCPRELEASE:
            pool.release(question.mac, packet.ciaddr, now)
            return Ignored(f"{packet.ciaddr} released")
        case Type.DHCPDECLINE:
            declined = packet.address(Option.REQUESTED_IP_ADDRESS)
            if declined is not None:
                pool.decline(question.mac, declined, now)
            return Ignored(f"{declined} declined: another machine uses it")
        case _:
            return Ignored(f"{question.kind.name} is a server's message")


def _request(question: _Question, pool: LeasePool, now: float) -> Reply | Ignored:
    """DHCPREQUEST, whose four kinds RFC 2131 section 4.3.2 tells apart by three fields."""
    packet, network = question.packet, question.context.network
    chosen = packet.address(Option.SERVER_IDENTIFIER)
    if chosen is not None and chosen != question.context.server:
        pool.withdraw(question.mac)
        return Ignored(f"the client chose the DHCP server {chosen}")
    rebooting = packet.ciaddr == ANY
    address = packet.address(Option.REQUESTED_IP_ADDRESS) if rebooting else packet.ciaddr
    if address is None:
        return Ignored("DHCPREQUEST for no address")
    if address in network and pool.commit(question.mac, address, now):
        return _lease(question, Type.DHCPACK, address, pool.lease_time)
    # Only who just came to this link must hear that its address is from elsewhere; any other that
    # we do not know may be another server's.
    unknown = pool.address_of(question.mac) is None and not pool.covers(address)
    if chosen is None and unknown and (address in network or not rebooting):
        return Ignored(f"{address} is not ours to give")
    return _refusal(question, f"{address} is not yours on this network")


def _refusal(question: _Question, message: str) -> Reply:
    """DHCPNAK: no address, no configuration (RFC 2131 table 3)."""
    flags = question.packet.flags
    if question.packet.giaddr != ANY:
        flags |= BROADCAST_FLAG  # the relay must not send it to the refused address
    packet = _answer(question, Type.DHCPNAK, {Option.MESSAGE: message.encode()}, flags=flags)
    return _reply(question, Type.DHCPNAK, packet)


def _lease(question: _Question, kind: Type, address: IPv4Address, lease_time: int | None) -> Reply:
    """DHCPOFFER or DHCPACK with all that a client wants to know; ``lease_time`` None: INFORM."""
    request, context = question.packet, question.context
    dhcp = context.profile.dhcp
    options: dict[int, bytes] = {}
    if lease_time is not None:
        options[Option.IP_ADDRESS_LEASE_TIME] = lease_time.to_bytes(4, "big")
    options[Option.SUBNET_MASK] = context.network.netmask.packed
    if dhcp.router is not None:
        options[Option.ROUTER] = dhcp.router.packed
    if dhcp.dns:
        options[Option.DOMAIN_NAME_SERVER] = b"".join(server.packed for server in dhcp.dns)
    options[Option.HOST_NAME] = context.profile.seat(question.mac).hostname.encode()
    if question.client is not None and question.client.stage is Stage.IPXE:
        options[Option.ETHERBOOT_ENCAPSULATED] = SKIP_PROXY_WAIT
    bootfile = _bootfile(question)
    asked = request.options.get(Option.PARAMETER_REQUEST_LIST, b"")
    # With the NUL that some ROMs need (dnsmasq's rfc2131.c); EDK2 prefers these to the fields.
    if bootfile and Option.TFTP_SERVER_NAME in asked:
        options[Option.TFTP_SERVER_NAME] = str(context.server).encode() + b"\0"
    if bootfile and Option.BOOTFILE_NAME in asked:
        options[Option.BOOTFILE_NAME] = bootfile + b"\0"
    # No option 60: EDK2 then takes us for a plain DHCP server with a boot file, and does not
    # wait for proxies nor ask on port 4011 (PxeBcSelectDhcp4Offer).
    packet = _answer(
        question,
        kind,
        options,
        ciaddr=ANY if kind is Type.DHCPOFFER else request.ciaddr,
        yiaddr=address,
        flags=request.flags,
        bootfile=bootfile,
    )
    return _reply(question, kind, packet)


def _answer(
    question: _Question,
    kind: Type,
    options: dict[int, bytes],
    *,
    flags: int,
    bootfile: bytes = b"",
    ciaddr: IPv4Address = ANY,
    yiaddr: IPv4Address = ANY,
) -> Packet:
    """The fields that all answers share (RFC 2131 table 3), and those to boot by."""
    request, server = question.packet, question.context.server
    all_options = {
        int(Option.DHCP_MESSAGE_TYPE): bytes((kind,)),
        int(Option.SERVER_IDENTIFIER): server.packed,
        **options,
    }
    for echoed in (Option.CLIENT_IDENTIFIER, Option.CLIENT_MACHINE_IDENTIFIER):  # RFC 6842, 4578
        if request.options.get(echoed):
            all_options[echoed] = request.options[echoed]
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
        sname=str(server).encode() if bootfile else b"",
        file=bootfile,
        options=all_options,
    )


def _reply(question: _Question, kind: Type, packet: Packet) -> Reply:
    """Addresses an answer from port 67 (RFC 2131 section 4.1)."""
    request = question.packet
    address, port = EVERYONE, CLIENT_PORT
    if request.giaddr != ANY:
        address, port = request.giaddr, SERVER_PORT
    elif request.ciaddr != ANY and kind is not Type.DHCPNAK:
        address = request.ciaddr
    return Reply(packet, address, port, question.kind, kind, question.client)
