"""The sections of a profile: addresses, boot, root file system, swap. Pure.

``netboot schema`` and the reference docs/reference/profile.md show the string below each key.
"""

import math
from ipaddress import IPv4Interface
from typing import Annotated, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from netboot.profile import rules, values
from netboot.profile.fields import (
    Address,
    Arguments,
    Changes,
    ClientId,
    Domain,
    Factor,
    Folder,
    InterfaceAddress,
    Kernel,
    Network,
    NothingIsEmpty,
    Overridable,
    Persist,
    Port,
    Range,
    RootImage,
    Section,
    Size,
    SizeOrTimes,
    Store,
    SwapSize,
    UserName,
    Vlan,
    hosts,
    misplaced,
)
from netboot.profile.menu import Menu
from netboot.profile.processors import AMD64, Processor
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.reading import OneOrMore
from netboot.profile.roots import BY_NAME as ROOTS
from netboot.profile.stores import parse_store

PAGE = 4096
FULL_MODE = ("range", "router", "dns", "ntp", "domain", "lease_time", "client_ids")
BOOT_SERVERS = 2
MAX_SERVERS = 32  # a room of 1,000 PCs needs 4 to 8
MAX_PARTS = 8  # of a PC's swap: an agent of its own holds each (initramfs/agent/status.c)


class DhcpNetwork(Section):
    """The keys of one network in `dhcp.networks`."""

    range: Range | None = None
    """The first and last address to give out in this network, such as 10.9.0.50-10.9.0.99. Full
    mode needs it; in the other modes a network is named without it, as `{}`.
    """
    router: Address | None = None
    """The router that this network's PCs are told. It must not lie inside the range."""
    dns: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The name servers that this network's PCs are told. Without this key: those of `dhcp.dns`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.range and self.router and self.range.first <= self.router <= self.range.last:
            raise misplaced("must be outside the range, or a PC would get its address", "router")
        return self


