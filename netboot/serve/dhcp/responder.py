"""respond(packet, context, now): the answer to one DHCP message. Pure but for the leases.

Proxy mode leaves addresses to the LAN's own DHCP server and adds the boot server and file; full
mode also gives addresses. RFC 2131 section 4.3, PXE 2.1 sections 2.2 to 2.4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from netboot.boot.arch import Firmware
from netboot.boot.client import Client, Stage, is_played
from netboot.boot.plan import BootPlan
from netboot.errors import Ignored
from netboot.profile.profile import Profile
from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import ANY, BOOTREPLY, BOOTREQUEST, BROADCAST_FLAG, Option, Packet
from netboot.serve.dhcp.packet import MessageType as Type
from netboot.serve.dhcp.scope import Scope, owner_of, scope_of
from netboot.serve.dhcp.sender import client_from_packet

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


# RFC 6842, RFC 4578, RFC 3046. The relay's option comes last, because a relay may cut it off. One that
# was sent in several parts (RFC 3396) is not echoed: the answer would be more than a frame.
ECHOED = (
    Option.CLIENT_IDENTIFIER,
    Option.CLIENT_MACHINE_IDENTIFIER,
    Option.RELAY_AGENT_INFORMATION,
)
MOST_ECHOED = 255


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Reply:
    """A packet and its target; ``client`` is None for a DHCP client that does not boot.

    ``unproven`` is True if the offered address may be in use on the link and must be probed.
    ``delay`` is the least number of seconds before the reply is sent.
    """

    packet: Packet
    address: IPv4Address
    port: int
    request: Type
    answer: Type
    client: Client | None
    unproven: bool = False
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim(Ignored):
    """A RELEASE or DECLINE of ``address``, which the link can prove or disprove.

    Its sender may be false. The machines at ``address`` must be asked before the claim of ``owner``,
    whose card is ``mac``, is believed.
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


@dataclass(frozen=True, slots=True)
class _Question:
    """A packet and the facts read from it: all that the modes below need."""

    packet: Packet
    kind: Type
    mac: str
    client: Client | None
    context: Context


def respond(packet: Packet, context: Context, now: float) -> Reply | Ignored:
    """Return the answer to ``packet``, or the reason for none. ``now``: seconds since the epoch.

    Raises ProtocolError if an option that the answer depends on cannot be parsed.
    """
    kind = packet.message_type
    if packet.op != BOOTREQUEST:
        return Ignored("a server's reply")
    if kind is None:
        return Ignored("BOOTP without DHCP: no option 53")
    if packet.mac is None:
        return Ignored(f"hardware type {packet.htype} with {packet.hlen} bytes is not Ethernet")
    sender = _sender(packet, context.profile)
    # A plain DHCP client gets an address in full mode; a boot client that we cannot boot would
    # only take one and then hang.
    in_vain = pxe.vendor_class(packet) is not None or context.profile.dhcp.mode == "proxy"
    if isinstance(sender, Ignored) and in_vain:
        return sender
    client = None if isinstance(sender, Ignored) else sender
    if _is_raspberry_pi(client) and context.profile.boot.raspberry_pi is None:
        return Ignored("a Raspberry Pi: boot.raspberry_pi is not set to a folder with its files")
    question = _Question(packet, kind, packet.mac, client, context)
    if context.port == BOOT_SERVER_PORT:
        return _boot_server(question)
    if context.profile.dhcp.mode == "proxy":
        return _proxy(question)
    return _full(question, now)


def _sender(packet: Packet, profile: Profile) -> Client | Ignored:
    """Return the PC that asks to boot, if we have images for a processor that it may have."""
    sender = client_from_packet(packet)
    if isinstance(sender, Ignored):
        return sender
    names = [processor.name for processor in sender.arch.processors]
    if names and not set(names) & set(profile.boot.architectures):
        return Ignored(f"{sender.arch.name}: boot.architectures has no {' or '.join(names)}")
    return sender


def _is_near(address: IPv4Address, context: Context) -> bool:
    """Return True if an answer may go to ``address``."""
    return address != ANY and any(address in network for network in context.networks)


