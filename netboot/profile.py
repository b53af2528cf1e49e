"""Models of a profile: what a room of PCs boots and how it is served. Pure; see profile_file too.

The string below a key is what ``netboot schema`` and docs/profile.md say of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from netboot import values
from netboot.errors import OperatorError
from netboot.pages.store import STORE
from netboot.roots import BY_NAME as ROOTS
from netboot.values import Nearest, OneOrMore, Text

MIB = 1 << 20
PAGE = 4096
MAX_PREFIX = 30  # bits; a smaller network has no address for a PC and one for its router
MAX_DOMAIN = 253  # characters (RFC 1035 section 2.3.4, without the root's)
MAX_SERVERS = 8  # the kernel's command line has 2048 characters
MAX_POOL = 1 << 16  # addresses; a mistyped octet makes a larger range, a room never does


def misplaced(problem: str, *path: str) -> PydanticCustomError:
    """A mistake that shows only when keys are seen together; ``path``: the key to point at."""
    return PydanticCustomError("misplaced", "{problem}", {"problem": problem, "path": path})


class Section(BaseModel):
    """A mapping of the profile: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        # "swap:" with all that was below it commented out.
        return {} if value is None else value

    def changed(self, override: "Section") -> Self:
        """This section with those keys of ``override`` that were given."""
        if not override.model_fields_set:  # most PCs: a room asks this for each of its packets
            return self
        given: dict[str, Any] = {}
        for name in override.model_fields_set:
            here, there = getattr(self, name), getattr(override, name)
            given[name] = here.changed(there) if isinstance(there, Overridable) else there
        return self.model_copy(update=given)


class Overridable(Section):
    """A section whose keys groups and clients may give each for itself."""


class AddressRange(Section):
    """First and last address of a DHCP pool, both included."""

    first: IPv4Address
    last: IPv4Address


class SwapSize(Section):
    """Either an absolute size in bytes or a multiple of the client's RAM; exactly one is set."""

    bytes: int | None = None
    times_ram: float | None = None


def _range(text: str) -> AddressRange:
    first, last = (IPv4Address(part.strip()) for part in text.split("-"))
    if last < first:
        raise Nearest(f"{last}-{first}")
    if int(last) - int(first) >= MAX_POOL:
        raise ValueError("too large")
    return AddressRange(first=first, last=last)


def _swap_size(text: str) -> SwapSize:
    if text[-1:] in ("x", "X"):
        times = float(values.matched(r"([0-9]{1,2}(?:\.[0-9]{1,3})?) ?x", text)[1])
        return SwapSize(times_ram=times) if times else SwapSize(bytes=0)
    size = values.size(text)
    if 0 < size < MIB:
        raise Nearest(f"{text}x" if size < 100 else "1MiB")
    return SwapSize(bytes=size)


def _store(text: str) -> str:
    STORE.convert(text)
    return text


def _factor(text: str) -> float:
    return float(values.matched(r"[1-9][0-9]?(\.[0-9]{1,3})?", text)[0])


def _kernel(text: str) -> str:
    return values.matched(r"/[!-~]+|[a-z0-9][a-z0-9+.-]+", text)[0]


def _image(text: str) -> str:
    return values.matched(r"/[^\x00-\x1f]+", text)[0]


def _printable(text: str) -> str:
    return values.matched(r"[ -~]*", text)[0]


def _network(text: str) -> IPv4Network:
    network = IPv4Network(values.matched(r"[0-9.]+/[0-9]{1,2}", text)[0], strict=False)
    if network.prefixlen > MAX_PREFIX:
        raise ValueError("no room for PCs")
    if str(network) != text:  # 10.9.0.1/24 names a machine in a network
        raise Nearest(str(network))
    return network


def _domain(text: str) -> str:
    label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if len(values.matched(rf"{label}(\.{label})*", text)[0]) > MAX_DOMAIN:
        raise ValueError("too long")
    return text.lower()


def _client_id(text: str) -> str:
    return values.matched(r"([0-9a-f]{2}:?){1,255}", text)[0].lower().replace(":", "")


def _user_name(text: str) -> str:
    return values.matched(r"[a-z_][a-z0-9_.-]{0,31}", text)[0]


