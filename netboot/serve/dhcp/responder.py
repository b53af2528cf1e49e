"""respond(packet, context, now): the answer to one DHCP message. Pure but for the leases.

Proxy mode leaves addresses to the LAN's own DHCP server and adds the boot server and file; full
mode also gives addresses (full.py). RFC 2131 section 4.3, PXE 2.1 sections 2.2 to 2.4.
"""

from dataclasses import replace

from netboot.boot.client import Client, is_played
from netboot.errors import Ignored
from netboot.profile.profile import Profile
from netboot.serve.dhcp import pxe, refusal
from netboot.serve.dhcp.answer import (
    BOOT_SERVER_PORT,
    CLIENT_PORT,
    Context,
    Question,
    Reply,
    addressed,
    bootfile_of,
    compose,
    far_relay,
    is_far_relay,
    is_near,
    is_raspberry_pi,
    pxe_options,
)
from netboot.serve.dhcp.full import full_mode
from netboot.serve.dhcp.packet import ANY, BOOTREQUEST, BROADCAST_FLAG, Option, Packet
from netboot.serve.dhcp.packet import MessageType as Type
from netboot.serve.dhcp.sender import client_from_packet, not_ethernet


def respond(packet: Packet, context: Context, now: float) -> Reply | Ignored:
    """Return the answer to ``packet``, or the reason for none. ``now``: seconds since the epoch."""
    result = _answer(packet, context, now)
    if not isinstance(result, Ignored) or not result.serious:
        return result
    if packet.message_type not in (None, Type.DHCPDISCOVER, Type.DHCPREQUEST):
        return result
    return replace(result, shows=refusal.screen(packet, context.port, context.profile.dhcp.mode))


def _answer(packet: Packet, context: Context, now: float) -> Reply | Ignored:
    kind = packet.message_type
    if packet.op != BOOTREQUEST:
        return Ignored("a server's reply")
    boots = pxe.vendor_class(packet) is not None
    if kind is None:
        number = packet.options.get(Option.DHCP_MESSAGE_TYPE, b"")[:1]
        if number > bytes((Type.DHCPINFORM,)):  # lease queries, forced renewals and the like
            return Ignored(f"a message of type {number[0]}: not of a PC that boots")
        return Ignored("BOOTP without DHCP: no message type in option 53", serious=boots)
    if packet.mac is None:
        return Ignored(not_ethernet(packet), serious=boots)
    sender = _sender(packet, context.profile)
    # A plain DHCP client gets an address in full mode; a boot client that we cannot boot would
    # only take one and then hang.
    if isinstance(sender, Ignored) and (boots or context.profile.dhcp.mode == "proxy"):
        return replace(sender, serious=boots)
    client = None if isinstance(sender, Ignored) else sender
    if is_raspberry_pi(client) and context.profile.boot.raspberry_pi is None:
        reason = "a Raspberry Pi: boot.raspberry_pi is not set to a folder with its files"
        return Ignored(reason, serious=True)
    question = Question(packet, kind, packet.mac, client, context)
    if context.port == BOOT_SERVER_PORT:
        return _boot_server(question)
    if context.profile.dhcp.mode == "proxy":
        return _proxy(question)
    return full_mode(question, now)


def _sender(packet: Packet, profile: Profile) -> Client | Ignored:
    """Return the PC that asks to boot, if we have images for a processor that it may have."""
    sender = client_from_packet(packet)
    if isinstance(sender, Ignored):
        return sender
    arch, ours = sender.arch, profile.boot.architectures
    for processor in arch.processors:
        if processor.name in ours:
            return sender
    if not arch.processors:
        return sender
    names = " or ".join(processor.name for processor in arch.processors)
    return Ignored(f"{arch.name}: boot.architectures has no {names}")


def _proxy(question: Question) -> Reply | Ignored:
    """Answer on port 67 beside another DHCP server: offer a file, without an address."""
    if question.kind is not Type.DHCPDISCOVER:
        return Ignored("left to the LAN's own DHCP server")
    if is_far_relay(question):
        return far_relay(question)
    packet = compose(
        question,
        Type.DHCPOFFER,
        pxe_options(question),
        flags=question.packet.flags | BROADCAST_FLAG,  # the client has no address yet
        bootfile=bootfile_of(question),
    )
    return addressed(question, Type.DHCPOFFER, packet)


def _boot_server(question: Question) -> Reply | Ignored:
    """Answer on port 4011, where a client with an address asks for its file (PXE 2.1, BINL)."""
    if question.kind is not Type.DHCPREQUEST or question.client is None:
        return Ignored(
            f"{question.kind.name} on port {BOOT_SERVER_PORT}: expected a boot client's request"
        )
    address, port = question.context.source
    if address == ANY:
        return Ignored(f"a request on port {BOOT_SERVER_PORT} from a client without an address")
    if not is_near(address, question.context):
        reason = f"{address} is in no network of this server; if PCs boot there, add its network "
        return Ignored(reason + "to dhcp.networks", serious=True)
    # EDK2 asks from port 4011, iPXE from 68. Any program of any user can ask from other ports. The
    # PCs that a storm plays do, and get answers for played seats only.
    if port not in (BOOT_SERVER_PORT, CLIENT_PORT) and not is_played(question.mac):
        return Ignored(f"a request on port {BOOT_SERVER_PORT} from port {port}: expected 4011, 68")
    packet = compose(
        question,
        Type.DHCPACK,
        pxe_options(question),
        ciaddr=question.packet.ciaddr,
        flags=question.packet.flags & ~BROADCAST_FLAG,
        bootfile=bootfile_of(question),
    )
    return Reply(packet, address, port, question.kind, Type.DHCPACK, question.client)
