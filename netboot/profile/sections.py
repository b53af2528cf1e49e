"""The sections of a profile: how PCs are addressed, what they boot, what memory they borrow. Pure.

The string below a key is what ``netboot schema`` and docs/profile.md say of it.
"""

import math
from ipaddress import IPv4Interface
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from netboot.profile import values
from netboot.profile.fields import (
    Address,
    Arguments,
    ClientId,
    Domain,
    Factor,
    Folder,
    ImageFile,
    InterfaceAddress,
    Kernel,
    Network,
    NothingIsEmpty,
    Overridable,
    Port,
    Range,
    Section,
    Size,
    SizeOrTimes,
    Store,
    SwapSize,
    UserName,
    hosts,
    misplaced,
)
from netboot.profile.processors import AMD64, Processor
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.roots import BY_NAME as ROOTS
from netboot.profile.values import OneOrMore

PAGE = 4096
MAX_SERVERS = 8  # the kernel's command line has 2048 characters


class DhcpNetwork(Section):
    range: Range
    """First and last address given to this network's PCs."""
    router: Address | None = None
    """The router that this network's PCs are told of."""
    dns: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The name servers that this network's PCs are told of. Default: those of dhcp.dns."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.router and self.range.first <= self.router <= self.range.last:
            raise misplaced("must lie outside the range, or a PC would be given it", "router")
        return self


class Dhcp(Section):
    mode: Literal["proxy", "full"] = "proxy"
    """proxy: another DHCP server gives out the addresses; full: this one does. Default: proxy."""
    range: Range | None = None
    """First and last address given to PCs in full mode, as 10.0.0.50-10.0.0.99."""
    router: Address | None = None
    """The router that PCs are told of in full mode."""
    dns: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The name servers that PCs are told of in full mode."""
    ntp: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The time servers that PCs are told of in full mode."""
    domain: Domain | None = None
    """The domain that PCs are told they are in, in full mode."""
    lease_time: Annotated[int, values.duration("1m", "365d", "12h")] = 12 * 3600  # seconds
    """How long a PC may keep its address without asking again, in full mode. Default: 12h."""
    networks: Annotated[dict[Network, DhcpNetwork], NothingIsEmpty] = Field(default={})
    """More networks of full mode, as 10.9.0.0/24: of other interfaces, or behind DHCP relays."""
    client_ids: Annotated[dict[ClientId, Address], NothingIsEmpty] = Field(default={})
    """Addresses that belong to a client identifier (option 61, in hexadecimal), in full mode."""
    beside: Annotated[bool, values.BOOLEAN] = False
    """Whether to serve although another proxyDHCP server, or in full mode DHCP server, answers. Default: no."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode == "full" and self.range is None and not self.networks:
            raise misplaced(
                "missing key 'range': full mode needs a range such as 10.0.0.50-10.0.0.99"
            )
        for network, settings in self.networks.items():
            path = ("networks", str(network))
            if not hosts(network, settings.range.first, settings.range.last):
                raise misplaced(f"does not lie in {network}", *path, "range")
            if settings.router and not hosts(network, settings.router, settings.router):
                raise misplaced(f"does not lie in {network}", *path, "router")
            if self.range is not None and self.range.first in network:
                raise misplaced("dhcp.range lies in it already", *path)
            if any(other != network and other.overlaps(network) for other in self.networks):
                raise misplaced("overlaps another network of dhcp.networks", *path)
        if self.range and self.router and self.range.first <= self.router <= self.range.last:
            raise misplaced("must lie outside dhcp.range, or a PC would be given it", "router")
        return self


class Http(Section):
    port: Port = 8080
    """TCP port of the HTTP server, for scripts, boot files and status. Default: 8080."""
    rate: Annotated[int | None, values.bit_rate("1Mbit", "400Gbit", "1Gbit")] = 125_000_000
    """What the server's wire carries: more PCs than it can serve soon wait their turn. Default: 1Gbit."""


class SeatBoot(Overridable):
    arguments: Arguments = "quiet"
    """More words for the kernel command line. Default: quiet."""
    on_failure: Literal["rescue", "reboot"] = "rescue"
    """What a PC does when its boot fails: a rescue shell, or another try. Default: rescue."""
    loader: Literal["auto", "ipxe", "native", "signed"] = "auto"
    """What a PC starts first: iPXE, but for signed. auto takes its card's own if that will do; native has
    drivers of its own; signed is for Secure Boot. Default: auto."""


class Boot(SeatBoot):
    architectures: Annotated[tuple[Annotated[str, values.choice(PROCESSORS)], ...], OneOrMore()] = (
        AMD64.name,
    )
    """The processors of the PCs, by Debian's names: images are made for each. Default: amd64."""
    kernel: Kernel | None = None
    """A Debian package of a kernel, or the path of a kernel file, for the first of architectures.
    Default: Debian's own, such as linux-image-amd64."""

    raspberry_pi: Folder | None = None
    """A folder with the Raspberry Pi's own boot files, from which Pis are booted. Without it they are
    not answered."""

    def kernel_for(self, processor: Processor) -> str:
        """The Debian package, or the path, of the kernel for PCs with this processor."""
        own = self.kernel if processor.name == self.architectures[0] else None
        return own or processor.kernel

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not self.architectures:
            raise misplaced("expected at least one, such as amd64", "architectures")
        if len(set(self.architectures)) < len(self.architectures):
            raise misplaced("one stands there twice", "architectures")
        return self