def _proxy(question: _Question) -> Reply | Ignored:
    """Answer on port 67 beside another DHCP server: offer a file, without an address."""
    if question.kind is not Type.DHCPDISCOVER:
        return Ignored("left to the LAN's own DHCP server")
    relay = question.packet.giaddr
    if relay != ANY and not _is_near(relay, question.context):
        return Ignored(
            f"the relay {relay} is in no network of this server; if PCs boot there, add its "
            "network to dhcp.networks",
            serious=True,
        )
    packet = _answer(
        question,
        Type.DHCPOFFER,
        _pxe_options(question),
        flags=question.packet.flags | BROADCAST_FLAG,  # the client has no address yet
        bootfile=_bootfile(question),
    )
    return _reply(question, Type.DHCPOFFER, packet)


def _boot_server(question: _Question) -> Reply | Ignored:
    """Answer on port 4011, where a client with an address asks for its file (PXE 2.1, BINL)."""
    if question.kind is not Type.DHCPREQUEST or question.client is None:
        return Ignored(
            f"{question.kind.name} on port {BOOT_SERVER_PORT}: expected a boot client's request"
        )
    address, port = question.context.source
    if address == ANY:
        return Ignored(f"a request on port {BOOT_SERVER_PORT} from a client without an address")
    if not _is_near(address, question.context):
        return Ignored(f"{address} is in no network of this server: see dhcp.networks")
    # EDK2 asks from port 4011, iPXE from 68. Any program of any user can ask from other ports. The
    # PCs that a storm plays do, and get answers for played seats only.
    if port not in (BOOT_SERVER_PORT, CLIENT_PORT) and not is_played(question.mac):
        return Ignored(f"a request on port {BOOT_SERVER_PORT} from port {port}: expected 4011, 68")
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
    """Return the content of the file field, empty for a client that does not boot."""
    client = question.client
    return b"" if client is None else question.context.plan(client).bootfile.encode()


def _pxe_options(question: _Question) -> dict[int, bytes]:
    """Return the options that mark a proxy's offer or acknowledgement."""
    options = _vendor_class(question)
    client = question.client
    if client is not None and client.arch.firmware in VENDOR_OPTIONS:
        options[Option.VENDOR_SPECIFIC_INFORMATION] = VENDOR_OPTIONS[client.arch.firmware]
    if _is_raspberry_pi(client):
        options |= _server_names(question, b"")  # later Pis look at 66 first
    return options


def _server_names(question: _Question, bootfile: bytes) -> dict[int, bytes]:
    """Return options 66 and 67 if the client asks for them; EDK2 prefers them to the fields.

    They end with the NUL that some ROMs need (dnsmasq's rfc2131.c).
    """
    asked = question.packet.options.get(Option.PARAMETER_REQUEST_LIST, b"")
    server = str(question.context.server).encode()
    named = {int(Option.TFTP_SERVER_NAME): server, int(Option.BOOTFILE_NAME): bootfile}
    return {code: value + b"\0" for code, value in named.items() if value and code in asked}


def _vendor_class(question: _Question) -> dict[int, bytes]:
    """Return option 60, by which firmware recognises an answer for itself."""
    client = question.client
    by_http = client is not None and client.arch.firmware is Firmware.UEFI_HTTP
    return {int(Option.VENDOR_CLASS_IDENTIFIER): pxe.HTTP_CLIENT if by_http else pxe.PXE_CLIENT}


def _full(question: _Question, now: float) -> Reply | Ignored:
    """Answer on port 67 as the LAN's only DHCP server (RFC 2131 section 4.3)."""
    packet, context = question.packet, question.context
    scope = scope_of(packet, context.server, context.scopes)
    if scope is None:
        where = "the network of " + str(context.server if packet.giaddr == ANY else packet.giaddr)
        return Ignored(f"no addresses for {where}: not a network of the profile", serious=True)
    owner = owner_of(packet, question.mac, context.profile)
    match question.kind:
        case Type.DHCPDISCOVER:
            return _offer(question, scope, owner, now)
        case Type.DHCPREQUEST:
            return _request(question, scope, owner, now)
        case Type.DHCPINFORM:
            return _lease(question, Type.DHCPACK, ANY, scope, None)
        case Type.DHCPRELEASE:
            return _released(question, scope, owner, now)
        case Type.DHCPDECLINE:
            return _declined(question, scope, owner, now)
        case _:
            return Ignored(f"{question.kind.name} is sent by servers only")