class Dhcp(Section):
    """The keys of `dhcp`."""

    model_config = ConfigDict(json_schema_extra=rules.DHCP)

    mode: Literal["proxy", "full", "none"] = "proxy"
    """proxy: another DHCP server gives out the addresses, and this server only says what to boot.
    full: this server gives out the addresses. none: another DHCP server gives out the addresses and
    names the boot files, as `netboot dhcp-snippet` prints them. Default: proxy.
    """
    range: Range | None = None
    """The first and last address to give out in full mode, such as 10.0.0.50-10.0.0.99."""
    router: Address | None = None
    """The router that PCs are told in full mode. It must not lie inside the range."""
    dns: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The name servers that PCs are told in full mode."""
    ntp: Annotated[tuple[Address, ...], OneOrMore()] = ()
    """The time servers that PCs are told in full mode."""
    domain: Domain | None = None
    """The domain that PCs are told in full mode, such as school.example."""
    lease_time: Annotated[int, values.duration("1m", "365d", "12h")] = 12 * 3600  # seconds
    """The time for which a PC may use an address of full mode unrenewed. Default: 12h."""
    networks: Annotated[dict[Network, DhcpNetwork], NothingIsEmpty()] = Field(default={})
    """More networks to serve, such as 10.9.0.0/24: behind DHCP relays and routers, or in full mode on
    other interfaces of this server. PCs of other networks get no answer.
    """
    client_ids: Annotated[dict[ClientId, Address], NothingIsEmpty()] = Field(default={})
    """Fixed addresses in full mode for devices that send a client identifier (option 61, in
    hexadecimal).
    """
    beside: Annotated[bool, values.BOOLEAN] = False
    """Permission to start beside another server that does the same on this network: a proxyDHCP
    server, or in full mode a DHCP server. Default: no.
    """

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode == "full" and self.range is None and not self.networks:
            raise misplaced(
                "missing key 'range': full mode needs a range such as 10.0.0.50-10.0.0.99"
            )
        for network, settings in self.networks.items():
            path = ("networks", str(network))
            if settings.range is None:
                if self.mode == "full":
                    raise misplaced("missing key 'range': full mode needs it", *path)
                continue
            if not hosts(network, settings.range.first, settings.range.last):
                raise misplaced(f"is not inside the network {network}", *path, "range")
            if settings.router and not hosts(network, settings.router, settings.router):
                raise misplaced(f"is not inside the network {network}", *path, "router")
            if self.range is not None and self.range.first in network:
                raise misplaced("contains dhcp.range: a network has one range", *path)
            if any(other != network and other.overlaps(network) for other in self.networks):
                raise misplaced("overlaps another network of dhcp.networks", *path)
        if self.range and self.router and self.range.first <= self.router <= self.range.last:
            raise misplaced("must be outside dhcp.range, or a PC would get its address", "router")
        return self

    @property
    def unused(self) -> tuple[str, ...]:
        """The keys that proxy mode and none do not use, in one line; empty if there are none."""
        default = Dhcp()
        names = (*FULL_MODE, "beside") if self.mode == "none" else FULL_MODE
        keys = [f"dhcp.{name}" for name in names if getattr(self, name) != getattr(default, name)]
        for network, settings in self.networks.items():
            keys += [f"dhcp.networks.{network}.{name}" for name in settings.model_fields_set]
        if self.mode == "full" or not keys:
            return ()
        listed = ", ".join(f"'{key}'" for key in keys)
        return (
            f"not used with dhcp.mode {self.mode}, where the LAN's DHCP server gives out addresses: {listed}",
        )


class Http(Section):
    """The keys of `http`."""

    port: Port = 8080
    """TCP port of the HTTP server. Default: 8080."""
    rate: Annotated[int | None, values.bit_rate("1Mbit", "400Gbit", "1Gbit")] = 125_000_000
    """The speed of the server's network link, such as 100Mbit or 2.5Gbit. PCs beyond what the link
    can serve within 3 seconds wait for their turn to download. none: no PC waits. Default: 1Gbit.
    """
    panel: Literal["lan", "local", "off"] = "lan"
    """The page that shows the room. lan: for all machines that reach this server; local: for programs
    of this machine only; off: no page. Default: lan.
    """
    panel_port: Port = 8081
    """TCP port of that page. Default: 8081."""


class SeatBoot(Overridable):
    """The keys of `boot` that may differ between PCs."""

    arguments: Arguments = "quiet"
    """More words for the kernel command line. Of equal words the last counts. Default: quiet."""
    on_failure: Literal["rescue", "reboot"] = "rescue"
    """The reaction of a PC to a failed boot. rescue: open a shell on its screen; reboot: try again.
    Default: rescue.
    """
    loader: Literal["auto", "ipxe", "native", "own", "signed"] = "auto"
    """The program that a PC starts first. auto: the network card's own iPXE if it can fetch by
    HTTP, else ours; ipxe: always ours; native: ours with its own network drivers; own: Debian's shim
    and an image that this server signs, for Secure Boot, after `netboot keys init`; signed: Debian's
    shim and GRUB, for Secure Boot, which needs full mode. Default: auto.
    """
    vlan: Vlan = None
    """The VLAN whose tag the PC's side puts on its frames, 1 to 4094, for a switch port where the room's
    network is tagged. Its UEFI needs the same number, or a medium of `netboot media --vlan`. none: the
    port is untagged. VLANs on the server's side are interfaces, such as eth0.10. Default: none.
    """


LOADERS: tuple[str, ...] = get_args(SeatBoot.model_fields["loader"].annotation)


class Boot(SeatBoot):
    """The keys of `boot`."""

    architectures: Annotated[
        tuple[Annotated[str, values.choice(PROCESSORS)], ...], OneOrMore(least=1, unique=True)
    ] = (AMD64.name,)
    """The processors of the PCs, by Debian's names: amd64, i386 or arm64. `netboot build` makes
    images for each. Default: amd64.
    """
    kernel: Kernel | None = None
    """The kernel for the first of architectures: a Debian package of the server's release, or of
    another one such as linux-image-amd64/trixie, or the path of a kernel file. Without this key:
    Debian's default kernel, such as linux-image-amd64.
    """

    loader_files: Folder | None = None
    """A folder with signed loaders of your own for Secure Boot: iPXE's shim and its iPXE, such as
    snponly-shim.efi and snponly.efi. All UEFI PCs of 64 bits (x86) get them first. Without this
    key they get Debian's iPXE first, which is not signed.
    """
    raspberry_pi: Folder | None = None
    """A folder with the boot files of the Raspberry Pi Foundation. Without this key the server does
    not answer Raspberry Pis.
    """
    servers: Annotated[
        tuple[Address, ...], OneOrMore(least=BOOT_SERVERS, most=BOOT_SERVERS, unique=True)
    ] = ()
    """The addresses of the two servers that boot this room, the first one first; both need this
    profile and the same secret. Without this key: one server boots the PCs.
    """
    menu: Menu = Menu()
    """The menu behind a key, with what a person at the PC may start in place of the usual."""

    def kernel_for(self, processor: Processor) -> str:
        """Return the Debian package, or the path, of the kernel for PCs with this processor."""
        own = self.kernel if processor.name == self.architectures[0] else None
        return own or processor.kernel

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not self.architectures:
            raise misplaced("expected at least one, such as amd64", "architectures")
        if len(set(self.architectures)) < len(self.architectures):
            raise misplaced("one of them is listed twice", "architectures")
        found = len(self.servers)
        if "servers" in self.model_fields_set and found != BOOT_SERVERS:
            raise misplaced(f"expected {BOOT_SERVERS} servers, found {found}", "servers")
        if len(set(self.servers)) < found:
            raise misplaced(f"{self.servers[0]} is listed twice", "servers")
        return self


class Root(Overridable):
    """The keys of `root`."""

    model_config = ConfigDict(json_schema_extra=rules.ROOT)

    kind: Annotated[str, values.choice(ROOTS)] = "ram"
    """The origin of the root file system. ram: a small system in the PC's memory; image: a root image
    that `netboot image` made, which all PCs share and none can change; nbd: the same with a file of
    your own. Default: ram.
    """
    image: RootImage | None = None
    """The image, required for root kind image: its name, whose current version a PC boots; and for
    root kind nbd: the path of a squashfs on the server.
    """
    verify: Annotated[bool | None, values.BOOLEAN_OR_AUTO] = None
    """Comparison of each block of the image with a hash that the PC got when it booted, so that a
    changed block is an error. auto: on for root kinds image and nbd, unless the PC's kernel cannot do it.
    Default: auto.
    """
    changes: Changes = None
    """The most that a PC may change or add over the image, until it is switched off: a size such as
    512MiB, or a multiple of its RAM such as 1.5x. The changes are in its memory, and can be swapped
    out. auto: half of its RAM and half of its swap. Default: auto.
    """
    persist: Persist = None
    """The size of an area on this server in which a PC with an image keeps files over its boots, at
    `/persist`: a size such as 2GiB, or none. It is never made smaller, and stays until
    `netboot persist delete`. Default: none.
    """


class Zswap(Overridable):
    """The keys of `swap.zswap`."""

    enabled: Annotated[bool, values.BOOLEAN] = True
    """Compression of pages in the PC's own RAM before they go to the server. Default: yes."""
    compressor: Literal["lzo", "lz4", "zstd"] = "lzo"
    """The compression algorithm: lzo; lz4, which is the fastest; or zstd, which compresses best.
    Default: lzo.
    """
    pool_percent: Annotated[int, values.integer(1, 50)] = 20
    """The largest share of its RAM that a PC uses for compressed pages, in percent. Default: 20."""
    shrinker: Annotated[bool, values.BOOLEAN] = True
    """Early transfer of unused compressed pages to the server, before the pool is full. It needs
    Linux 6.8 or later; older kernels ignore this key. Default: yes.
    """


