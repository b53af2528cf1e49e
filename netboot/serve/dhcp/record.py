"""The journal's events of DHCP: one for each packet of a seat and one for each answer. Pure."""

from functools import lru_cache
from typing import Any

from netboot.boot.arch import BY_NAME, Architecture, Firmware
from netboot.boot.client import Client, Stage
from netboot.boot.events import BootEvent
from netboot.errors import Ignored, ProtocolError
from netboot.serve.dhcp.answer import BOOT_SERVER_PORT, SERVER_PORT, Reply
from netboot.serve.dhcp.packet import BOOTREQUEST, Option, Packet, dotted
from netboot.serve.dhcp.pxe import architectures, listed, vendor_class
from netboot.serve.dhcp.refusal import mac_in, screen
from netboot.serve.dhcp.sender import KINDS

STAGES = {SERVER_PORT: "dhcp", BOOT_SERVER_PORT: "pxe"}
_PROGRAMS = {stage: stage.value for stage in Stage}


def of_request(packet: Packet, port: int, result: Reply | Ignored, when: float) -> BootEvent | None:
    """Return the event for a packet of a seat.

    Return None for traffic of others without an answer, and for a PC that renews its lease: it does
    so for as long as it is on. ``when`` is seconds since the epoch.
    """
    kind = packet.message_type
    serious = isinstance(result, Ignored) and result.serious
    if (kind is None and not serious) or packet.mac is None:
        return None
    name = "BOOTP" if kind is None else kind.word
    data: dict[str, Any] = {"type": name}
    if isinstance(result, Ignored):
        if vendor_class(packet) is None and not result.serious:
            return None
        message = f"{name}: {result.told}"
    elif result.renews:
        return None
    elif result.client is None:
        message = f"{name} from a DHCP client"
    else:
        arch, stage = result.client.arch.name, result.client.stage
        data["arch"] = arch
        data["stage"] = _PROGRAMS[stage]
        told = packet.options.get(Option.VENDOR_CLASS_IDENTIFIER, b"")
        codes = packet.first(Option.CLIENT_SYSTEM_ARCHITECTURE)
        message = f"{name} from {_sender(told, codes, arch, stage is Stage.IPXE)}"
    return BootEvent(when, packet.mac, STAGES[port], message, data)


def of_overheard(client: Client, when: float) -> BootEvent:
    """Return the event for a DISCOVER that is left to another server."""
    arch, stage = client.arch.name, client.stage.value
    sender = "iPXE" if client.stage is Stage.IPXE else "firmware"
    message = f"DISCOVER from {sender} {arch}, left to the LAN's own DHCP server"
    data = {"type": "DISCOVER", "arch": arch, "stage": stage}
    return BootEvent(when, client.mac, STAGES[SERVER_PORT], message, data)


@lru_cache(maxsize=KINDS)
def _sender(told: bytes, codes: bytes, arch: str, is_ipxe: bool) -> str:
    """Return the words for what asks, by its options 60 and 93 and the architecture that we see."""
    options = {Option.VENDOR_CLASS_IDENTIFIER: told, Option.CLIENT_SYSTEM_ARCHITECTURE: codes}
    packet = Packet(BOOTREQUEST, 0, bytes(16), options=options)
    program = "iPXE" if is_ipxe else (vendor_class(packet) or b"").decode()
    return f"{program} {arch}{_misnamed(packet, BY_NAME[arch])}"


def _misnamed(packet: Packet, arch: Architecture) -> str:
    """Return a note on the architecture, if the PC names none or one of another way to boot."""
    codes = architectures(packet)
    if arch.code in codes or arch.firmware is Firmware.RASPBERRY_PI:
        return ""
    return f" (option 93: {listed(codes)})" if codes else " (names no architecture)"


def of_damage(data: bytes, port: int, error: ProtocolError, when: float) -> BootEvent | None:
    """Return the event for a message that cannot be parsed; None if its header names no PC."""
    mac = mac_in(data)
    if not mac:
        return None
    return BootEvent(when, mac, STAGES[port], f"a damaged packet got no answer: {error}")


def of_failure(
    asked: Packet, reply: Reply, port: int, mode: str, reason: str, when: float
) -> BootEvent:
    """Return the event for an answer that could not be sent, for ``reason``."""
    name = reply.answer.word
    told = Ignored(f"no {name} is sent: {reason}", shows=screen(asked, port, mode)).told
    return BootEvent(when, asked.mac or "", STAGES[port], told)


def of_reply(reply: Reply, port: int, milliseconds: float, when: float) -> BootEvent | None:
    """Return the event for an answer, which took ``milliseconds``; None if its PC renews a lease."""
    if reply.renews:
        return None
    packet, name = reply.packet, reply.answer.word
    file = packet.file.decode().rpartition("/")[2]
    data: dict[str, Any] = {"type": name, "ms": round(milliseconds, 3)}
    message = name
    if int(packet.yiaddr):
        data["address"] = address = dotted(packet.yiaddr)
        message += f" {address}"
    if file:
        data["file"] = file
        message += f", boot file {file}"
    return BootEvent(when, packet.mac or "", STAGES[port], message, data)
