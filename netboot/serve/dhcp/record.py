"""The journal's events of DHCP: one for each packet of a seat and one for each answer. Pure."""

from typing import Any

from netboot.boot.events import BootEvent
from netboot.errors import Ignored
from netboot.serve.dhcp.answer import BOOT_SERVER_PORT, SERVER_PORT, Reply
from netboot.serve.dhcp.packet import Packet
from netboot.serve.dhcp.pxe import vendor_class

STAGES = {SERVER_PORT: "dhcp", BOOT_SERVER_PORT: "pxe"}


def of_request(packet: Packet, port: int, result: Reply | Ignored, when: float) -> BootEvent | None:
    """Return the event for a packet of a seat, or None for traffic of others without an answer.

    ``when`` is seconds since the epoch.
    """
    kind = packet.message_type
    if kind is None or packet.mac is None:
        return None
    name = kind.name.removeprefix("DHCP")
    data: dict[str, Any] = {"type": name}
    if isinstance(result, Ignored):
        if vendor_class(packet) is None and not result.serious:
            return None
        message = f"{name}: {result.reason}"
    elif result.client is None:
        message = f"{name} from a DHCP client"
    else:
        data["arch"] = result.client.arch.name
        data["stage"] = result.client.stage.value
        named = vendor_class(packet) or b""
        sender = "iPXE" if data["stage"] == "ipxe" else named.decode()
        message = f"{name} from {sender} {data['arch']}"
    return BootEvent(when, packet.mac, STAGES[port], message, data)


def of_reply(reply: Reply, port: int, milliseconds: float, when: float) -> BootEvent:
    """Return the event for an answer, which took ``milliseconds``."""
    packet, name = reply.packet, reply.answer.name.removeprefix("DHCP")
    file = packet.file.decode().rpartition("/")[2]
    data: dict[str, Any] = {"type": name, "ms": round(milliseconds, 3)}
    words = [name]
    if int(packet.yiaddr):
        data["address"] = str(packet.yiaddr)
        words[0] += f" {packet.yiaddr}"
    if file:
        data["file"] = file
        words.append(f"boot file {file}")
    return BootEvent(when, packet.mac or "", STAGES[port], ", ".join(words), data)