def _released(question: _Question, scope: Scope, owner: str, now: float) -> Ignored:
    """End a lease at its holder's wish; on our own link only if the address falls silent."""
    address, context = question.packet.ciaddr, question.context
    if scope.pool.address_of(owner) != address:
        return Ignored(f"{address} released by a PC that does not have it")
    reason, played = f"{address} released", is_played(question.mac)  # played PCs answer no ARP
    if context.server in scope.network and not played:
        return Claim(reason, False, Type.DHCPRELEASE, owner, question.mac, address, scope)
    if context.source[0] != address and not played:
        return Ignored(f"{address} released by {context.source[0]}, which does not have it")
    scope.pool.release(owner, address, now)
    return Ignored(reason)


def _declined(question: _Question, scope: Scope, owner: str, now: float) -> Ignored:
    """Have another address for the PC; the declined one rests if a machine answers there."""
    address = question.packet.address(Option.REQUESTED_IP_ADDRESS)
    if address is None or not scope.pool.dislike(owner, address, now):
        return Ignored(f"{address} declined by a PC that does not have it")
    reason = f"{address} declined: in use by another machine"
    if question.packet.giaddr != ANY or question.context.server not in scope.network:
        return Ignored(reason, serious=True)  # machines behind a relay cannot receive our probe
    return Claim(reason, True, Type.DHCPDECLINE, owner, question.mac, address, scope)


def _offer(question: _Question, scope: Scope, owner: str, now: float) -> Reply | Ignored:
    packet, pool = question.packet, scope.pool
    address = pool.offer(owner, now, packet.address(Option.REQUESTED_IP_ADDRESS))
    if address is None:
        return _shortage(question, scope, owner)
    # Machines behind a relay cannot receive our probe.
    unproven = packet.giaddr == ANY and pool.is_unproven(address, now)
    return _lease(question, Type.DHCPOFFER, address, scope, pool.lease_time, unproven=unproven)


def _shortage(question: _Question, scope: Scope, owner: str) -> Ignored:
    """Return the reason for no offer, one that can be mended if the PC is the profile's."""
    profile, reason = (
        question.context.profile,
        f"no free address in {scope.network}: all are in use",
    )

    def is_named(owner: str) -> bool:
        return owner.startswith("id:") or profile.names(owner)

    # Machines behind a relay cannot receive our ARP requests.
    is_far = question.packet.giaddr != ANY or question.context.server not in scope.network
    if is_far or not is_named(owner):
        return Ignored(reason, serious=True)
    return Shortage(reason, True, owner, scope, is_named)


def _request(question: _Question, scope: Scope, owner: str, now: float) -> Reply | Ignored:
    """Answer a DHCPREQUEST, whose four kinds differ in three fields (RFC 2131 section 4.3.2)."""
    packet, network, pool = question.packet, scope.network, scope.pool
    chosen = packet.address(Option.SERVER_IDENTIFIER)
    if chosen is not None and chosen != question.context.server:
        pool.withdraw(owner)
        return Ignored(f"the client chose the DHCP server {chosen}")
    rebooting = packet.ciaddr == ANY
    address = packet.address(Option.REQUESTED_IP_ADDRESS) if rebooting else packet.ciaddr
    if address is None:
        return Ignored("DHCPREQUEST for no address")
    if address in network and pool.commit(owner, address, now):
        return _lease(question, Type.DHCPACK, address, scope, pool.lease_time)
    # Only a client that just came to this link must learn that its address is from elsewhere. Any
    # other unknown client may belong to another server.
    unknown = pool.address_of(owner) is None and not pool.covers(address)
    if chosen is None and unknown and (address in network or not rebooting):
        return Ignored(f"{address} is not ours to give")
    return _refusal(question, f"{address} is not your address on this network")