class Root(Overridable):
    kind: Annotated[str, values.choice(ROOTS)] = "ram"
    """Where a PC's root file system comes from: ram or nbd. Default: ram."""
    image: ImageFile | None = None
    """The squashfs that PCs of root kind nbd have as root file system, a file on the server."""


class Zswap(Overridable):
    enabled: Annotated[bool, values.BOOLEAN] = True
    """Whether pages are compressed in the PC's RAM before they go to the server. Default: yes."""
    compressor: Literal["lzo", "lz4", "zstd"] = "lzo"
    """How they are compressed: lz4 is the fastest, zstd packs the most. Default: lzo."""
    pool_percent: Annotated[int, values.integer(1, 50)] = 20
    """How much of its RAM a PC uses for compressed pages at most, in percent. Default: 20."""
    shrinker: Annotated[bool, values.BOOLEAN] = True
    """Whether pages that stay unused go on to the server early (Linux 6.8 and later). Default: yes."""


# Linux may have 128 requests of 128 KiB under way on each of two connections: 8 s at this rate, and
# each has to be answered within half of its 30 s.
Ceiling = Annotated[int | None, values.rate("4MiB", "20MiB/s")]


class SeatSwap(Overridable):
    size: SizeOrTimes = SwapSize(times_ram=2.0)
    """Swap space of each PC: 1GiB, or 2x for twice its RAM, or 0 for none. Default: 2x."""
    connections: Annotated[int, values.integer(1, 16)] = 2
    """TCP connections between a PC and its swap. Default: 2."""
    timeout: Annotated[int, values.duration("1s", "1h", "3s")] = 3  # seconds
    """How long the server may take over one request before its connection is made anew. Default: 3s."""
    patience: Annotated[int, values.duration("1s", "7d", "10m")] = 600  # seconds
    """How long a PC waits for a lost server before it gives its swap up. Default: 10m."""
    grow: Annotated[int, values.integer(0, 3)] = 0
    """How many further areas as large as size a PC may add while it needs them. Default: 0."""
    ceiling: Ceiling = None  # bytes per second
    """The most a PC may move to and from its swap, as 20MiB/s; it is made to wait. Default: none."""
    encrypt: Annotated[bool, values.BOOLEAN] = False
    """Whether a PC encrypts its pages, with a key that only it has. Default: no."""
    discard: Annotated[bool, values.BOOLEAN] = True
    """Whether the server is told which pages are free again, and forgets them. Default: yes."""
    zswap: Zswap = Zswap()
    """Compression in the PC's RAM, in front of its swap."""

    def bytes_for(self, ram_bytes: int) -> int:
        """Swap of a PC with that much RAM, in bytes: a multiple of 4096, 0 for none."""
        wanted = self.size.bytes
        if wanted is None:
            wanted = math.ceil((self.size.times_ram or 0) * ram_bytes)
        return -(-wanted // PAGE) * PAGE


class Swap(SeatSwap):
    store: Store = "memory"
    """Where the server keeps the pages: memory, disk:DIR, tiered:DIR,memory=SIZE. Default: memory."""
    capacity: Size | None = None  # bytes
    """The most that all PCs together may store. Without it: half of the server's RAM."""
    overcommit: Factor = 1.0
    """How many times the capacity may be promised: few PCs fill their swap. Default: 1.0."""
    port: Port = 10809
    """TCP port of the page server. Default: 10809."""
    servers: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The page servers, up to 8, each with this profile and secret. Without it: who boots the PC."""
    layout: Literal["spread", "stripe", "mirror"] = "spread"
    """Where a PC's pages are: on one of servers, a part on each, or all on each of two. Default: spread."""

    def area_bytes_for(self, ram_bytes: int) -> int:
        """What a PC with that much RAM has on one server, in bytes: a multiple of 4096."""
        parts = len(self.servers) if self.servers and self.layout == "stripe" else 1
        return -(-self.bytes_for(ram_bytes) // (PAGE * parts)) * PAGE

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not self.servers:
            if self.layout != "spread":
                raise misplaced("means nothing without swap.servers, a list of addresses", "layout")
            return self
        if len(self.servers) > MAX_SERVERS:
            raise misplaced(f"at most {MAX_SERVERS}, found {len(self.servers)}", "servers")
        twice = next((s for s in self.servers if self.servers.count(s) > 1), None)
        if twice is not None:
            raise misplaced(f"{twice} stands there twice", "servers")
        if self.layout == "mirror" and len(self.servers) != 2:
            raise misplaced(f"mirror needs two servers, found {len(self.servers)}", "layout")
        return self


class Ssh(Overridable):
    user: UserName = "root"
    """Who `fab` logs in as on a PC that runs from its own disk. Default: root."""
    key: Arguments = ""
    """The file of the private key for that. Default: those that ssh would use."""


class Vagrant(Section):
    clients: Annotated[int, values.integer(1, 120)] = 3
    """How many virtual PCs `vagrant up` brings up. Default: 3."""
    memory: Annotated[int, values.integer(64, 1 << 16)] = 256  # MiB
    """The RAM of each, in MiB. Default: 256."""
    firmware: Annotated[tuple[Literal["bios", "uefi"], ...], OneOrMore()] = ("bios",)
    """bios or uefi; of several the PCs take one in turn. Default: bios."""
    nic: Annotated[tuple[Literal["e1000", "e1000e", "rtl8139", "virtio"], ...], OneOrMore()] = (
        "e1000",
    )
    """The model of their network card; of several the PCs take one in turn. Default: e1000."""
    address: InterfaceAddress = IPv4Interface("10.77.0.1/24")
    """The server's address on their network, and its size. Default: 10.77.0.1/24."""
