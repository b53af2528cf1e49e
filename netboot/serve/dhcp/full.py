"""Full mode: answer as the LAN's only DHCP server (RFC 2131 section 4.3). Pure but for the leases."""

from dataclasses import replace
from ipaddress import IPv4Address
from math import inf

from netboot.boot.arch import Firmware
from netboot.boot.client import Stage, is_played
from netboot.errors import Ignored
from netboot.serve.dhcp import relay
from netboot.serve.dhcp.answer import (
    SKIP_PROXY_WAIT,
    Claim,
    Question,
    Reply,
    Shortage,
    addressed,
    bootfile_of,
    compose,
    far_relay,
    is_far_relay,
    is_raspberry_pi,
    pxe_options,
    server_names,
    vendor_class,
)
from netboot.serve.dhcp.packet import ANY, BROADCAST_FLAG, Option
from netboot.serve.dhcp.packet import MessageType as Type
from netboot.serve.dhcp.scope import Scope, owner_of, scope_of

# A played PC says when it ends. Its program may be killed before, and a storm takes an hour at most.
PLAYED_SECONDS = 3600.0


def full_mode(question: Question, now: float) -> Reply | Ignored:
    """Return the answer on port 67, or the reason for none."""
    packet, context = question.packet, question.context
    scope = scope_of(packet, context.server, context.scopes)
    if scope is None:
        where = relay.network_of(packet) if packet.relayed else context.server
        reason = f"no addresses for the network of {where}: not a network of the profile"
        return Ignored(reason, serious=True)
    if is_far_relay(question):
        return far_relay(question)
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


def _released(question: Question, scope: Scope, owner: str, now: float) -> Ignored:
    """End a lease at its holder's wish; on our own link only if the address falls silent."""
    address, context = question.packet.ciaddr, question.context
    if scope.pool.address_of(owner) != address:
        return Ignored(f"{address} released by a PC that does not have it")
    reason, played = f"{address} released", is_played(question.mac)  # played PCs answer no ARP
    if context.server in scope.network and not played:
        return Claim(reason, False, Type.DHCPRELEASE, owner, question.mac, address, scope)
    if context.source[0] != address and not played:
        return Ignored(f"{address} released by {context.source[0]}, which does not have it")
    if played:
        scope.pool.forget(owner, address)
    else:
        scope.pool.release(owner, address, now)
    return Ignored(reason)


def _declined(question: Question, scope: Scope, owner: str, now: float) -> Ignored:
    """Have another address for the PC; the declined one rests if a machine answers there."""
    address = question.packet.address(Option.REQUESTED_IP_ADDRESS)
    if address is None or not scope.pool.dislike(owner, address, now):
        return Ignored(f"{address} declined by a PC that does not have it")
    reason = f"{address} declined: in use by another machine"
    if question.packet.relayed or question.context.server not in scope.network:
        return Ignored(reason, serious=True)  # machines behind a relay cannot receive our probe
    return Claim(reason, True, Type.DHCPDECLINE, owner, question.mac, address, scope)


def _offer(question: Question, scope: Scope, owner: str, now: float) -> Reply | Ignored:
    packet, pool = question.packet, scope.pool
    address = pool.offer(owner, now, packet.address(Option.REQUESTED_IP_ADDRESS))
    if address is None:
        return _shortage(question, scope, owner)
    # Machines behind a relay cannot receive our probe.
    unproven = not packet.relayed and pool.is_unproven(address, now)
    return _lease(question, Type.DHCPOFFER, address, scope, pool.lease_time, unproven=unproven)


def _shortage(question: Question, scope: Scope, owner: str) -> Ignored:
    """Return the reason for no offer, one that can be mended if the PC is the profile's."""
    profile, reason = (
        question.context.profile,
        f"no free address in {scope.network}: all are in use",
    )

    def is_named(owner: str) -> bool:
        return owner.startswith("id:") or profile.names(owner)

    # Machines behind a relay cannot receive our ARP requests.
    is_far = question.packet.relayed or question.context.server not in scope.network
    if is_far or not is_named(owner):
        return Ignored(reason, serious=True)
    return Shortage(reason, True, owner, scope, is_named)