def _refusal(question: _Question, message: str) -> Reply:
    """Return a DHCPNAK: no address, no configuration (RFC 2131 table 3)."""
    flags = question.packet.flags
    if question.packet.giaddr != ANY:
        flags |= BROADCAST_FLAG  # the relay must not send it to the refused address
    packet = _answer(question, Type.DHCPNAK, {Option.MESSAGE: message.encode()}, flags=flags)
    return _reply(question, Type.DHCPNAK, packet)


def _lease(
    question: _Question,
    kind: Type,
    address: IPv4Address,
    scope: Scope,
    lease_time: int | None,
    *,
    unproven: bool = False,
) -> Reply:
    """Return a DHCPOFFER or DHCPACK with all settings; ``lease_time`` is None for an INFORM."""
    request, context = question.packet, question.context
    dhcp = context.profile.dhcp
    options: dict[int, bytes] = {}
    if lease_time is not None:
        options[Option.IP_ADDRESS_LEASE_TIME] = lease_time.to_bytes(4, "big")
    options[Option.SUBNET_MASK] = scope.network.netmask.packed
    if scope.router is not None:
        options[Option.ROUTER] = scope.router.packed
    for option, servers in ((Option.DOMAIN_NAME_SERVER, scope.dns), (Option.NTP_SERVERS, dhcp.ntp)):
        if servers:
            options[option] = b"".join(server.packed for server in servers)
    if dhcp.domain is not None:
        options[Option.DOMAIN_NAME] = dhcp.domain.encode()
    options[Option.HOST_NAME] = context.profile.hostname(question.mac).encode()
    client = question.client
    if client is not None and client.stage is Stage.IPXE:
        options[Option.ETHERBOOT_ENCAPSULATED] = SKIP_PROXY_WAIT
    if client is not None and client.arch.firmware is Firmware.UEFI_HTTP:
        options |= _vendor_class(question)  # without it EDK2 does not take the file for a URL
    bootfile = _bootfile(question)
    if bootfile:
        options |= _server_names(question, bootfile)
    if _is_raspberry_pi(client):
        options |= _pxe_options(question)
    # No option 60 for PXE: EDK2 then takes us for a plain DHCP server with a boot file, and neither
    # waits for proxies nor asks on port 4011 (PxeBcSelectDhcp4Offer).
    packet = _answer(
        question,
        kind,
        options,
        ciaddr=ANY if kind is Type.DHCPOFFER else request.ciaddr,
        yiaddr=address,
        flags=request.flags,
        bootfile=bootfile,
    )
    return _reply(question, kind, packet, unproven=unproven)


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
    """Return an answer with the fields common to all (RFC 2131 table 3) and those for booting."""
    request, server = question.packet, question.context.server
    all_options = {
        int(Option.DHCP_MESSAGE_TYPE): bytes((kind,)),
        int(Option.SERVER_IDENTIFIER): server.packed,
        **options,
    }
    for echoed in ECHOED:
        value = request.options.get(echoed, b"")
        if 0 < len(value) <= MOST_ECHOED:
            all_options[echoed] = value
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


def _reply(question: _Question, kind: Type, packet: Packet, *, unproven: bool = False) -> Reply:
    """Address an answer from port 67 (RFC 2131 section 4.1)."""
    request = question.packet
    address, port = EVERYONE, CLIENT_PORT
    if request.giaddr != ANY:
        address, port = request.giaddr, SERVER_PORT
    elif kind is not Type.DHCPNAK and _is_near(request.ciaddr, question.context):
        address = request.ciaddr
    client = question.client
    slow = kind is Type.DHCPOFFER and question.mac.startswith(SLOW_OUI) and _is_raspberry_pi(client)
    delay = SLOW_SECONDS if slow else 0.0
    return Reply(packet, address, port, question.kind, kind, client, unproven, delay)


def _is_raspberry_pi(client: Client | None) -> bool:
    return client is not None and client.arch.firmware is Firmware.RASPBERRY_PI
