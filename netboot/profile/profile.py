"""The profile: what the PCs of a room boot, and how the server serves them. Pure.

file.py reads it.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from netboot.errors import OperatorError
from netboot.profile import rules, values
from netboot.profile.fields import (
    Address,
    InterfaceName,
    Mac,
    NothingIsEmpty,
    Section,
    SwapSize,
    hosts,
    misplaced,
)
from netboot.profile.panel import Panel, RoomPlan, without_password
from netboot.profile.reading import OneOrMore, nearest, quoted
from netboot.profile.roots import BY_NAME as ROOTS
from netboot.profile.roots import is_path
from netboot.profile.seat import SeatOwn, is_nfs
from netboot.profile.sections import Boot, Dhcp, Http, Root, SeatBoot, SeatSwap, Ssh, Swap, Vagrant

FILE = "a file such as /srv/root.squashfs"


class SeatSettings(Section):
    """The keys that may differ between the PCs of a room."""

    hostname: Annotated[str, values.HOSTNAME_PATTERN] | None = None
    """Host name of the PC. `{tail}` stands for the last six digits of its MAC address."""
    boot: SeatBoot = SeatBoot()
    """Keys of `boot` to override for these PCs."""
    root: Root = Root()
    """Keys of `root` to override for these PCs."""
    swap: SeatSwap = SeatSwap()
    """Keys of `swap` to override for these PCs."""
    ssh: Ssh = Ssh()
    """Keys of `ssh` to override for these PCs."""
    seat: SeatOwn = SeatOwn()
    """Keys of `seat` to override for these PCs."""


class Group(SeatSettings):
    """The keys of one group in `groups`."""

    model_config = ConfigDict(json_schema_extra=rules.GROUP)

    match: Annotated[tuple[Annotated[str, values.MAC_PATTERN], ...], OneOrMore()]
    """MAC addresses of the group's PCs, or beginnings of them with a star, such as 52:54:00:*."""

    def has(self, mac: str) -> bool:
        """Return True if the PC ``mac`` belongs to this group."""
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
    """The keys of one PC in `clients`."""

    address: Address | None = None
    """The address that this PC always gets in full mode, and at which `fab` reaches it."""


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Seat:
    """The settings of one PC: the profile with the overrides of its groups and its own."""

    mac: str
    hostname: str
    address: IPv4Address | None
    boot: Boot
    root: Root
    swap: Swap
    ssh: Ssh
    own: SeatOwn

    @property
    def encrypts(self) -> bool:
        """True if this PC encrypts its swap."""
        given = self.swap.encrypt
        return ROOTS[self.root.kind].users if given is None else given


