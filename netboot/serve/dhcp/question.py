"""The DHCP messages of a PC that boots (RFC 2131 section 4.4, RFC 4578). Pure."""

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Self

from netboot.boot.arch import ARCHITECTURES, Architecture, Firmware
from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import ANY, BOOTREQUEST, BROADCAST_FLAG, MessageType, Option, Packet

WANTED = (
    Option.SUBNET_MASK,
    Option.ROUTER,
    Option.DOMAIN_NAME_SERVER,
    Option.VENDOR_SPECIFIC_INFORMATION,
    Option.VENDOR_CLASS_IDENTIFIER,
    Option.TFTP_SERVER_NAME,
    Option.BOOTFILE_NAME,
)


@dataclass(frozen=True, slots=True)
class Asker:
    """A PC and the program that runs on it: its firmware, or iPXE.

    ``mac`` is ``aa:bb:cc:dd:ee:ff``. ``nic`` is PCI vendor and device of its network card, which
    only iPXE sends.
    """

    mac: str
    arch: Architecture
    ipxe: bool = False
    nic: tuple[int, int] | None = None

    def chained(self) -> Self:
        """Return the same PC after its firmware has loaded iPXE."""
        # iPXE calls itself a PXE client even if HTTP boot loaded it.
        arch = next(
            row
            for row in (self.arch, *ARCHITECTURES)
            if row.loader == self.arch.loader and row.firmware is not Firmware.UEFI_HTTP
        )
        return replace(self, arch=arch, ipxe=True)

    def discover(self, xid: int) -> Packet:
        """Return a DHCPDISCOVER."""
        return self._message(MessageType.DHCPDISCOVER, xid)

    def request(self, offer: Packet) -> Packet:
        """Return the DHCPREQUEST that accepts ``offer`` (SELECTING: RFC 2131 section 4.3.2)."""
        options = {
            Option.REQUESTED_IP_ADDRESS: offer.yiaddr.packed,
            Option.SERVER_IDENTIFIER: offer.options[Option.SERVER_IDENTIFIER],
        }
        return self._message(MessageType.DHCPREQUEST, offer.xid, options)

    def boot_server_request(self, xid: int, address: IPv4Address) -> Packet:
        """Return a DHCPREQUEST to port 4011 of a PC with ``address`` (PXE 2.1 section 2.2.2)."""
        return self._message(MessageType.DHCPREQUEST, xid, ciaddr=address)

    def release(self, xid: int, address: IPv4Address, server: IPv4Address) -> Packet:
        """Return a DHCPRELEASE of ``address``, which ``server`` gave to the PC."""
        identifier = {Option.SERVER_IDENTIFIER: server.packed}
        return self._message(MessageType.DHCPRELEASE, xid, identifier, ciaddr=address)

    def _message(
        self,
        kind: MessageType,
        xid: int,
        more: dict[int, bytes] | None = None,
        ciaddr: IPv4Address = ANY,
    ) -> Packet:
        arch = self.arch
        by_http = arch.firmware is Firmware.UEFI_HTTP
        name = (pxe.HTTP_CLIENT if by_http else pxe.PXE_CLIENT).decode()
        options = {
            Option.DHCP_MESSAGE_TYPE: bytes((kind,)),
            **(more or {}),
            Option.VENDOR_CLASS_IDENTIFIER: f"{name}:Arch:{arch.code:05}:UNDI:003016".encode(),
            Option.CLIENT_SYSTEM_ARCHITECTURE: arch.code.to_bytes(2, "big"),
            Option.PARAMETER_REQUEST_LIST: bytes(WANTED),
        }
        if self.ipxe:
            options[Option.USER_CLASS] = pxe.IPXE_USER_CLASS
            told = {pxe.HTTP_FEATURE: b"\1", pxe.BZIMAGE_FEATURE: b"\1"}
            if self.nic is not None:
                told[pxe.BUS_ID] = struct.pack("!BHH", pxe.PCI_BUS, *self.nic)
            options[Option.ETHERBOOT_ENCAPSULATED] = pxe.serialize_suboptions(told)
        return Packet(
            op=BOOTREQUEST,
            xid=xid,
            chaddr=bytes.fromhex(self.mac.replace(":", "")).ljust(16, b"\0"),
            flags=BROADCAST_FLAG if ciaddr == ANY else 0,
            ciaddr=ciaddr,
            options=options,
        )