# Linux may have 128 requests of 128 KiB in flight on each of two connections. At this rate they
# take 8 s, and each needs its answer within half of its 30 s.
Ceiling = Annotated[int | None, values.rate("4MiB", "20MiB/s")]


class SeatSwap(Overridable):
    """The keys of `swap` that may differ between PCs."""

    size: SizeOrTimes = SwapSize(times_ram=2.0)
    """Swap space of each PC: a size such as 1GiB, a multiple of its RAM such as 2x, or 0 for none.
    Default: 2x.
    """
    connections: Annotated[int, values.integer(1, 16)] = 2
    """TCP connections between a PC and its swap. Default: 2."""
    timeout: Annotated[int, values.duration("1s", "1h", "3s")] = 3  # seconds
    """The time for one request, after which the PC drops the connection and opens a new one.
    Default: 3s.
    """
    patience: Annotated[int, values.duration("1s", "7d", "10m")] = 600  # seconds
    """The time for which a PC waits for a lost server before its swap fails, and with it programs
    that need pages from there. Default: 10m.
    """
    grow: Annotated[int, values.integer(0, 3)] = 0
    """The number of further swap areas, each as large as `swap.size`, that a PC may add one by one
    while it needs them. With `swap.servers`, the layouts `spread` and `mirror` can do that. Default: 0.
    """
    ceiling: Ceiling = None  # bytes per second
    """The most that one PC may transfer to and from its swap, such as 20MiB/s; beyond that the
    server delays it. none: no limit. Default: none.
    """
    encrypt: Annotated[bool | None, values.BOOLEAN_OR_AUTO] = None
    """Encryption of a PC's pages with a key that never leaves the PC. auto: yes for root kind nbd, no
    for root kind ram, where the person at the PC is root. Default: auto.
    """
    discard: Annotated[bool, values.BOOLEAN] = True
    """Notice to the server of pages that are free again, so that it can reuse their memory. Without
    it the server keeps every page that was written once. Default: yes.
    """
    zswap: Zswap = Zswap()
    """Compression in the PC's RAM, in front of its swap."""

    def bytes_for(self, ram_bytes: int) -> int:
        """Return the swap of a PC with that much RAM, in bytes: a multiple of 4096, 0 for none."""
        wanted = self.size.bytes
        if wanted is None:
            wanted = math.ceil((self.size.times_ram or 0) * ram_bytes)
        return -(-wanted // PAGE) * PAGE


class Swap(SeatSwap):
    """The keys of `swap`."""

    model_config = ConfigDict(json_schema_extra=rules.SWAP)

    store: Store = "memory"
    """The place where the server keeps the pages: memory, disk:DIR, or tiered:DIR,memory=SIZE,
    which fills that much memory first. DIR is an absolute path, and must exist. rbd:POOL and
    rbd:POOL,namespace=NAME keep them in a Ceph cluster. null, for measurements, loses all pages.
    Default: memory.
    """
    capacity: Size | None = None  # bytes
    """The most that all PCs together may store, such as 8GiB. Without this key: what fits, at most
    half of the server's RAM.
    """
    overcommit: Factor = 1.0
    """The factor by which more than the capacity may be promised, since few PCs fill their swap.
    Default: 1.0.
    """
    port: Port = 10809
    """TCP port of the page server. Default: 10809."""
    servers: Annotated[tuple[Address, ...], OneOrMore(most=MAX_SERVERS, unique=True)] = ()
    """The addresses of the page servers, up to 32; all need this profile and the same secret.
    Without this key: the server that boots the PCs.
    """
    layout: Literal["spread", "stripe", "mirror", "any"] = "spread"
    """The distribution of a PC's pages over `swap.servers`. spread: all on one of them; stripe: a
    part on each of 1 to 8; mirror: all on each of two; any: all in one Ceph pool, which each PC
    reaches by two of them. Default: spread.
    """

    def area_bytes_for(self, ram_bytes: int) -> int:
        """Return what a PC with that much RAM has on one server, in bytes: a multiple of 4096."""
        parts = len(self.servers) if self.servers and self.layout == "stripe" else 1
        return -(-self.bytes_for(ram_bytes) // (PAGE * parts)) * PAGE

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not self.servers:
            if self.layout != "spread":
                raise misplaced("has no effect without swap.servers, the page servers", "layout")
            return self
        if len(self.servers) > MAX_SERVERS:
            found = len(self.servers)
            raise misplaced(f"expected at most {MAX_SERVERS} servers, found {found}", "servers")
        twice = next((s for s in self.servers if self.servers.count(s) > 1), None)
        if twice is not None:
            raise misplaced(f"{twice} is listed twice", "servers")
        if self.layout in ("mirror", "any") and len(self.servers) < 2:
            raise misplaced(
                f"{self.layout} needs two servers or more, found {len(self.servers)}", "layout"
            )
        if self.layout == "any" and parse_store(self.store).kind != "rbd":
            raise misplaced(
                f"any needs a store that all servers reach, rbd:POOL; found {self.store}", "layout"
            )
        if self.layout == "stripe" and len(self.servers) > MAX_PARTS:
            found = len(self.servers)
            raise misplaced(f"stripe takes at most {MAX_PARTS} servers, found {found}", "layout")
        return self


class Ssh(Overridable):
    """The keys of `ssh`."""

    user: UserName = "root"
    """The user that `fab` logs in as on a PC that still runs from its own disk. Default: root."""
    key: Arguments = ""
    """The file with the private key for this login. Without this key: the keys that ssh tries."""


class Vagrant(Section):
    """The keys of `vagrant`."""

    clients: Annotated[int, values.integer(1, 120)] = 3
    """The number of virtual PCs that `vagrant up` starts. Default: 3."""
    memory: Annotated[int, values.integer(64, 1 << 16)] = 256  # MiB
    """The RAM of each virtual PC, in MiB. Default: 256."""
    firmware: Annotated[tuple[Literal["bios", "uefi"], ...], OneOrMore()] = ("bios",)
    """The firmware of the virtual PCs: bios or uefi. From a list the PCs take values in turn.
    Default: bios.
    """
    nic: Annotated[tuple[Literal["e1000", "e1000e", "rtl8139", "virtio"], ...], OneOrMore()] = (
        "e1000",
    )
    """The model of their network card: e1000, e1000e, rtl8139 or virtio. From a list the PCs take
    values in turn. Default: e1000.
    """
    address: InterfaceAddress = IPv4Interface("10.77.0.1/24")
    """The server's address on their network, with its prefix length. Default: 10.77.0.1/24."""
