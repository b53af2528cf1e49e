"""DHCP messages: bytes <-> Packet. Sans-IO (RFC 951, 2131, 2132, 3396).

The parser accepts the forms that clients in the field send: no END, no padding, overload, split or
doubled options, an option that is cut off. It refuses only a message whose header cannot be read.
The serializer is strict: option 53 first, no overload, END, then zeros up to 300 bytes.
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

from netboot.errors import ProtocolError

BOOTREQUEST = 1
BOOTREPLY = 2
ETHERNET = 1  # htype (RFC 1700)
BROADCAST_FLAG = 0x8000  # RFC 2131 section 2, figure 2

# op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file
HEADER = struct.Struct("!4B I 2H 4s4s4s4s 16s 64s 128s")
MAGIC_COOKIE = bytes((99, 130, 83, 99))  # RFC 2131 section 3
SNAME_BYTES = 64
FILE_BYTES = 128
# Relays and boot ROMs drop shorter messages: BOOTP's own size (RFC 951 section 3), opnsense#7744.
MIN_BYTES = 300

PAD = 0
OVERLOAD = 52
END = 255


class MessageType(IntEnum):
    """Option 53 (RFC 2132 section 9.6). ``word`` is what a person calls it, such as OFFER."""

    word: str

    def __init__(self, _number: int) -> None:
        self.word = self.name.removeprefix("DHCP")

    DHCPDISCOVER = 1
    DHCPOFFER = 2
    DHCPREQUEST = 3
    DHCPDECLINE = 4
    DHCPACK = 5
    DHCPNAK = 6
    DHCPRELEASE = 7
    DHCPINFORM = 8


MESSAGE_TYPES = {bytes((each,)): each for each in MessageType}


class Option:
    """Option numbers by their names in RFC 2132, 3004, 3046, 4578; 175 is iPXE's own.

    No enum: a look into a packet takes nine times as long with one, and an answer needs thirty.
    """

    SUBNET_MASK: Final = 1
    ROUTER: Final = 3
    DOMAIN_NAME_SERVER: Final = 6
    HOST_NAME: Final = 12
    DOMAIN_NAME: Final = 15
    NTP_SERVERS: Final = 42
    VENDOR_SPECIFIC_INFORMATION: Final = 43
    REQUESTED_IP_ADDRESS: Final = 50
    IP_ADDRESS_LEASE_TIME: Final = 51
    DHCP_MESSAGE_TYPE: Final = 53
    SERVER_IDENTIFIER: Final = 54
    PARAMETER_REQUEST_LIST: Final = 55
    MESSAGE: Final = 56
    VENDOR_CLASS_IDENTIFIER: Final = 60
    CLIENT_IDENTIFIER: Final = 61
    TFTP_SERVER_NAME: Final = 66
    BOOTFILE_NAME: Final = 67
    USER_CLASS: Final = 77
    RELAY_AGENT_INFORMATION: Final = 82
    CLIENT_SYSTEM_ARCHITECTURE: Final = 93
    CLIENT_MACHINE_IDENTIFIER: Final = 97
    ETHERBOOT_ENCAPSULATED: Final = 175


OPTION_NAMES: Mapping[int, str] = {
    number: name for name, number in vars(Option).items() if isinstance(number, int)
}

# The first bytes of these decide on the answer, so they count even if the option is cut off.
DECIDE_CUT_OFF = (
    Option.DHCP_MESSAGE_TYPE,
    Option.VENDOR_CLASS_IDENTIFIER,
    Option.CLIENT_SYSTEM_ARCHITECTURE,
)

ANY = IPv4Address(0)
NO_ADDRESS = bytes(4)


# Not frozen, as all that is made for each packet, because Python takes four times as long to make what
# is. A tenth of an answer's time was spent on that. Nothing changes them all the same.
@dataclass(slots=True)
class Packet:
    """One DHCP message, its options joined (RFC 3396) and overload (option 52) resolved.

    ``chaddr`` is all 16 bytes of the field; ``sname`` and ``file`` end before the first NUL.
    ``secs`` is in seconds. ``options`` maps an option's number to its value, in wire order.
    ``firsts`` are the first copies of options that came in several. ``recalled`` are the options that
    are known from an earlier packet only (conversation.py).
    """

    op: int
    xid: int
    chaddr: bytes
    htype: int = ETHERNET
    hlen: int = 6
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = ANY
    yiaddr: IPv4Address = ANY
    siaddr: IPv4Address = ANY
    giaddr: IPv4Address = ANY
    sname: bytes = b""
    file: bytes = b""
    options: Mapping[int, bytes] = field(default_factory=dict)
    firsts: Mapping[int, bytes] = field(default_factory=dict, compare=False)
    recalled: Collection[int] = ()
    relayed: bool = field(init=False, compare=False)
    """True if a relay passed the message on: it names itself in ``giaddr``."""
    mac: str | None = field(init=False, compare=False)
    """``aa:bb:cc:dd:ee:ff``, or None without an Ethernet address (EDK2 may send a GUID).

    A hardware type or length that is wrong does no harm if the field has six bytes and no more.
    """

    def __post_init__(self) -> None:
        # Made once: an answer looks at them some twenty times.
        self.relayed = self.giaddr is not ANY and self.giaddr != ANY
        chaddr = self.chaddr
        is_odd = self.htype != ETHERNET or self.hlen != 6
        is_other = is_odd and (any(chaddr[6:]) or not any(chaddr))
        self.mac = None if is_other else chaddr[:6].hex(":")

    @property
    def card(self) -> str:
        """The sender's card: its MAC address, without the junk that may follow; else all of chaddr."""
        return self.mac or self.chaddr.hex()

    @property
    def message_type(self) -> MessageType | None:
        """The first byte of option 53; None for plain BOOTP, and for types that PCs do not send."""
        return MESSAGE_TYPES.get(self.options.get(Option.DHCP_MESSAGE_TYPE, b"")[:1])

    def first(self, option: int) -> bytes:
        """Return the first copy of an option, empty if it is absent."""
        return self.firsts.get(option) or self.options.get(option, b"")

    def address(self, option: int) -> IPv4Address | None:
        """Return the first address in ``option``; None if it is absent or too short."""
        value = self.options.get(option, b"")
        return IPv4Address(value[:4]) if len(value) >= 4 else None


