"""PXE clients made by scapy: an encoder and decoder of DHCP that shares no line with ours."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from scapy.layers.dhcp import BOOTP, DHCP

MACHINE = UUID("12345678-9abc-def0-1234-56789abcdef0")

BIOS = 0
UEFI_X64 = 7
UEFI_X64_HTTP = 16
UEFI_HTTP = (UEFI_X64_HTTP, 19)

# What EDK2 and iPXE ask for, merged; 66 and 67 matter to us.
PARAMETERS = [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 175, 203]


@dataclass(frozen=True)
class PxeClient:
    """One PC's firmware, or iPXE on it; ``bytes`` out are UDP payloads."""

    mac: str = "52:54:00:12:34:56"
    arch: int = BIOS
    ipxe: bool = False
    xid: int = 0x1234ABCD
    vendor: bytes = b""  # option 60 begins with it; PXEClient or HTTPClient by the code

    def discover(self, **fields: Any) -> bytes:
        """DHCPDISCOVER; keyword arguments are fields of the BOOTP header, by scapy's names."""
        return self.message("discover", **fields)

    def request(self, *options: Any, **fields: Any) -> bytes:
        """DHCPREQUEST with ``options`` added, as scapy writes them."""
        return self.message("request", *options, **fields)

    def message(self, kind: str, *options: Any, **fields: Any) -> bytes:
        """A message with all the options that PXE requires (RFC 4578, PXE 2.1 table 2-3)."""
        marks: list[Any] = [
            ("param_req_list", PARAMETERS),
            (57, (1472).to_bytes(2, "big")),
            (93, self.arch.to_bytes(2, "big")),
            (94, b"\x01\x03\x10" if self.arch else b"\x01\x02\x01"),
            (97, b"\x00" + MACHINE.bytes),
            ("vendor_class_id", self._vendor_class()),
        ]
        if self.ipxe:
            # bus-id of an e1000 in QEMU, version 1.0.0, features HTTP and bzImage
            marks += [(77, b"iPXE"), (175, bytes.fromhex("b105018086100eeb03010000130101180101"))]
        return self.plain(kind, *marks, *options, **fields)

    def _vendor_class(self) -> bytes:
        name = self.vendor or (b"HTTPClient" if self.arch in UEFI_HTTP else b"PXEClient")
        return name + b":Arch:%05d:UNDI:003016" % self.arch

    def plain(self, kind: str, *options: Any, **fields: Any) -> bytes:
        """A message without PXE's marks."""
        header: dict[str, Any] = {
            "op": 1,
            "xid": self.xid,
            "secs": 4,
            "flags": 0x8000,
            "chaddr": bytes.fromhex(self.mac.replace(":", "")),
        }
        return bytes(
            BOOTP(**(header | fields)) / DHCP(options=[("message-type", kind), *options, "end"])
        )


def decode(data: bytes) -> tuple[Any, dict[Any, Any]]:
    """Our reply as scapy sees it: the BOOTP layer, and options by scapy's name or number."""
    bootp = BOOTP(data)
    options = {
        option[0]: option[1] if len(option) == 2 else option[1:]
        for option in bootp[DHCP].options
        if isinstance(option, tuple)
    }
    return bootp, options
