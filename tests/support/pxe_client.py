"""PXE clients made by scapy: an encoder and decoder of DHCP that shares no code with ours."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from scapy.layers.dhcp import BOOTP, DHCP

MACHINE = UUID("12345678-9abc-def0-1234-56789abcdef0")

BIOS = 0
UEFI_X64 = 7
UEFI_X64_HTTP = 16
UEFI_HTTP = (UEFI_X64_HTTP, 19)

# The parameters that EDK2 and iPXE ask for, merged; 66 and 67 matter to us.
PARAMETERS = [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 175, 203]


@dataclass(frozen=True)
class PxeClient:
    """One PC's firmware, or iPXE on it. The methods return UDP payloads."""

    mac: str = "52:54:00:12:34:56"
    arch: int = BIOS
    ipxe: bool = False
    xid: int = 0x1234ABCD
    vendor: bytes = b""  # the beginning of option 60; empty: PXEClient or HTTPClient by ``arch``

    def discover(self, **fields: Any) -> bytes:
        """Return a DHCPDISCOVER; ``fields`` are those of the BOOTP header by scapy's names."""
        return self.message("discover", **fields)

    def request(self, *options: Any, **fields: Any) -> bytes:
        """Return a DHCPREQUEST with ``options`` added, as scapy writes them."""
        return self.message("request", *options, **fields)

    def message(self, kind: str, *options: Any, **fields: Any) -> bytes:
        """Return a message with all options that PXE requires (RFC 4578, PXE 2.1 table 2-3)."""
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
        """Return a message without the options of PXE."""
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
    """Return our reply as scapy reads it: the BOOTP layer, and options by name or number."""
    bootp = BOOTP(data)
    options = {
        option[0]: option[1] if len(option) == 2 else option[1:]
        for option in bootp[DHCP].options
        if isinstance(option, tuple)
    }
    return bootp, options