def dotted(address: IPv4Address) -> str:
    """Return an address as ``str`` does, in a third of its time."""
    number = int(address)
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def packed(address: IPv4Address) -> bytes:
    """Return the four bytes of an address, as its own ``packed`` does, in half of its time."""
    return int(address).to_bytes(4, "big")


def parse(data: bytes) -> Packet:
    """Parse one UDP payload. Raises ProtocolError, and no other error for any bytes."""
    smallest = HEADER.size + len(MAGIC_COOKIE)
    if len(data) < smallest:
        raise ProtocolError(f"{len(data)} bytes, expected at least {smallest} of a DHCP message")
    (
        op,
        htype,
        hlen,
        hops,
        xid,
        secs,
        flags,
        ciaddr,
        yiaddr,
        siaddr,
        giaddr,
        chaddr,
        sname,
        file,
    ) = HEADER.unpack_from(data)
    if op not in (BOOTREQUEST, BOOTREPLY):
        raise ProtocolError(f"op is {op}, expected {BOOTREQUEST} or {BOOTREPLY}")
    cookie = data[HEADER.size : smallest]
    if cookie != MAGIC_COOKIE:
        raise ProtocolError(f"magic cookie is {cookie.hex()}, expected {MAGIC_COOKIE.hex()}")
    options: dict[int, bytes] = {}
    firsts: dict[int, bytes] = {}
    _read_options(data[smallest:], options, firsts)
    overloaded = _overload(options)
    # RFC 3396 section 5: the aggregate buffer is options, then file, then sname.
    if overloaded & 1:
        _read_options(file, options, firsts)
        file = b""
    if overloaded & 2:
        _read_options(sname, options, firsts)
        sname = b""
    options.pop(OVERLOAD, None)
    return Packet(
        op,
        xid,
        chaddr,
        htype,
        hlen,
        hops,
        secs,
        flags,
        _address(ciaddr),
        _address(yiaddr),
        _address(siaddr),
        _address(giaddr),
        sname.partition(b"\0")[0],
        file.partition(b"\0")[0],
        options,
        firsts,
    )