def _request(question: Question, scope: Scope, owner: str, now: float) -> Reply | Ignored:
    """Answer a DHCPREQUEST, whose four kinds differ in three fields (RFC 2131 section 4.3.2)."""
    packet, network, pool = question.packet, scope.network, scope.pool
    context = question.context
    chosen = packet.address(Option.SERVER_IDENTIFIER)
    if chosen not in (None, context.server, relay.server_override(packet)):
        pool.withdraw(owner)
        return Ignored(f"the client chose the DHCP server {chosen}")
    rebooting = packet.ciaddr == ANY
    address = packet.address(Option.REQUESTED_IP_ADDRESS) if rebooting else packet.ciaddr
    if address is None and chosen is not None:
        address = pool.address_of(owner)  # it accepts our offer, and only fails to repeat it
    if address is None:
        return Ignored("DHCPREQUEST for no address", serious=question.client is not None)
    is_near = not packet.relayed and context.server in network
    if chosen is None and is_near and pool.is_doubtful(owner, address, now):
        reason = f"{address} may be a lease of the other boot server: looked for first"
        return Claim(reason, False, Type.DHCPREQUEST, owner, question.mac, address, scope)
    most_seconds = PLAYED_SECONDS if is_played(question.mac) else inf
    if address in network and pool.commit(owner, address, now, most_seconds):
        reply = _lease(question, Type.DHCPACK, address, scope, pool.lease_time)
        # Firmware and iPXE take an offer. A client that names no server has had the address before.
        return replace(reply, renews=chosen is None and question.client is None)
    # Only a client that just came to this link must learn that its address is from elsewhere. Any
    # other unknown client may belong to another server.
    unknown = pool.address_of(owner) is None and not pool.covers(address)
    if chosen is None and unknown and (address in network or not rebooting):
        return Ignored(f"{address} is not ours to give")
    return _refusal(question, f"{address} is not your address on this network")


def _refusal(question: Question, message: str) -> Reply:
    """Return a DHCPNAK: no address, no configuration (RFC 2131 table 3)."""
    flags = question.packet.flags
    if question.packet.relayed:
        flags |= BROADCAST_FLAG  # the relay must not send it to the refused address
    packet = compose(
        question,
        Type.DHCPNAK,
        {Option.MESSAGE: message.encode()},
        flags=flags,
        identifier=relay.server_override(question.packet),
    )
    return addressed(question, Type.DHCPNAK, packet)


def _lease(
    question: Question,
    kind: Type,
    address: IPv4Address,
    scope: Scope,
    lease_time: int | None,
    *,
    unproven: bool = False,
) -> Reply:
    """Return a DHCPOFFER or DHCPACK with all settings; ``lease_time`` is None for an INFORM."""
    request, context = question.packet, question.context
    options: dict[int, bytes] = {}
    if lease_time is not None:
        options[Option.IP_ADDRESS_LEASE_TIME] = lease_time.to_bytes(4, "big")
    options |= scope.options
    options[Option.HOST_NAME] = context.profile.hostname(question.mac).encode()
    client = question.client
    if client is not None and client.stage is Stage.IPXE:
        options[Option.ETHERBOOT_ENCAPSULATED] = SKIP_PROXY_WAIT
    if client is not None and client.arch.firmware is Firmware.UEFI_HTTP:
        options |= vendor_class(question)  # without it EDK2 does not take the file for a URL
    bootfile = bootfile_of(question)
    if bootfile:
        options |= server_names(question, bootfile)
    if is_raspberry_pi(client):
        options |= pxe_options(question)
    # No option 60 for PXE: EDK2 then takes us for a plain DHCP server with a boot file, and neither
    # waits for proxies nor asks on port 4011 (PxeBcSelectDhcp4Offer).
    packet = compose(
        question,
        kind,
        options,
        ciaddr=ANY if kind is Type.DHCPOFFER else request.ciaddr,
        yiaddr=address,
        flags=request.flags,
        bootfile=bootfile,
        identifier=relay.server_override(request),
    )
    return addressed(question, kind, packet, unproven=unproven)
