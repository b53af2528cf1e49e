"""Composition root: Profile -> running services. Start them in order, stop them in reverse."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from netboot.boot.client import STORM_NETWORK
from netboot.boot.events import Journal
from netboot.boot.snippets import instead_of_loader
from netboot.boot.ticket import mac_of
from netboot.feed.state import Standing
from netboot.host import clock, faults, notify
from netboot.host.files import replace_file
from netboot.host.interfaces import ETHERNET_MTU, Interface
from netboot.host.memory import ram_bytes
from netboot.host.neighbours import Neighbours
from netboot.images.manifest import MANIFEST_FILE
from netboot.pages import upgrade
from netboot.pages.lease import LeaseTable
from netboot.pages.server import PageServer
from netboot.pages.stores.image import ImageFile
from netboot.profile.profile import Profile
from netboot.roots.library import DEFAULT_FOLDER, Library
from netboot.roots.shelf import Shelf
from netboot.roots.uses import Uses
from netboot.serve.announcing import Announcer
from netboot.serve.boot_files import BootFiles, catalogues, kernels, lacking
from netboot.serve.dhcp.overhearing import Overhearing
from netboot.serve.dhcp.server import DhcpServer
from netboot.serve.dhcp.standby import Standby
from netboot.serve.draining import Draining
from netboot.serve.feed.service import FeedService
from netboot.serve.first_server import FirstServer
from netboot.serve.following import Following, addresses_of
from netboot.serve.http.server import HttpServer
from netboot.serve.identity import Identity
from netboot.serve.next_boot import NextBoots
from netboot.serve.noticing import Noticing
from netboot.serve.own_boot import OwnBoot, OwnImages
from netboot.serve.own_keys import OwnKeys
from netboot.serve.page_events import PageEvents
from netboot.serve.room import Room
from netboot.serve.room_pages import RoomPages, open_images
from netboot.serve.rotation import SecretFollower
from netboot.serve.secret import SECRET_FILE, load_secrets
from netboot.serve.tftp.server import TftpServer, as_asked
from netboot.serve.tftp_files import TftpFiles

log = logging.getLogger(__name__)

LOOPBACK = IPv4Address("127.0.0.1")
# Objects until a collection of the youngest, then collections until one of the next older ones.
COLLECTIONS = (10_000, 10, 100)
# Of a frame with the tag of a VLAN, so that it fits into a buffer for one without: iPXE loses longer
# frames if it uses the driver of UEFI (snponly), and never gets a kernel.
TAGGED_MTU = ETHERNET_MTU - 4
IP_TCP_HEADERS = 20 + 20
CLOCK_FILE = "clock"  # in the state folder (netboot.host.clock)
LEASES_FILE = "leases.json"  # in the state folder: addresses of full mode
# More than a PC takes to attach again after a restart of the server.
USES_SECONDS = 600.0
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
        self._following = Following(profile)
        self._announcer = Announcer()
        self._neighbours = Neighbours(self._following.interfaces)
        path = state / SECRET_FILE
        secrets = load_secrets(path, make=images is not None)  # makes the folder
        self._clock = clock.load(state / CLOCK_FILE)
        self._identity = Identity(profile, self._neighbours, self._clock.now)
        self._room = Room(
            profile=profile,
            files=BootFiles(
                images,
                profile,
                {path.name: path for path in initrds},
                {} if images is None else catalogues(images / MANIFEST_FILE),
                lacks=frozenset() if images is None else lacking(images),
            ),
            secret=secrets.current,
            journal=journal,
            table=LeaseTable(profile.swap.capacity or ram_bytes() // 2, profile.swap.overcommit),
            identity=self._identity,
            shelf=Shelf(Library(roots), {} if images is None else kernels(images / MANIFEST_FILE)),
            uses=Uses(None if images is None else state, self._clock.now),
            next_boots=NextBoots(None if images is None else state),
        )
        self._own_images = OwnImages(self._room.files, OwnKeys(state))
        self._secret = SecretFollower(path, self._room.keys, secrets, self._clock.now)
        self._dhcp: DhcpServer | None = None
        self._feed: FeedService | None = None
        self._running = contextlib.AsyncExitStack()

    def check(self) -> None:
        """Compare the profile with the networks that it is to serve. Raises OperatorError."""
        if not self._swap_only:
            self._following.check()

    async def start(self) -> None:
        """Start pages, HTTP, TFTP and last DHCP, which invites PCs.

        Raises OperatorError if an address or a port is not available. Call ``stop`` also then, for
        the servers that had started.
        """
        _collect_seldom()
        self._running.callback(self._neighbours.close)
        self._running.callback(self._announcer.stop)
        following, interfaces = self._following, self._following.interfaces
        addresses = addresses_of(interfaces)
        if not self._swap_only:
            following.check_rank()
        following.tell()
        images: dict[str, ImageFile] = {}
        if not self._swap_only:
            await asyncio.to_thread(self._room.files.make_templates, self._state)
            await asyncio.to_thread(self._own_images.make, addresses)
            images = await asyncio.to_thread(open_images, self._profile, self._state, self._room)
        self._content = content = RoomPages(
            self._profile,
            self._state,
            self._room,
            self._clock.now,
            self._running,
            self._keep_running,
            images,
        )
        self._running.push_async_callback(self._room.uses.keeper.stop)
        self._running.push_async_callback(self._room.next_boots.keeper.stop)
        self._pages = pages = PageServer(
            content.exports,
            listen=self._listen(addresses),
            on_event=PageEvents(self._room, self._identity, self._journal).note,
            holder=self._identity.holder_of,
        )
        self._running.push_async_callback(pages.stop)
        await pages.start(upgrade.inherited())
        feed = self._feed = self._make_feed(pages, content.folders)
        http = HttpServer(
            self._room,
            port=self._profile.http.port,
            orders=feed.orders,
            panels=feed.door,
            words=OwnBoot(self._room, self._own_images),
            holder=self._identity.holder_of,
            segment=TAGGED_MTU - IP_TCP_HEADERS if self._profile.tags else 0,
        )
        self._running.push_async_callback(http.stop)
        await http.start([LOOPBACK, *addresses])
        self._running.push_async_callback(feed.stop)
        feed.count(http)
        await feed.start()
        self._secret.on_new = feed.rekey
        self._keep_running(self._secret.run())
        following.add(
            self._neighbours.follow,
            lambda now: pages.follow(self._listen(addresses_of(now))),
            lambda now: http.follow([LOOPBACK, *addresses_of(now)]),
        )
        self._keep_running(Noticing(self._room).run())
        if not self._swap_only:
            self._watch_uses(pages)
            following.add(self._sign_for)
            await self._invite(pages, lambda tftp: feed.count(http, tftp))
        following.add(self._announcer.follow)
        self._announcer.follow(interfaces)
        self._running.callback(following.stop)
        following.start()

    def _keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        faults.watch(task)
        self._running.callback(task.cancel)

    def _sign_for(self, interfaces: Sequence[Interface]) -> None:
        """Make signed images for the addresses that we have now; other work goes on."""
        self._keep_running(asyncio.to_thread(self._own_images.make, addresses_of(interfaces)))

    def standing(self) -> Standing:
        """Return how the room stands: seats of each state, and in trouble. All 0 before the start."""
        return Standing() if self._feed is None else self._feed.standing()

    def _make_feed(self, pages: PageServer, folders: Sequence[Path]) -> FeedService:
        """Return the feed for panels."""

        def links() -> list[tuple[IPv4Address, IPv4Address]]:
            found = self._following.interfaces
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

    async def _invite(self, pages: PageServer, count: Callable[[TftpServer], None]) -> None:
        """Start TFTP, which is to be counted, and DHCP, if it is ours. Raises OperatorError."""
        interfaces = self._following.interfaces
        files = TftpFiles(self._room)
        tftp = TftpServer(
            files.file,
            files.transferred,
            networks=self._networks(interfaces),
            holder=self._identity.holder_of,
            instead=instead_of_loader if self._profile.dhcp.mode == "none" else as_asked,
            mtu=TAGGED_MTU if self._profile.tags else ETHERNET_MTU,
        )
        self._running.push_async_callback(tftp.stop)
        await tftp.start(addresses_of(interfaces))
        count(tftp)
        self._following.add(lambda now: tftp.follow(addresses_of(now), self._networks(now)))
        if self._profile.dhcp.mode == "none":
            self._overhear(interfaces)
        else:
            await self._answer_dhcp(interfaces, pages)
        started = self._state / STARTED_FILE
        if not started.exists():
            try:
                replace_file(started, b"A start of this server went well.\n")
            except OSError as error:
                log.warning("%s: cannot be written: %s; make room there", started, error.strerror)

    def _overhear(self, interfaces: Sequence[Interface]) -> None:
        """Hear what PCs ask another DHCP server, which names our boot files."""
        heard = Overhearing(self._room.overheard, self._journal)
        self._running.callback(heard.stop)
        heard.follow(interfaces)
        self._following.add(heard.follow)

    async def _answer_dhcp(self, interfaces: Sequence[Interface], pages: PageServer) -> None:
        servers = self._profile.boot.servers
        standby = Standby(servers, time.monotonic())
        if servers:
            self._keep_running(FirstServer(standby, self._profile.http.port).run())
        self._dhcp = dhcp = DhcpServer(
            self._profile,
            interfaces,
            self._room.plan,
            self._journal,
            self._state / LEASES_FILE if self._profile.dhcp.mode == "full" else None,
            self._identity,
            self._room.seats.is_known,
            self._clock.now,
            standby,
        )
        self._running.push_async_callback(dhcp.stop)
        # Seats that wait for their swap come first: a rival server then causes a warning only.
        await dhcp.start(
            alone=not (self._profile.dhcp.beside or pages.resumes or self._is_unattended()),
            complete=self._following.is_complete,
        )
        self._following.add(dhcp.follow)

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

    async def stop(self) -> None:
        """Stop all servers, the last one started first."""
        await self._running.aclose()

    async def upgrade(self) -> None:
        """Replace the running program; clients of the page server notice nothing.

        Return only if the new program does not start.
        """
        if await upgrade.check():
            listeners = await self._pages.leave()
            self._content.flush()
            self._room.uses.keeper.flush()
            self._room.next_boots.keeper.flush()
            if self._dhcp is not None:
                self._dhcp.save()
            upgrade.reexecute(listeners)

    def description(self) -> dict[str, Any]:
        """Return the DHCP mode, the ports and the interfaces that are served, JSON-ready.

        ``named_by`` is "lan" if the LAN's own DHCP server has to name the boot files.
        """
        left = self._profile.dhcp.mode == "none" and not self._swap_only
        return {
            "dhcp": "none" if self._swap_only else self._profile.dhcp.mode,
            **({"named_by": "lan"} if left else {}),
            "http_port": self._profile.http.port,
            "pages_port": self._profile.swap.port,
            "interfaces": [
                {"interface": interface.name, "address": str(interface.address)}
                for interface in self._following.interfaces
            ],
        }


def _collect_seldom() -> None:
    """Make the pauses of the garbage collector rare.

    A full collection looks at each event of the journal. In it, for up to 20 ms, no PC is answered.
    """
    # The program itself is no garbage, but for 700 objects: to look for those first takes 30 ms.
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