def _address(field: bytes) -> IPv4Address:
    return ANY if field == NO_ADDRESS else IPv4Address(field)


def _overload(options: dict[int, bytes]) -> int:
    """Return option 52 (RFC 2132 section 9.3): bit 0 the file field, bit 1 the sname field.

    A value that is not of the RFC is as good as none.
    """
    value = options.get(OVERLOAD, b"")[:1]
    return value[0] if value in (b"\1", b"\2", b"\3") else 0


def _read_options(data: bytes, options: dict[int, bytes], firsts: dict[int, bytes]) -> None:
    """Append the options in ``data`` to ``options``, up to END or to the end of the bytes.

    Put the first copy of an option that came before into ``firsts``. Leave an option out that is
    cut off, unless its beginning decides.
    """
    at, size = 0, len(data)
    while at < size and (code := data[at]) != END:
        if code == PAD:
            at += 1
            continue
        end = at + 2 + data[at + 1] if at + 1 < size else size + 1
        if end <= size or code in DECIDE_CUT_OFF:
            value = data[at + 2 : end]
            if code in options:
                firsts.setdefault(code, options[code])
                value = options[code] + value
            options[code] = value
        at = end


def serialize(packet: Packet) -> bytes:
    """Serialize ``packet``: option 53 first, values over 255 bytes split, END, at least 300 bytes.

    Never use overload, which confuses old boot ROMs (dnsmasq(8), --dhcp-no-override). Raises
    ValueError if a field has no encoding, which is a fault of ours and not of a peer.
    """
    header = HEADER.pack(
        packet.op,
        packet.htype,
        packet.hlen,
        packet.hops,
        packet.xid,
        packet.secs,
        packet.flags,
        packed(packet.ciaddr),
        packed(packet.yiaddr),
        packed(packet.siaddr),
        packed(packet.giaddr),
        _field(packet.chaddr, 16, "chaddr"),
        # One byte less than the field: boot ROMs read past a name without a NUL.
        _field(packet.sname, SNAME_BYTES - 1, "sname"),
        _field(packet.file, FILE_BYTES - 1, "file"),
    )
    out = bytearray(header + MAGIC_COOKIE)
    options = packet.options
    if next(iter(options), Option.DHCP_MESSAGE_TYPE) != Option.DHCP_MESSAGE_TYPE:
        kind = options.get(Option.DHCP_MESSAGE_TYPE)
        first = {} if kind is None else {Option.DHCP_MESSAGE_TYPE: kind}
        options = {**first, **options}  # the other options keep their order
    for code, value in options.items():
        if code == OVERLOAD or not PAD < code < END:
            raise ValueError(f"option {code} must not be sent")
        if len(value) <= 255:
            out.append(code)
            out.append(len(value))
            out += value
            continue
        for start in range(0, len(value), 255):
            part = value[start : start + 255]
            out += b"%c%c%b" % (code, len(part), part)
    out.append(END)
    # Zeros after END, never before (U-Boot) nor between options (WDS's parser; iPXE's efi_pxe.c).
    return bytes(out.ljust(MIN_BYTES, b"\0"))


def _field(value: bytes, longest: int, name: str) -> bytes:
    if len(value) > longest:
        raise ValueError(f"{name} has {len(value)} bytes, expected at most {longest}")
    return value
