"""Composition root: Profile -> running services. Start them in order, stop them in reverse."""

import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from netboot.boot import rank
from netboot.boot.client import STORM_NETWORK
from netboot.boot.events import Journal
from netboot.boot.plan import KEPT, image_export, verified_export
from netboot.boot.slices import Catalogue
from netboot.boot.ticket import mac_of
from netboot.errors import OperatorError
from netboot.feed.state import Standing
from netboot.host import clock, faults, notify
from netboot.host.complaints import Complaints
from netboot.host.files import replace_file
from netboot.host.interfaces import Choice, Interface, look, named_networks
from netboot.host.memory import ram_bytes
from netboot.host.monitor import Monitor
from netboot.host.neighbours import Neighbours
from netboot.images.manifest import MANIFEST_FILE, read
from netboot.pages import headroom, upgrade
from netboot.pages.exports import Exports, LeasedExports, StaticExports
from netboot.pages.kept import KeptTable
from netboot.pages.kept_exports import KeptExports, WithKept, new_key
from netboot.pages.lease import LeaseTable
from netboot.pages.room_exports import ClassroomExports
from netboot.pages.server import PageEvent, PageServer
from netboot.pages.stores import store as stores
from netboot.pages.stores.image import ImageFile, open_image
from netboot.pages.verity import verify_images
from netboot.pages.versions import Files, VersionExports
from netboot.profile.profile import Profile
from netboot.profile.stores import StoreSpec, parse_store
from netboot.roots.checks import kernels_of
from netboot.roots.library import DEFAULT_FOLDER, Library
from netboot.roots.shelf import Shelf
from netboot.roots.uses import Uses
from netboot.serve import changes
from netboot.serve.announcing import Announcer
from netboot.serve.boot_files import BootFiles
from netboot.serve.dhcp.server import DhcpServer
from netboot.serve.dhcp.standby import Standby
from netboot.serve.draining import Draining
from netboot.serve.feed.service import FeedService
from netboot.serve.first_server import FirstServer
from netboot.serve.http.server import HttpServer
from netboot.serve.identity import Identity
from netboot.serve.next_boot import NextBoots
from netboot.serve.noticing import Noticing
from netboot.serve.room import Room
from netboot.serve.rotation import SecretFollower
from netboot.serve.secret import SECRET_FILE, load_secrets
from netboot.serve.tftp.server import TftpServer
from netboot.serve.tftp_files import TftpFiles

log = logging.getLogger(__name__)

LOOPBACK = IPv4Address("127.0.0.1")
# Objects until a collection of the youngest, then collections until one of the next older ones.
COLLECTIONS = (10_000, 10, 100)
CLOCK_FILE = "clock"  # in the state folder (netboot.host.clock)
# More than a PC takes to attach again after a restart of the server.
USES_SECONDS = 600.0
KEPT_FOLDER = "persist"  # of the areas in which PCs keep files
STARTED_FILE = "started"  # in the state folder, after a start that went well