class Profile(Section):
    """A room of PCs and the server that boots them."""

    model_config = ConfigDict(json_schema_extra=rules.profile(Http().port, Swap().port))

    interface: Annotated[tuple[InterfaceName, ...], OneOrMore()] = ("auto",)
    """The network interfaces to serve. `auto` stands for all interfaces that are up and have an
    IPv4 address. Default: auto.
    """
    dhcp: Dhcp = Dhcp()
    """The way in which PCs get their addresses."""
    http: Http = Http()
    """The HTTP server for boot scripts, boot files and the status."""
    boot: Boot = Boot()
    """The kernel and the boot loader of a PC, and its reaction to a failed boot."""
    root: Root = Root()
    """The root file system of a PC."""
    swap: Swap = Swap()
    """The memory that a PC borrows from the server over the network."""
    ssh: Ssh = Ssh()
    """The login of `fab` on a PC that still runs from its own disk."""
    seat: SeatOwn = SeatOwn()
    """The PC's own settings, which are in no root image: language, keyboard, login, printers. PCs with
    root kind nbd use them.
    """
    panel: Panel = Panel()
    """The page that shows the room, beside `http.panel`."""
    room: RoomPlan = RoomPlan()
    """The places of the PCs in the room."""
    vagrant: Vagrant = Vagrant()
    """The virtual PCs of `vagrant up`."""
    groups: Annotated[dict[str, Group], NothingIsEmpty()] = Field(default={})
    """Sets of PCs, by names of your choice. If two groups give the same key, the later one wins."""
    clients: Annotated[dict[Mac, ClientSettings], NothingIsEmpty()] = Field(default={})
    """Single PCs, by MAC address. Their keys override those of their groups."""

    def seat_of(self, mac: str) -> Seat:
        """Return the settings of ``mac`` (``aa:bb:cc:dd:ee:ff``): profile, then groups, then
        client.
        """
        client = self.clients.get(mac)
        boot, root, swap, ssh = self.boot, self.root, self.swap, self.ssh
        own = self.seat
        for settings in self._settings(mac):
            boot = boot.changed(settings.boot)
            root = root.changed(settings.root)
            swap = swap.changed(settings.swap)
            ssh = ssh.changed(settings.ssh)
            own = own.changed(settings.seat)
        address = None if client is None else client.address
        return Seat(mac, self.hostname(mac), address, boot, root, swap, ssh, own)

    def names(self, mac: str) -> bool:
        """Return whether ``clients`` names ``mac``. A group does not: it may match any address."""
        return mac in self.clients

    def hostname(self, mac: str) -> str:
        """Return the host name of ``mac``: its own, its last group's, or ``pc-`` and six digits."""
        tail = mac.replace(":", "")[-6:]
        for settings in reversed(self._settings(mac)):
            if settings.hostname:
                return settings.hostname.replace(values.MAC_TAIL, tail)
        return f"pc-{tail}"

    def groups_of(self, mac: str) -> tuple[str, ...]:
        """Return the names of the groups of ``mac``, in their order."""
        return tuple(name for name, group in self.groups.items() if group.has(mac))

    def _settings(self, mac: str) -> Sequence[SeatSettings]:
        """Return the overrides for ``mac``; later ones win."""
        if not self.groups and mac not in self.clients:
            return ()
        found: list[SeatSettings] = [group for group in self.groups.values() if group.has(mac)]
        if mac in self.clients:
            found.append(self.clients[mac])
        return found

    @property
    def images(self) -> frozenset[str]:
        """The paths of all files that PCs of this room may use as root images."""
        roots = [self.root, *(group.root for group in self.groups.values())]
        roots += [client.root for client in self.clients.values()]
        images = (root.image for root in roots if root.image is not None)
        return frozenset(image for image in images if is_path(image))

    @property
    def seat_files(self) -> tuple[tuple[str, str], ...]:
        """The files of this server that PCs of this room get (`seat.files`): place and path of each."""
        found = {each for own in self._owns().values() for each in own.files.items()}
        return tuple(sorted(found))

    @property
    def image_names(self) -> frozenset[str]:
        """The names of all root images whose versions PCs of this room boot."""
        roots = self._roots().values()
        return frozenset(each.image for each in roots if each.image and ROOTS[each.kind].named)

    @property
    def nfs_images(self) -> frozenset[str]:
        """The names of root images that PCs of this room boot whose homes are on an NFS server."""
        return self._images_of(lambda own: is_nfs(own.home))

    @property
    def login_images(self) -> frozenset[str]:
        """The names of root images whose PCs show a login window (`seat.login: local`)."""
        return self._images_of(lambda own: own.login == "local" and own.start != "none")

    def _images_of(self, wanted: Callable[[SeatOwn], bool]) -> frozenset[str]:
        """Return the names of root images that PCs boot whose section seat is ``wanted``."""
        owns = self._owns()
        return frozenset(
            root.image
            for path, root in self._roots().items()
            if root.image and ROOTS[root.kind].named and wanted(owns[path[:-1]])
        )

    @property
    def has_hashes(self) -> bool:
        """True if the profile has hashes, of accounts or of the menu: not everybody should read them."""
        owns = [self.seat, *(group.seat for group in self.groups.values())]
        owns += [client.seat for client in self.clients.values()]
        return self.boot.menu.password is not None or any(own.accounts for own in owns)

    @property
    def has_password(self) -> bool:
        """True if the profile has the password of a database."""
        return without_password(self.panel.database)[1] != ""

    @property
    def keeps(self) -> bool:
        """Return whether a PC of this room may keep files on the server."""
        roots = [self.root, *(group.root for group in self.groups.values())]
        roots += [client.root for client in self.clients.values()]
        return any(root.persist is not None for root in roots)

    @property
    def tags(self) -> bool:
        """Return whether a PC of this room may put the tag of a VLAN on its frames."""
        return any(boot.vlan is not None for boot in self._boots().values())

    @property
    def explained(self) -> tuple[str, ...]:
        """The meaning of auto for the PCs of this room, and of VLANs, one line each."""
        tags = {boot.vlan for boot in self._boots().values() if boot.vlan is not None}
        vlans = tuple(
            f"boot.vlan: the PC itself puts the tag of VLAN {tag} on its frames; on this server's "
            "side 'interface' decides, whatever this key says"
            for tag in sorted(tags)
        )
        if self.swap.encrypt is not None:
            return vlans
        kinds = {self.root.changed(group.root).kind for group in self.groups.values()}
        kinds |= {self.root.kind, *(self.seat_of(mac).root.kind for mac in self.clients)}
        return (
            *(
                f"swap.encrypt: auto means {'yes' if ROOTS[kind].users else 'no'} for root kind {kind}"
                for kind in sorted(kinds)
            ),
            *vlans,
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Allowed settings that will probably not work as intended, one line each."""
        unused = tuple(
            f"not used with root kind {root.kind}, which has no image: '{key}.persist'"
            for key, root in ((".".join(path), root) for path, root in self._roots().items())
            if root.persist is not None and not ROOTS[root.kind].image
        )
        taken = self._panel_port_of()
        if taken:
            problem = f"{self.http.panel_port} is already the value of {taken}"
            unused += (f"key 'http.panel_port': {problem}; there is no panel",)
        return (*unused, *self.dhcp.unused, *self._doubtful_loaders())

    def _doubtful_loaders(self) -> tuple[str, ...]:
        rows = {f"groups.{key}.boot": row.boot for key, row in self.groups.items()}
        rows |= {f"clients.{key}.boot": row.boot for key, row in self.clients.items()}
        own = {path: row.loader for path, row in rows.items() if "loader" in row.model_fields_set}
        if self.dhcp.mode == "none":
            keys = ", ".join(f"'{path}.loader'" for path in own)
            told = (
                "not used with dhcp.mode none, where the LAN's DHCP server names one loader for all"
            )
            return (f"{told}: {keys}",) if keys else ()
        if self.dhcp.mode == "full":
            return ()
        loaders = {"boot": self.boot.loader, **own}
        return tuple(
            f"key '{path}.loader': signed with dhcp.mode proxy may fail: Debian's GRUB loads "
            "from the next server that the DHCP server gives; set it to this server"
            for path, loader in loaders.items()
            if loader == "signed"
        )

    def check_networks(self, networks: Mapping[str, IPv4Network]) -> None:
        """Compare full mode's addresses with the networks served, by interface name.

        Raises OperatorError if no network contains all of dhcp.range and dhcp.router, or if the
        fixed address of a client is in none of them, nor in dhcp.networks. A profile does not give
        the network of dhcp.range, because it could contradict the interface's. So this check needs
        the interfaces.
        """
        dhcp, pool = self.dhcp, self.dhcp.range
        if dhcp.mode != "full":
            return
        home: list[IPv4Network] = []
        given = {}
        if pool is not None:
            home = [net for net in networks.values() if hosts(net, pool.first, pool.last)]
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
            if not any(hosts(network, first, last) for network in allowed):
                served = ", ".join(f"{net} of {name}" for name, net in networks.items())
                raise OperatorError(
                    f"key '{key}': {first if first == last else f'{first}-{last}'} "
                    f"is not in a network that this server serves ({served})",
                    hint="use addresses of such a network, or name another interface",
                )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.http.port == self.swap.port:
            raise misplaced(f"{self.swap.port} is already the value of http.port", "swap", "port")
        self._check_panel_port()
        self._check_capacity()
        self._check_grow()
        self._check_roots()
        self._check_homes()
        self._check_vlans()
        names: dict[str, str] = {}
        addresses: dict[IPv4Address, str] = {}
        for client_id, address in self.dhcp.client_ids.items():
            other = addresses.setdefault(address, client_id)
            if other != client_id:
                path = ("dhcp", "client_ids", client_id)
                raise misplaced(f"{address} is already the address of {other}", *path)
        for mac, client in self.clients.items():
            name = self.seat_of(mac).hostname
            other = names.setdefault(name.lower(), mac)
            if other != mac:
                raise misplaced(f"{name} is already the name of {other}", "clients", mac)
            if client.address is None:
                continue
            other = addresses.setdefault(client.address, mac)
            if other != mac or client.address == self.dhcp.router:
                owner = "the router" if other == mac else other
                raise misplaced(
                    f"{client.address} is already the address of {owner}", "clients", mac, "address"
                )
        self._check_plan(names)
        return self

    def _panel_port_of(self) -> str:
        """Return the key that has the port of the panel already; empty if there is none."""
        if self.http.panel == "off":
            return ""
        ports = {self.swap.port: "swap.port", self.http.port: "http.port"}
        return ports.get(self.http.panel_port, "")

    def _check_panel_port(self) -> None:
        taken = self._panel_port_of()
        # A profile of before may have the port of the default. That room has no panel.
        if taken and "panel_port" in self.http.model_fields_set:
            port = self.http.panel_port
            raise misplaced(f"{port} is already the value of {taken}", "http", "panel_port")

    def _check_plan(self, macs: Mapping[str, str]) -> None:
        """Check that each name of the plan is that of a client. ``macs`` are by names in small letters."""
        placed: set[str] = set()
        for number, row in enumerate(self.room.plan):
            for name in filter(None, row):
                path = ("room", "plan", number)
                if name.lower() not in macs:
                    guess = nearest(name, macs)
                    guess = self.hostname(macs[guess]) if guess else ""
                    remedy = f"; did you mean '{guess}'?" if guess else ""
                    raise misplaced(f"no PC in clients has the name {quoted(name)}{remedy}", *path)
                if name.lower() in placed:
                    raise misplaced(f"{quoted(name)} has two places", *path)
                placed.add(name.lower())

    def _check_grow(self) -> None:
        grown: dict[tuple[str, ...], int] = {("swap",): self.swap.grow}
        grown |= {("groups", key, "swap"): row.swap.grow for key, row in self.groups.items()}
        grown |= {("clients", key, "swap"): row.swap.grow for key, row in self.clients.items()}
        for path, areas in grown.items():
            if areas and self.swap.layout in ("stripe", "any"):
                problem = f"cannot be combined with swap.layout {self.swap.layout}"
                remedy = "swap grows with the layouts spread and mirror"
                raise misplaced(f"{problem}; {remedy}", *path, "grow")

    def _roots(self) -> dict[tuple[str, ...], Root]:
        """Return the roots that PCs of this room may have, by the keys that give them."""
        roots: dict[tuple[str, ...], Root] = {("root",): self.root}
        for name, group in self.groups.items():
            roots["groups", name, "root"] = self.root.changed(group.root)
        for mac in self.clients:
            root = self.root
            for settings in self._settings(mac):
                root = root.changed(settings.root)
            roots["clients", mac, "root"] = root
        return roots

    def _boots(self) -> dict[tuple[str, ...], SeatBoot]:
        """Return the same of the section boot."""
        boots: dict[tuple[str, ...], SeatBoot] = {("boot",): self.boot}
        for name, group in self.groups.items():
            boots["groups", name, "boot"] = self.boot.changed(group.boot)
        for mac in self.clients:
            boots["clients", mac, "boot"] = self.seat_of(mac).boot
        return boots

    def _check_vlans(self) -> None:
        # GRUB has no VLANs, and a signed image knows its PC's key only after it has an address.
        for path, boot in self._boots().items():
            if boot.vlan is not None and boot.loader in ("own", "signed"):
                problem = f"cannot be combined with boot.loader {boot.loader}"
                remedy = "with Secure Boot let the PC's switch port send this network untagged"
                raise misplaced(f"{problem}; {remedy}", *path, "vlan")

    def _owns(self) -> dict[tuple[str, ...], SeatOwn]:
        """Return the same of the section seat, by the keys above it."""
        owns: dict[tuple[str, ...], SeatOwn] = {(): self.seat}
        for name, group in self.groups.items():
            owns["groups", name] = self.seat.changed(group.seat)
        for mac in self.clients:
            owns["clients", mac] = self.seat_of(mac).own
        return owns

    def _check_homes(self) -> None:
        roots = self._roots()
        for path, own in self._owns().items():
            root = roots[*path, "root"]
            if own.home == "seat" and ROOTS[root.kind].users and root.persist is None:
                keys = ".".join((*path, "root.persist"))
                raise misplaced(
                    f"seat needs an area in which the PC keeps files; set {keys}: 2GiB",
                    *path,
                    "seat",
                    "home",
                )

    def _check_roots(self) -> None:
        for path, root in self._roots().items():
            kind = ROOTS[root.kind]
            if not kind.image:
                continue
            if root.image is None:
                needs = "the name of a root image such as kiosk" if kind.named else FILE
                raise misplaced(f"missing key 'image': root kind {kind.name} needs {needs}", *path)
            if kind.named and is_path(root.image):
                remedy = (
                    f"set kind: nbd, or: sudo netboot image import NAME {shlex.quote(root.image)}"
                )
                problem = f"expected the name of a root image, found the path {quoted(root.image)}"
                raise misplaced(f"{problem}; {remedy}", *path, "image")
            if not kind.named and not is_path(root.image):
                problem = f"root kind {kind.name} needs {FILE}, found {quoted(root.image)}"
                raise misplaced(
                    f"{problem}; for a root image of that name set kind: image", *path, "image"
                )

    def _check_capacity(self) -> None:
        sizes: dict[tuple[str, ...], SwapSize] = {("swap",): self.swap.size}
        sizes |= {("groups", key, "swap"): row.swap.size for key, row in self.groups.items()}
        sizes |= {("clients", key, "swap"): row.swap.size for key, row in self.clients.items()}
        for path, size in sizes.items():
            area = self.swap.model_copy(update={"size": size}).area_bytes_for(0)
            if self.swap.capacity is not None and area > self.swap.capacity:
                raise misplaced("larger than swap.capacity, the limit for all PCs", *path, "size")