def _interface(text: str) -> str:
    return values.matched(r"[!-.0-~]{1,15}", text)[0]  # IFNAMSIZ of <linux/if.h> is 16


Address = Annotated[IPv4Address, values.ADDRESS]
Mac = Annotated[str, values.MAC]
Port = Annotated[int, values.integer(1, 65535)]
Size = Annotated[int, values.SIZE]
Range = Annotated[
    AddressRange,
    Text("a range such as 10.0.0.50-10.0.0.99", _range, {"type": "string", "pattern": "-"}),
]
SizeOrTimes = Annotated[
    SwapSize,
    Text(
        "a size such as 1GiB, a multiple of the PC's RAM such as 2x, or 0",
        _swap_size,
        {"type": ["string", "integer"], "pattern": r"^[0-9.]+ ?([xX]|[KMGTkmgt](i?[Bb])?)?$"},
    ),
]
Factor = Annotated[
    float,
    Text("a factor from 1 to 99 such as 1.5", _factor, {"type": "number", "minimum": 1}),
]
Kernel = Annotated[
    str,
    Text("a Debian package such as linux-image-amd64 or /path", _kernel, {"type": "string"}),
]
ImageFile = Annotated[
    str,
    Text(
        "the path of a file such as /srv/root.squashfs",
        _image,
        {"type": "string", "pattern": "^/"},
    ),
]
Arguments = Annotated[
    str, Text("words on one line, in ASCII", _printable, {"type": "string", "pattern": "^[ -~]*$"})
]
InterfaceName = Annotated[
    str, Text("auto or the name of a network interface", _interface, {"type": "string"})
]
Network = Annotated[
    IPv4Network,
    Text("a network such as 10.9.0.0/24", _network, {"type": "string", "pattern": "/[0-9]+$"}),
]
Domain = Annotated[
    str, Text("a domain such as school.example", _domain, {"type": "string", "format": "hostname"})
]
ClientId = Annotated[
    str,
    Text(
        "a client identifier in hexadecimal such as 01:52:54:00:12:34:56",
        _client_id,
        {"type": "string", "pattern": "^([0-9A-Fa-f]{2}:?)+$"},
    ),
]
UserName = Annotated[
    str, Text("a user's name such as root", _user_name, {"type": "string", "minLength": 1})
]
Store = Annotated[str, Text(STORE.expected, _store, STORE.schema)]
NothingIsEmpty = BeforeValidator(lambda value: {} if value is None else value)


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
    networks: Annotated[dict[Network, DhcpNetwork], NothingIsEmpty] = {}
    """More networks of full mode, as 10.9.0.0/24: of other interfaces, or behind DHCP relays."""
    client_ids: Annotated[dict[ClientId, Address], NothingIsEmpty] = {}
    """Addresses that belong to a client identifier (option 61, in hexadecimal), in full mode."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode == "full" and self.range is None and not self.networks:
            raise misplaced(
                "missing key 'range': full mode needs a range such as 10.0.0.50-10.0.0.99"
            )
        for network, settings in self.networks.items():
            path = ("networks", str(network))
            if not _hosts(network, settings.range.first, settings.range.last):
                raise misplaced(f"does not lie in {network}", *path, "range")
            if settings.router and not _hosts(network, settings.router, settings.router):
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


class SeatBoot(Overridable):
    arguments: Arguments = ""
    """More words for the kernel command line."""
    on_failure: Literal["rescue", "reboot"] = "rescue"
    """What a PC does when its boot fails: a rescue shell, or another try. Default: rescue."""


class Boot(SeatBoot):
    kernel: Kernel = "linux-image-amd64"
    """A Debian package of a kernel, or the path of a kernel file. Default: linux-image-amd64."""


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


class SeatSettings(Section):
    hostname: Annotated[str, values.HOSTNAME_PATTERN] | None = None
    """Host name of the PC; {tail} stands for the last six digits of its MAC address."""
    boot: SeatBoot = SeatBoot()
    """Keys of boot that differ here."""
    root: Root = Root()
    """Keys of root that differ here."""
    swap: SeatSwap = SeatSwap()
    """Keys of swap that differ here."""
    ssh: Ssh = Ssh()
    """Keys of ssh that differ here."""


class Group(SeatSettings):
    match: Annotated[tuple[Annotated[str, values.MAC_PATTERN], ...], OneOrMore()]
    """MAC addresses of the group's PCs, or beginnings of them and a star, as 52:54:00:*."""

    def has(self, mac: str) -> bool:
        """Whether the PC ``mac`` belongs to this group."""
        return any(
            mac.startswith(pattern[:-1]) if pattern.endswith("*") else mac == pattern
            for pattern in self.match
        )

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        several = len(self.match) > 1 or any(pattern.endswith("*") for pattern in self.match)
        if several and self.hostname is not None and values.MAC_TAIL not in self.hostname:
            raise misplaced(
                "several PCs would have the same name; "
                f"did you mean '{self.hostname}-{values.MAC_TAIL}'?",
                "hostname",
            )
        return self


