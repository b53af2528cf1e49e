"""Conversations: a PC's DISCOVER says who it is for the whole conversation. Pure.

Some firmware repeats less in its REQUEST (rpi-eeprom#87: no option 60). Judged alone, such a PC would
get an ACK that contradicts its OFFER: no boot file, or the address of another PC.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from netboot.boot.limits import DHCP_CONVERSATIONS
from netboot.serve.dhcp.packet import BOOTREQUEST, MessageType, Option, Packet

# The DISCOVER alone decides on the boot. So a REQUEST that adds or changes one of these has no effect.
DECIDING = (
    Option.VENDOR_CLASS_IDENTIFIER,
    Option.USER_CLASS,
    Option.CLIENT_SYSTEM_ARCHITECTURE,
    Option.ETHERBOOT_ENCAPSULATED,
)
# These are recalled only if the later packet lacks them.
MISSED = (
    Option.CLIENT_MACHINE_IDENTIFIER,
    Option.CLIENT_IDENTIFIER,
    Option.PARAMETER_REQUEST_LIST,
)

REMEMBERED = (*DECIDING, *MISSED)

Key = tuple[int, str]


@dataclass(slots=True)
class Conversations:
    """The DISCOVERs of the last minutes by xid and card. ``now`` is a clock in seconds."""

    now: Callable[[], float]
    _begun: dict[Key, tuple[float, dict[int, bytes]]] = field(default_factory=dict, repr=False)

    def follow(self, packet: Packet) -> Packet:
        """Return ``packet``, completed if it goes on with a conversation. Remember a DISCOVER."""
        kind = packet.message_type
        if kind is None or packet.op != BOOTREQUEST:
            return packet
        key = packet.xid, packet.card
        if kind is MessageType.DHCPDISCOVER:
            self._remember(key, packet)
            return packet
        when, told = self._begun.get(key, (0.0, None))
        if told is None or self.now() - when > (DHCP_CONVERSATIONS.seconds or 0.0):
            return packet
        options = {code: value for code, value in packet.options.items() if code not in DECIDING}
        recalled = [code for code in told if code not in options]
        options |= {code: told[code] for code in recalled}
        lacking = tuple(code for code in recalled if code not in packet.options)
        return replace(packet, options=options, recalled=lacking)

    def _remember(self, key: Key, packet: Packet) -> None:
        """Put a DISCOVER at the end of the table, which keeps its size."""
        options = packet.options
        told = {code: options[code] for code in REMEMBERED if code in options}
        self._begun.pop(key, None)
        self._begun[key] = self.now(), told
        if len(self._begun) > (DHCP_CONVERSATIONS.in_total or 0):
            del self._begun[next(iter(self._begun))]