class Services:
    """The running servers of one room.

    ``images`` is a folder that ``netboot build`` filled. ``state`` is the folder of all that must
    survive a restart. ``initrds`` are sent to every PC after the initramfs. ``roots`` is the folder
    of root images, which ``netboot image`` fills while this server runs. Without ``images``
    this is a further server of a room that another server boots: it grants leases and keeps pages.
    ``panel_group`` is the group of a panel on this machine, -1 for ours.
    """

    def __init__(
        self,
        profile: Profile,
        images: Path | None,
        state: Path,
        journal: Journal,
        *,
        initrds: Sequence[Path] = (),
        roots: Path = DEFAULT_FOLDER,
        panel_group: int = -1,
    ) -> None:
        self._swap_only = images is None
        self._panel_group = panel_group
        self._profile = profile
        self._state = state
        self._journal = journal
        self._choice = look(*profile.interface)
        # A service serves an interface when it comes, such as a slow USB card. At a start by hand a
        # person can mend the name.
        self._is_patient = notify.is_service()
        if not self._is_patient:
            for error in self._choice.lacking.values():
                raise error
        self._monitor = Monitor(profile.interface, self._changed, self._choice)
        self._announcer = Announcer()
        self._followers: list[Callable[[Sequence[Interface]], None]] = []
        self._told: set[str] = set()  # errors since the last change
        self._changes = Complaints(log)  # a loose cable makes two lines a second
        self._neighbours = Neighbours(self._choice.interfaces)
        path = state / SECRET_FILE
        secrets = load_secrets(path, make=images is not None)  # makes the folder
        self._clock = clock.load(state / CLOCK_FILE)
        self._identity = Identity(profile, self._neighbours, self._clock.now)
        self._attached_by: dict[str, str] = {}  # MAC addresses by the addresses with swap in use
        self._room = Room(
            profile=profile,
            files=BootFiles(
                images,
                profile,
                {path.name: path for path in initrds},
                {} if images is None else _catalogues(images / MANIFEST_FILE),
            ),
            secret=secrets.current,
            journal=journal,
            table=LeaseTable(profile.swap.capacity or ram_bytes() // 2, profile.swap.overcommit),
            identity=self._identity,
            shelf=Shelf(Library(roots), {} if images is None else _kernels(images / MANIFEST_FILE)),
            uses=Uses(None if images is None else state, self._clock.now),
            next_boots=NextBoots(None if images is None else state),
        )
        self._secret = SecretFollower(path, self._room.keys, secrets, self._clock.now)
        self._dhcp: DhcpServer | None = None
        self._feed: FeedService | None = None
        self._running = contextlib.AsyncExitStack()

    def check(self) -> None:
        """Compare the profile with the networks that it is to serve. Raises OperatorError."""
        if not (self._swap_only or self._choice.lacking):
            self._profile.check_networks(named_networks(self._choice.interfaces))
            rank.check(self._profile.boot.servers, _addresses(self._choice.interfaces))

    async def start(self) -> None:
        """Start pages, HTTP, TFTP and last DHCP, which invites PCs.

        Raises OperatorError if an address or a port is not available. Call ``stop`` also then, for
        the servers that had started.
        """
        _collect_seldom()
        self._running.callback(self._neighbours.close)
        self._running.callback(self._announcer.stop)
        interfaces = self._choice.interfaces
        addresses = _addresses(interfaces)
        if not (self._swap_only or self._choice.lacking):
            rank.check(self._profile.boot.servers, addresses)
        for error in self._choice.lacking.values():
            log.warning("%s: served when it is there", error)
        for line in changes.at_start(interfaces):
            log.warning("%s", line)
        images: dict[str, ImageFile] = {}
        if not self._swap_only:
            await asyncio.to_thread(self._room.files.make_templates, self._state)
            images = await asyncio.to_thread(self._images)

        name = pages_name(self._state)
        spec = headroom.affordable(parse_store(self._profile.swap.store), name)
        store = stores.make_store(spec, name)
        self._running.callback(_close_store, store)
        self._leased = leased = LeasedExports(
            store,
            self._room.table,
            self._clock.now,
            ceiling=lambda seat: self._room.seats.of(seat).settings.swap.ceiling,
            state=self._state,
        )
        self._running.callback(leased.close)
        self._room.is_granted = leased.is_granted
        if store.directory is not None:
            for left in headroom.left_behind(store.directory, leased.files.places):
                log.warning("pages: %s", left)
            self._watch_room(spec, store.directory)
        self._running.push_async_callback(leased.files.keeper.stop)
        self._running.push_async_callback(self._room.uses.keeper.stop)
        self._running.push_async_callback(self._room.next_boots.keeper.stop)
        self._pages = pages = PageServer(
            self._with_kept(
                ClassroomExports(
                    leased,
                    StaticExports(store, {}, images),
                    self._room.image_of,
                    VersionExports(self._files_of),
                    self._room.root_of,
                    self._read,
                )
            ),
            listen=self._listen(addresses),
            on_event=self._paged,
            holder=self._identity.holder_of,
        )
        self._running.push_async_callback(pages.stop)
        await pages.start(upgrade.inherited())
        feed = self._feed = self._make_feed(pages, store, spec)
        http = HttpServer(
            self._room,
            port=self._profile.http.port,
            orders=feed.orders,
            panels=feed.door,
            holder=self._identity.holder_of,
        )
        self._running.push_async_callback(http.stop)
        await http.start([LOOPBACK, *addresses])
        self._running.push_async_callback(feed.stop)
        feed.count(http)
        await feed.start()
        self._secret.on_new = feed.rekey
        self._keep_running(self._secret.run())
        self._followers += [
            self._neighbours.follow,
            lambda now: pages.follow(self._listen(_addresses(now))),
            lambda now: http.follow([LOOPBACK, *_addresses(now)]),
        ]
        self._keep_running(Noticing(self._room).run())
        if not self._swap_only:
            self._watch_uses(pages)
            await self._invite(pages, lambda tftp: feed.count(http, tftp))
        self._followers.append(self._announcer.follow)
        self._announcer.follow(interfaces)
        self._running.callback(self._monitor.stop)
        self._monitor.start()

    def _keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        faults.watch(task)
        self._running.callback(task.cancel)

    def standing(self) -> Standing:
        """Return how the room stands: seats of each state, and in trouble. All 0 before the start."""
        return Standing() if self._feed is None else self._feed.standing()

    def _make_feed(
        self, pages: PageServer, store: stores.PageStore, spec: StoreSpec
    ) -> FeedService:
        """Return the feed for panels."""
        folders = [] if store.directory is None else [store.directory]
        if spec.kind == "tiered" and spec.directory is not None:
            folders += [spec.directory / each.name for each in folders]

        def links() -> list[tuple[IPv4Address, IPv4Address]]:
            found = self._choice.interfaces
            return [(each.address, each.network.broadcast_address) for each in found]

        draining = Draining(
            self._profile,
            self._room.table,
            self._room.leases,
            pages,
            self._state,
            self._clock.now,
        )
        self._running.push_async_callback(draining.keeper.stop)
        self._keep_running(draining.run())
        return FeedService(
            self._room, pages, folders, links, self._state, draining, self._panel_group
        )

    def _with_kept(self, others: Exports) -> Exports:
        """Add the areas in which PCs keep files, if a profile gives some now or gave some before."""
        folder = self._state / KEPT_FOLDER
        if not (self._profile.keeps or folder.exists()):
            return others
        kept = KeptExports(folder, KeptTable(0, new_key), self._clock.now)
        self._running.callback(kept.close)
        self._running.push_async_callback(kept.keeper.stop)
        self._room.leases.kept = kept
        return WithKept(kept, others, KEPT)

    async def _invite(self, pages: PageServer, count: Callable[[TftpServer], None]) -> None:
        """Start TFTP, which is to be counted, and DHCP. Raises OperatorError."""
        interfaces = self._choice.interfaces
        files = TftpFiles(self._room)
        tftp = TftpServer(
            files.file,
            files.transferred,
            networks=self._networks(interfaces),
            holder=self._identity.holder_of,
        )
        self._running.push_async_callback(tftp.stop)
        await tftp.start(_addresses(interfaces))
        count(tftp)
        servers = self._profile.boot.servers
        standby = Standby(servers, time.monotonic())
        if servers:
            self._keep_running(FirstServer(standby, self._profile.http.port).run())
        self._dhcp = dhcp = DhcpServer(
            self._profile,
            interfaces,
            self._room.plan,
            self._journal,
            self._state / "leases.json" if self._profile.dhcp.mode == "full" else None,
            self._identity,
            self._room.seats.is_known,
            self._clock.now,
            standby,
        )
        self._running.push_async_callback(dhcp.stop)
        # Seats that wait for their swap come first: a rival server then causes a warning only.
        await dhcp.start(
            alone=not (self._profile.dhcp.beside or pages.resumes or self._is_unattended()),
            complete=not self._choice.lacking,
        )
        started = self._state / STARTED_FILE
        if not started.exists():
            try:
                replace_file(started, b"A start of this server went well.\n")
            except OSError as error:
                log.warning("%s: cannot be written: %s; make room there", started, error.strerror)
        self._followers += [
            lambda now: tftp.follow(_addresses(now), self._networks(now)),
            dhcp.follow,
        ]

    def _changed(self, before: Choice, after: Choice) -> bool:
        """Serve the interfaces as they are now. Return False if some of it has to be tried again."""
        self._choice = after
        if after.interfaces != before.interfaces:
            self._told.clear()
        for line in changes.told(before, after, self._profile.swap.patience):
            self._changes.warn(line, "%s", line)
        done = True
        for follow in self._followers:
            try:
                follow(after.interfaces)
            except (OperatorError, OSError) as error:
                done = False
                if str(error) not in self._told:
                    self._told.add(str(error))
                    log.warning("%s; tried again every few seconds", error)
        return done

    def _listen(self, addresses: Sequence[IPv4Address]) -> list[tuple[str, int]]:
        return [(str(address), self._profile.swap.port) for address in addresses]

    def _networks(self, interfaces: Sequence[Interface]) -> list[IPv4Network]:
        """Return the networks whose PCs are served over TFTP.

        PCs of a storm on this machine are among them: Linux drops packets from elsewhere that name a
        loopback address (RFC 1122, section 3.2.1.3).
        """
        own = [each.network for each in interfaces]
        return [*own, *self._profile.dhcp.networks, STORM_NETWORK]

    def _is_unattended(self) -> bool:
        """Return True if no person is at this start, so that a rival must not prevent it.

        Any PC on the LAN can play a rival. A server that started well before serves beside it.
        """
        served_before = (self._state / STARTED_FILE).exists() and not notify.at_terminal()
        return notify.is_service() or served_before

    def _images(self) -> dict[str, ImageFile]:
        """Open the root images, and return them by their exports. Warn of one that is missing.

        Makes the hash tree of an image that is new or changed (see ``verify_images``). Without
        trees no image is served: PCs would boot what they cannot verify.
        """
        opened: dict[str, ImageFile] = {}
        for path in sorted(self._profile.images):
            try:
                opened[path] = open_image(Path(path))
            except OperatorError as error:
                log.warning("%s; PCs with this root do not boot", error)
        exports = {image_export(path): pages for path, pages in opened.items()}
        # Also with root.verify: no, because PCs that verify may have booted before.
        try:
            verified = verify_images(opened, self._state / "trees")
        except OperatorError as error:
            log.warning("%s; %s; PCs with a root image do not boot", error, error.hint)
            return {}
        self._room.trees = {path: each.tree for path, each in verified.items()}
        return exports | {verified_export(path): each.pages for path, each in verified.items()}

    def _files_of(self, name: str, short: str) -> Files | None:
        version = self._room.shelf.version(name, short)
        return None if version is None else Files(version.image, version.tree)

    def _read(self, reader: str, name: str, export: str) -> None:
        self._room.reads(reader, name, VersionExports.short_of(export))

    def _watch_uses(self, pages: PageServer) -> None:
        """Note from time to time which seats still run their version of a root image."""
        if self._profile.image_names:
            self._room.uses.begin()

        async def watch() -> None:
            while True:
                await asyncio.sleep(USES_SECONDS)
                self._room.uses.heard(map(mac_of, pages.readers()))
                self._room.uses.forget()

        self._keep_running(watch())

    def _watch_room(self, spec: StoreSpec, directory: Path) -> None:
        """Grant no more than the server can hold, from now on; warn if that is too little."""
        swap, table = self._profile.swap, self._room.table
        promise = headroom.Promise(spec, swap.capacity, swap.overcommit)

        def look() -> headroom.Holding:
            holding = headroom.look(promise, directory, table.granted_bytes)
            table.capacity_bytes = holding.granted
            return holding

        with contextlib.suppress(OSError):  # the task tells it
            look()
        self._keep_running(headroom.watch(look))

    def _paged(self, event: PageEvent) -> None:
        """Journal an event of the page server. A refused client is known by its address only."""
        mac = event.seat
        if mac and event.kind in ("attach", "detach"):
            self._watch_address(event)
        if not mac and "address" in event.data:
            mac = self._identity.mac_of(IPv4Address(event.data["address"])) or ""
        if mac:
            if event.kind == "attach":
                self._journal.prove(mac)
            self._room.record(mac, f"pages:{event.kind}", event.message, **event.data)

    def _watch_address(self, event: PageEvent) -> None:
        """Warn if the address of a connection that ends has another MAC address than it had."""
        address = event.data["address"]
        known = self._identity.mac_of(IPv4Address(address))
        before = self._attached_by.get(address)
        if event.kind == "attach" and known is not None:
            self._attached_by[address] = known
        elif before is not None and known not in (None, before):
            message = f"its address {address} had the MAC address {before}, and has {known} now"
            log.warning("%s: %s: another machine has taken it", event.seat, message)
            self._room.record(event.seat, "identity", message, address=address)
        if event.kind == "detach" and not event.data["connections"]:
            self._attached_by.pop(address, None)

    async def stop(self) -> None:
        """Stop all servers, the last one started first."""
        await self._running.aclose()

    async def upgrade(self) -> None:
        """Replace the running program; clients of the page server notice nothing.

        Return only if the new program does not start.
        """
        if await upgrade.check():
            listeners = await self._pages.leave()
            self._leased.files.keeper.flush()
            self._room.uses.keeper.flush()
            self._room.next_boots.keeper.flush()
            if self._room.leases.kept is not None:
                self._room.leases.kept.keeper.flush()
            if self._dhcp is not None:
                self._dhcp.save()
            upgrade.reexecute(listeners)

    def description(self) -> dict[str, Any]:
        """Return the DHCP mode, the ports and the interfaces that are served, JSON-ready."""
        return {
            "dhcp": "none" if self._swap_only else self._profile.dhcp.mode,
            "http_port": self._profile.http.port,
            "pages_port": self._profile.swap.port,
            "interfaces": [
                {"interface": interface.name, "address": str(interface.address)}
                for interface in self._choice.interfaces
            ],
        }


def _addresses(interfaces: Sequence[Interface]) -> list[IPv4Address]:
    return list(dict.fromkeys(interface.address for interface in interfaces))


def _catalogues(manifest: Path) -> dict[str, Catalogue]:
    """Return the slices of a build by processor, none if ``manifest`` is not one of ours."""
    try:
        parts = read(manifest).processors or {}
        return {name: Catalogue.of(part) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _kernels(manifest: Path) -> dict[str, str]:
    """Return the kernel releases of a build by processor, none if ``manifest`` is not one of ours."""
    try:
        return kernels_of(read(manifest).processors)
    except (OSError, ValueError):
        return {}


def pages_name(state: Path) -> str:
    """Return the name under which the server with this state folder keeps its pages."""
    digest = hashlib.blake2b(os.fsencode(state.resolve()), digest_size=8).hexdigest()
    return f"room-{digest}"


def _collect_seldom() -> None:
    """Make the pauses of the garbage collector rare.

    A full collection looks at each event of the journal. In it, for up to 20 ms, no PC is answered.
    """
    gc.collect()
    gc.freeze()  # the program itself is no garbage
    gc.set_threshold(*COLLECTIONS)


def _close_store(store: stores.PageStore) -> None:
    """Leave the pages of seats to the next server of this room. Remove a store without pages."""
    kept, directory = len(store.names()), store.directory
    store.close()
    if directory is None:
        return
    if not kept:
        shutil.rmtree(directory, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        log.warning(
            "pages: %d MiB of swap stay in %s for the next start; if no PC needs its swap, free "
            "them: rm -r %s",
            headroom.in_mib(directory),
            directory,
            directory,
        )