class ClientSettings(SeatSettings):
    address: Address | None = None
    """The address that this PC always gets, in full mode."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What one PC gets: the profile with its groups' and its own overrides applied."""

    mac: str
    hostname: str
    address: IPv4Address | None
    boot: Boot
    root: Root
    swap: Swap
    ssh: Ssh


class Profile(Section):
    interface: Annotated[tuple[InterfaceName, ...], OneOrMore()] = ("auto",)
    """The network interfaces to serve, or auto for all that have an address. Default: auto."""
    dhcp: Dhcp = Dhcp()
    """How PCs get their addresses."""
    http: Http = Http()
    """The HTTP server."""
    boot: Boot = Boot()
    """What a PC boots."""
    root: Root = Root()
    """The root file system of a PC."""
    swap: Swap = Swap()
    """Memory that a PC borrows from the server over the network."""
    ssh: Ssh = Ssh()
    """How `fab` reaches a PC while it runs from its own disk."""
    groups: Annotated[dict[str, Group], NothingIsEmpty] = {}
    """Sets of PCs, by a name of your choice; where two give the same key the later one wins."""
    clients: Annotated[dict[Mac, ClientSettings], NothingIsEmpty] = {}
    """Single PCs, by MAC address; what stands here wins over their groups."""

    def seat(self, mac: str) -> Seat:
        """The seat of ``mac`` (``aa:bb:cc:dd:ee:ff``): profile, then groups, then client."""
        client = self.clients.get(mac)
        boot, root, swap, ssh = self.boot, self.root, self.swap, self.ssh
        for settings in self._settings(mac):
            boot = boot.changed(settings.boot)
            root = root.changed(settings.root)
            swap = swap.changed(settings.swap)
            ssh = ssh.changed(settings.ssh)
        return Seat(
            mac=mac,
            hostname=self.hostname(mac),
            address=None if client is None else client.address,
            boot=boot,
            root=root,
            swap=swap,
            ssh=ssh,
        )

    def hostname(self, mac: str) -> str:
        """The host name of ``mac``: its own, its last group's, or ``pc-`` and six digits."""
        given = [settings.hostname for settings in self._settings(mac) if settings.hostname]
        tail = mac.replace(":", "")[-6:]
        return given[-1].replace(values.MAC_TAIL, tail) if given else f"pc-{tail}"

    def _settings(self, mac: str) -> list[SeatSettings]:
        """What differs for ``mac``, in the order in which it counts."""
        found: list[SeatSettings] = [group for group in self.groups.values() if group.has(mac)]
        if mac in self.clients:
            found.append(self.clients[mac])
        return found

    @property
    def images(self) -> frozenset[str]:
        """The root images of all PCs: paths of files."""
        roots = [self.root, *(group.root for group in self.groups.values())]
        roots += [client.root for client in self.clients.values()]
        return frozenset(root.image for root in roots if root.image is not None)

    def check_networks(self, networks: Mapping[str, IPv4Network]) -> None:
        """Compares full mode's addresses with the networks served, by interface name.

        Raises OperatorError if no network has all of dhcp.range and dhcp.router, or if an address
        that is one client's is in none, nor in dhcp.networks. A profile does not name the network
        of dhcp.range: it must not contradict the interface's, so this can be known only where the
        interfaces are.
        """
        dhcp, pool = self.dhcp, self.dhcp.range
        if dhcp.mode == "proxy":
            return
        home: list[IPv4Network] = []
        given = {}
        if pool is not None:
            home = [net for net in networks.values() if _hosts(net, pool.first, pool.last)]
            given["dhcp.range"] = (pool.first, pool.last, home)
            if dhcp.router is not None:
                given["dhcp.router"] = (dhcp.router, dhcp.router, home)
        every = [*home, *dhcp.networks]
        fixed = {f"dhcp.client_ids.{name}": address for name, address in dhcp.client_ids.items()}
        for mac, client in self.clients.items():
            if client.address is not None:
                fixed[f"clients.{mac}.address"] = client.address
        given |= {key: (address, address, every) for key, address in fixed.items()}
        for key, (first, last, allowed) in given.items():
            if not any(_hosts(network, first, last) for network in allowed):
                served = ", ".join(f"{net} of {name}" for name, net in networks.items())
                raise OperatorError(
                    f"key '{key}': {first if first == last else f'{first}-{last}'} "
                    f"does not belong to the network served ({served})",
                    hint="give addresses of that network, or another interface",
                )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.http.port == self.swap.port:
            raise misplaced(f"{self.swap.port} is the port of http already", "swap", "port")
        self._check_capacity()
        self._check_grow()
        self._check_roots()
        names: dict[str, str] = {}
        addresses: dict[IPv4Address, str] = {}
        for client_id, address in self.dhcp.client_ids.items():
            other = addresses.setdefault(address, client_id)
            if other != client_id:
                path = ("dhcp", "client_ids", client_id)
                raise misplaced(f"{address} is the address of {other} already", *path)
        for mac, client in self.clients.items():
            name = self.seat(mac).hostname
            other = names.setdefault(name.lower(), mac)
            if other != mac:
                raise misplaced(f"{name} is the name of {other} already", "clients", mac)
            if client.address is None:
                continue
            other = addresses.setdefault(client.address, mac)
            if other != mac or client.address == self.dhcp.router:
                owner = "the router" if other == mac else other
                raise misplaced(
                    f"{client.address} is the address of {owner} already", "clients", mac, "address"
                )
        return self

    def _check_grow(self) -> None:
        grown: dict[tuple[str, ...], int] = {("swap",): self.swap.grow}
        grown |= {("groups", key, "swap"): row.swap.grow for key, row in self.groups.items()}
        grown |= {("clients", key, "swap"): row.swap.grow for key, row in self.clients.items()}
        for path, areas in grown.items():
            if areas and self.swap.servers:
                raise misplaced("does not go together with swap.servers", *path, "grow")

    def _check_roots(self) -> None:
        roots: dict[tuple[str, ...], Root] = {("root",): self.root}
        for name, group in self.groups.items():
            roots["groups", name, "root"] = self.root.changed(group.root)
        for mac in self.clients:
            roots["clients", mac, "root"] = self.seat(mac).root
        for path, root in roots.items():
            if ROOTS[root.kind].image and root.image is None:
                raise misplaced(
                    f"missing key 'image': root kind {root.kind} needs a file such as "
                    "/srv/root.squashfs",
                    *path,
                )

    def _check_capacity(self) -> None:
        sizes: dict[tuple[str, ...], SwapSize] = {("swap",): self.swap.size}
        sizes |= {("groups", key, "swap"): row.swap.size for key, row in self.groups.items()}
        sizes |= {("clients", key, "swap"): row.swap.size for key, row in self.clients.items()}
        for path, size in sizes.items():
            area = self.swap.model_copy(update={"size": size}).area_bytes_for(0)
            if self.swap.capacity is not None and area > self.swap.capacity:
                raise misplaced("larger than swap.capacity, which is for all PCs", *path, "size")


def _hosts(network: IPv4Network, first: IPv4Address, last: IPv4Address) -> bool:
    """Whether ``first`` to ``last`` are addresses for hosts of ``network``."""
    return network.network_address < first and last < network.broadcast_address
