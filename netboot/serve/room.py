"""The room: the one place that answers DHCP, TFTP, HTTP and the page server, so that they agree."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import InitVar, asdict, dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from netboot.boot import ipxe, memory, menu, rank, seat_files, ticket, unified
from netboot.boot.admission import Admission
from netboot.boot.arch import (
    ARCHITECTURES,
    BY_OUI,
    UNIFIED,
    Architecture,
    Firmware,
    is_loader,
)
from netboot.boot.client import Client, Stage, is_played
from netboot.boot.events import BootEvent, Journal
from netboot.boot.given import AUTOEXEC, render_autoexec
from netboot.boot.host_key import host_key
from netboot.boot.keyring import Keyring
from netboot.boot.plan import (
    BootPlan,
    HashTree,
    SeatKeys,
    boot_plan,
    has_own_files,
    kept_export,
    root_export,
    swap_export,
)
from netboot.boot.seat_files import Facts
from netboot.boot.silence import Silence
from netboot.boot.ticket import Key
from netboot.boot.waits import Step
from netboot.errors import DeniedError
from netboot.feed.records import Report
from netboot.host.complaints import Complaints
from netboot.pages.lease import LeaseTable
from netboot.profile.menu import USUAL, Menu
from netboot.profile.profile import Profile
from netboot.profile.roots import BY_NAME as ROOTS
from netboot.profile.sections import Root
from netboot.roots.shelf import Shelf
from netboot.roots.uses import Uses
from netboot.serve.boot_files import BootFiles, ipxe_client
from netboot.serve.boot_menu import BootMenu
from netboot.serve.doors import Doors
from netboot.serve.http.beacon import Beacon
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.identity import Identity
from netboot.serve.leases import Leases, serialize
from netboot.serve.next_boot import NextBoots
from netboot.serve.seat_content import read_files
from netboot.serve.seats import Seats, SeatState
from netboot.serve.turns import Turns

log = logging.getLogger(__name__)

DAMAGED = "failed:images"  # the beacon of a PC whose initramfs differs from the build (check.sh)
MAX_NAME = 80  # characters of a file's name in a message; it is a stranger's text
WHOLE: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # no slices: the whole initramfs


@dataclass(slots=True)
class Room:
    """The answers of one room. Its state is in ``seats``, ``leases``, ``admission``, ``journal``.

    The servers call the methods from the event loop: none of them waits.
    """

    profile: Profile
    files: BootFiles
    secret: InitVar[bytes]
    journal: Journal
    table: LeaseTable
    trees: dict[str, HashTree] = field(default_factory=dict)  # of images, by path
    shelf: Shelf = field(default_factory=Shelf)  # of root images
    uses: Uses = field(default_factory=Uses)  # of their versions
    next_boots: NextBoots = field(default_factory=NextBoots)
    identity: Identity = field(default_factory=lambda: Identity(Profile()))
    # Waits until the leases of an export are saved; None if nothing outlives this server.
    is_granted: Callable[[str], Awaitable[bool]] | None = None
    # Called with a seat's report, and with a seat that asks for orders.
    on_report: Callable[[str, Report], None] = lambda mac, report: None
    on_asked: Callable[[str], None] = lambda mac: None
    keys: Keyring = field(init=False, repr=False)
    seats: Seats = field(init=False, repr=False)
    doors: Doors = field(init=False, repr=False)
    leases: Leases = field(init=False, repr=False)
    admission: Admission = field(init=False)
    turns: Turns = field(init=False, repr=False)
    silence: Silence = field(init=False, repr=False)
    boot_menu: BootMenu = field(init=False, repr=False)
    _complaints: Complaints = field(default_factory=lambda: Complaints(log), repr=False)

    def __post_init__(self, secret: bytes) -> None:
        self.keys = Keyring(secret)
        self.seats = Seats(
            self.profile, self.journal, self._has_swap, self._is_connected, self.uses.of
        )
        self.doors = Doors(self.keys, self.seats, self.identity)
        self.leases = Leases(self.seats, self.table, self.identity.now)
        self.admission = Admission(self.profile.http.rate, self.profile.clients)
        self.turns = Turns(self.files, self.seats, self.admission)
        mode = self.profile.dhcp.mode
        proxy, left = mode != "full", mode == "none"
        self.silence = Silence(proxy=proxy, left=left, is_known=self.seats.is_known)
        self.journal.subscribe(self._follow)
        offered = self.profile.boot.menu
        self.boot_menu = BootMenu(offered, self.record)
        self.next_boots.entries = menu.entries_of(offered, self.profile.image_names)
        self.next_boots.tell = lambda mac, text: self.record(mac, "ordered", text)

    def _follow(self, event: BootEvent) -> None:
        now = time.monotonic()
        self.silence.record(event, now)
        self.seats.flapping.record(event, now)

    # The steps of a boot, in order: DHCP, loader, script, images, lease, beacons.

    def plan(self, client: Client, server: IPv4Address, *, privileged: bool = True) -> BootPlan:
        """Return the plan for a ``client`` that asked our address ``server`` over DHCP.

        Note its network card and the fate of its last loader in its seat. ``privileged``: it asked
        from a port that no user of a seat can use, so its PC is expected to boot.
        """
        seat = self.seats.met(client)
        seat.is_expected |= privileged
        if client.stage is Stage.IPXE and not self._is_for_script(seat, client):
            client = replace(client, stage=Stage.FIRMWARE)
        self.next_boots.expire(client.mac, time.monotonic())
        restarted = False
        if client.stage is Stage.IPXE:
            seat.attempts.started()
        else:
            restarted = seat.attempts.restarted()
            if restarted:
                self.next_boots.loader_failed(client.mac)
        plan = self._plan(client, server, seat)
        if restarted:
            loader = plan.bootfile.rpartition("/")[2]
            message = f"the last loader did not start; sending {loader}"
            self.record(client.mac, "loader", message, file=loader)
        is_pi = client.arch.firmware is Firmware.RASPBERRY_PI
        if plan.by_grub or plan.unified or is_pi:
            # Not when the PC reads its configuration: it may send that TFTP request twice.
            seat.session = self.doors.begin(client.mac)
            self.next_boots.began(client.mac, seat.session, time.monotonic())
            if not plan.by_grub:  # GRUB's file shows it
                self.obstacle(plan)
        return plan

    def overheard(self, client: Client, *, privileged: bool) -> None:
        """Note that a ``client`` asks the LAN's own DHCP server, and not us (dhcp.mode none).

        ``privileged``: see ``plan``.
        """
        self.seats.met(client).is_expected |= privileged

    def _is_for_script(self, seat: SeatState, client: Client) -> bool:
        """Return True if an iPXE gets the script, False if it gets our own iPXE first."""
        if client.ours or not client.able:
            return client.ours
        if seat.is_probe:
            return True
        wanted = self.next_boots.before(seat.settings).boot.loader
        return wanted == "auto" or seat.attempts.is_ours(time.monotonic())

    def script(
        self, mac: str, name: str, server: IPv4Address, modules: str = "", *, begins: bool = True
    ) -> str | None:
        """Return the HTTP script ``name`` of a seat, or None if there is no such script.

        ``modules`` is what its iPXE told of its RAM (see ``memory.shortage``).
        The script begins a boot with a new session. While other PCs use up ``http.rate``, it makes
        the seat wait and ask again instead, and no boot begins. If it does not ``begins`` one, it is
        only as long as the script would be.
        """
        if name == AUTOEXEC and self.files.given:
            return render_autoexec(self.base_url(server), self.other_url(server))
        client = ipxe_client(mac, name)
        if client is None or self.files.images is None:
            return None
        seat = self.seats.of(mac)
        if begins:
            self.next_boots.expire(mac, time.monotonic())
        settings = self.next_boots.before(seat.settings)
        chosen, session = self.turns.slices(seat, settings), self.doors.begin(mac)
        plan = self._plan(client, server, seat, session, slices=chosen)
        if begins:
            seat.attempts.scripted()
        here, other = self.base_url(server), self.other_url(server)
        entry = self.next_boots.entry(mac)
        if entry is not None and not entry.runs_on(client.arch):
            if begins:
                title = entry.title
                self.record(mac, "menu", f"does not run on this PC: {title}", entry=entry.id)
        elif entry is not None and not entry.is_own_linux:
            if begins:
                self.next_boots.began(mac, session, time.monotonic())
                self.record(mac, "menu", f"starts: {entry.title}", entry=entry.id)
            return menu.render_entry(entry, plan, here)
        obstacle = self.obstacle(plan, tells=begins)
        if obstacle:
            return ipxe.render_obstacle(plan, here, obstacle, other)
        plan = self._sparing(plan, modules)
        if not begins:
            return ipxe.render(plan, here, other=other, offered=self._offered(seat))
        turn = self.turns.turn(seat, plan)
        if turn.wait:
            self.record(mac, "wait", f"{turn.wait} s, PCs in front: {turn.before}", **asdict(turn))
            return ipxe.render_wait(plan, here, turn, other)
        self.turns.sent(seat, client, chosen)
        self.journal.prove(mac)
        seat.session = session
        self.next_boots.began(mac, session, time.monotonic())
        self.silence.heard(mac, Step.SCRIPT, time.monotonic())
        small = memory.shortage(modules, whole=not chosen)
        if small is not None:
            self.record(mac, "failed:memory", str(small), ram_mib=small.has, needs_mib=small.needs)
        return ipxe.render(plan, here, small, other, self._offered(seat))

    def _sparing(self, plan: BootPlan, modules: str) -> BootPlan:
        """Return the plan for a PC that may have little RAM, as its iPXE told by ``modules``."""
        if not memory.is_little(modules):
            return plan
        is_bios = plan.client.arch.firmware is Firmware.BIOS
        low = is_bios and memory.is_low(self.turns.size(plan))
        return plan.with_words(memory.SPARED, memory.LOW if low else ())

    def _offered(self, seat: SeatState) -> Menu | None:
        """Return the menu for the script of a seat; None if there is none, or nobody at the PC."""
        offered = self.profile.boot.menu
        return offered if offered.is_on and not seat.is_played else None

    @property
    def needs_password(self) -> bool:
        """True if the boot menu has a password."""
        return self.profile.boot.menu.password is not None

    async def admit_to_menu(self, mac: str, address: IPv4Address, password: str) -> None:
        """Return if a PC may open the menu. Raises DeniedError if it may not."""
        await self.boot_menu.admit(mac, str(address), password)

    def menu_script(self, mac: str, name: str, server: IPv4Address, entry: str) -> str | None:
        """Return the boot menu of a seat, or the script of its ``entry`` for this boot.

        The result is None if there is no such script or entry.
        """
        client, offered = ipxe_client(mac, name), self.profile.boot.menu
        if client is None or not offered.is_on:
            return None
        arch, known = client.arch, self.next_boots.entries
        entries = {name: each for name, each in known.items() if each.runs_on(arch)}
        if entry not in ("", USUAL, *entries):
            return None
        if not entry:
            self.record(mac, "menu", "the boot menu is open")
            self.seats.of(mac).unproven = False  # the slices of that script were not loaded
            plan = self._plan(client, server, self.seats.of(mac))
            return menu.render(offered, entries.values(), plan, self.base_url(server))
        self.next_boots.choose(mac, "" if entry == USUAL else entry, time.monotonic())
        if entry in entries and entries[entry].is_own_linux:
            self.record(mac, "menu", f"chosen: {entries[entry].title}", entry=entry)
        return self.script(mac, name, server)

    def obstacle(self, plan: BootPlan, *, tells: bool = True) -> str:
        """Return one line on why the PC of a plan cannot boot its root image; empty if it can.

        ``tells``: it is a warning and an event of the seat, too, once a minute.
        """
        root, mac = plan.seat.root, plan.client.mac
        if not (ROOTS[root.kind].named and root.image):
            return ""
        known = (each.name for each in plan.client.arch.processors)
        processors = [each for each in known if each in self.profile.boot.architectures]
        obstacle = self.shelf.obstacle(root.image, processors)
        if obstacle and tells:
            sender = f"{mac} {root.image}"
            if self._complaints.warn(sender, "%s: cannot boot: %s", mac, obstacle):
                self.record(mac, "failed:version", obstacle, image=root.image)
        return obstacle

    def grub_plan(self, mac: str, arch: Architecture, server: IPv4Address) -> BootPlan:
        """Return the plan for a seat's GRUB. Note that GRUB has started: it asks for this plan."""
        seat = self.seats.of(mac)
        seat.attempts.started()
        seat.attempts.scripted()
        return self.plan_of(Client(mac, arch, Stage.FIRMWARE), server)

    def plan_of(self, client: Client, server: IPv4Address) -> BootPlan:
        """Return the plan for ``client`` in the boot that it is in, the same however often."""
        seat = self.seats.of(client.mac)
        # Where another server answers DHCP, a PC's first file is all that we see of a new boot.
        again = self.profile.dhcp.mode == "none" and seat.has_run
        # Or the server was restarted since its DHCP answer.
        if again or not self.doors.is_good(seat.session):
            self.next_boots.expire(client.mac, time.monotonic())
            seat.session, seat.has_run = self.doors.begin(client.mac), False
            if self.profile.dhcp.mode == "none":
                self.next_boots.began(client.mac, seat.session, time.monotonic())
        return self._plan(client, server, seat, seat.session)

    def _plan(
        self,
        client: Client,
        server: IPv4Address,
        seat: SeatState,
        session: str = "",
        *,
        slices: Mapping[str, tuple[str, ...]] = WHOLE,
    ) -> BootPlan:
        return boot_plan(
            self.profile,
            self.next_boots.before(seat.settings),
            client,
            SeatKeys(
                self.keys.swap_token(session) if session else "",
                session,
            ),
            server=server,
            slices=slices,
            initrds=tuple(self.files.initrds),
            attempt=seat.attempts.failed,
            trees=self.trees,
            versions=self.shelf.boots,
            lacks=self.files.lacks,
            given=self.files.given,
        )

    def begun(self, mac: str) -> None:
        """Note that a seat has begun to fetch a boot file over HTTP."""
        self.admission.begun(mac)
        self.silence.heard(mac, Step.FETCHING, time.monotonic())

    def asked_file(self, address: IPv4Address) -> None:
        """Note that the PC at ``address`` asks for a file over TFTP."""
        mac = self.identity.seat_at(address)
        if mac is not None:
            self.silence.heard(mac, Step.FETCHING, time.monotonic())

    def missing(self, mac: str, name: str, address: IPv4Address, door: str = "http") -> None:
        """Tell that a boot file is missing, once a minute for a machine. ``mac`` may be empty."""
        if is_played(mac):
            return
        if is_loader(name) or self.files.may_exist(name):
            cause = "run 'netboot build'"
        elif mac[:8] in BY_OUI:
            cause = "copy it to the folder of boot.raspberry_pi"
        else:
            cause = "did another server name it (DHCP option 67)?"
        reason = f"there is no such file ({cause})"
        self.doors.refused(mac or None, address, door, name, reason, stage="missing")

    def warn(self, address: str, message: str) -> bool:
        """Log a warning about an address, once a minute. Return False if it was only counted."""
        return self._complaints.warn(address, "%s", message)

    def fetched(self, mac: str, name: str) -> None:
        """Note that a seat has fetched the boot file ``name``."""
        seat = self.seats.of(mac)
        if seat.is_probe:
            return
        self.journal.prove(mac)
        self.silence.fetched(mac, name, time.monotonic())
        if is_loader(name):
            seat.attempts.loaded(time.monotonic())
        else:
            self.admission.fetched(mac, self.files.size(name))

    def lease(self, mac: str, request: LeaseRequest) -> str:
        """Grant a seat swap (see ``Leases.grant``). Return the line to send to the seat."""
        session = request.session
        token = self.keys.swap_token(session) if session else ""
        return serialize(self.leases.grant(mac, request, token))

    async def is_saved(self, mac: str, area: int) -> bool:
        """Wait until the next server would know the lease of an area; False if it cannot be saved."""
        if area == 0:
            kept = self.leases.kept
            return kept is None or await kept.is_granted(kept_export(mac))
        return self.is_granted is None or await self.is_granted(swap_export(mac, area))

    def end_lease(self, mac: str, area: int) -> str:
        """End the lease of an area (see ``Leases.end``). Return the line to send to the seat."""
        return serialize(self.leases.end(mac, area))

    def delete_kept(self, mac: str) -> str:
        """Delete the files that a seat keeps (see ``Leases.delete_kept``)."""
        return self.leases.delete_kept(mac)

    def beacon(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journal a beacon of an initramfs. The PC has its files, so free its place."""
        self.admission.left(mac)
        # If the initramfs was damaged, the next boot gets the whole one instead of these slices.
        self.seats.of(mac).unproven = stage == DAMAGED
        self.seats.report(mac, stage, beacon)

    def report(self, mac: str, report: Report) -> None:
        """Note how a seat is: the last report counts."""
        self.seats.of(mac).report = report
        self.on_report(mac, report)

    def asked_orders(self, mac: str) -> None:
        """Note that the userland of a seat asks for orders."""
        self.on_asked(mac)

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journal an event."""
        self.seats.record(mac, stage, message, **data)

    def _has_swap(self, mac: str) -> bool:
        """Return whether a seat has a lease of its first area."""
        return self.table.has(swap_export(mac))

    def _is_connected(self, mac: str) -> bool:
        """Return whether a seat has connections to its first area."""
        return self.table.is_in_use(swap_export(mac))

    def may_download(self, mac: str, name: str, patience: float) -> bool:
        """Return True if a seat may fetch its unified image ``name`` now (see ``Turns``)."""
        return self.turns.may_download(self.seats.of(mac), name, patience)

    # Doors and keys.

    def seat_of(self, who: str, address: IPv4Address) -> str | None:
        """Return the PC at ``address``, where a boot file for ``who`` was sent; None if not known.

        A MAC address is believed only if it is a played PC's.
        """
        if is_played(who):
            return who
        key = self.keys.read(who, self.identity.earliest())
        return self.identity.seat_at(address) if key is None else key.mac

    def is_awaited(self, address: IPv4Address) -> bool:
        """Return True if the kernel does not know a machine on our links yet. Have it look."""
        return self.identity.is_awaited(address)

    def admit(self, text: str, address: IPv4Address) -> Key | None:
        """Return the ticket or session ``text`` if ``address`` may use it (see ``Doors``)."""
        key = self.doors.admit(text, address)
        if key is not None and key.session:
            self.next_boots.runs(key.mac, key.session)
        return key

    def open(self, who: str, address: IPv4Address, *, begins: bool = False) -> Key | None:
        """Return the seat of a loader that asks for a boot file (see ``Doors``)."""
        return self.doors.open(who, address, begins=begins)

    def image_of(self, text: str, address: str) -> str | None:
        """Return the export of the image of a seat, or None if ``address`` may not read it.

        ``text`` is a session. A PC that 0.1.0 booted has a ticket, and goes on reading its root.
        """
        root = self._root_of(text, address)
        return None if root is None else root_export(root)

    def root_of(self, text: str, address: str) -> str | None:
        """Return the name of the root image of a seat, like ``image_of``: it may read each version."""
        root = self._root_of(text, address)
        return root.image if root is not None and ROOTS[root.kind].named else None

    def _root_of(self, text: str, address: str) -> Root | None:
        try:
            key = self.doors.admit(text, IPv4Address(address))
        except DeniedError:
            return None
        if key is None or is_played(key.mac):
            return None
        return self.next_boots.during(self.seats.of(key.mac).settings, key.session).root

    def own_files(self, key: Key, server: IPv4Address, address: IPv4Address) -> bytes:
        """Return the archive with the files of a seat, for its /init at ``address``.

        Raises DeniedError without the session of its boot: users of a running seat ask from its
        address too, and these files have its secrets.
        """
        settings = self.next_boots.during(self.seats.of(key.mac).settings, key.session)
        if is_played(key.mac) or not has_own_files(settings):
            raise DeniedError("a PC with this root has no files of its own")
        if not key.session:
            raise DeniedError("the files of a seat need the session of its boot: boot again")
        files, refused = read_files(settings.own.files)
        for line in refused:
            self._complaints.warn(f"{key.mac} {line}", "%s: key 'seat.files': %s", key.mac, line)
        facts = Facts(server, address, host_key(self.keys.current, key.mac), files)
        return seat_files.archive(settings, self.profile.dhcp, facts)

    def reads(self, reader: str, name: str, short: str) -> None:
        """Note that a seat (``reader``: the digits of its MAC address) reads a version of an image."""

        def label() -> str:
            version = self.shelf.version(name, short)
            return f"{name}@{short}" if version is None else version.label

        self.uses.attached(ticket.mac_of(reader), short, label)

    def order_refusal(self, key: str, order: str, mac: str) -> str:
        """Return why a caller with this key may not give the order; empty if it may."""
        return self.keys.order_refusal(key, order, mac, time.time())

    def base_url(self, server: IPv4Address) -> str:
        """Return the URL of our HTTP server at the address ``server``, without a path."""
        return f"http://{server}:{self.profile.http.port}"

    def other_url(self, server: IPv4Address) -> str:
        """Return the URL of the boot server beside our address ``server``; empty if there is none."""
        _, *others = rank.with_other(server, self.profile.boot.servers)
        return self.base_url(others[0]) if others else ""

    def count(self, cpu_seconds: float) -> str:
        """Return what strangers may know as JSON: the number of seats, and ``cpu_seconds``."""
        return f'{{"count": {self.seats.count()}, "cpu_seconds": {cpu_seconds!r}}}\n'

    def status(self, cpu_seconds: float) -> str:
        """Return the last event of each seat as JSON, without secrets.

        ``cpu_seconds`` is the CPU time that all processes of this server have used so far.
        """
        rows = [] if self.leases.kept is None else self.leases.kept.as_rows()
        kept = f', "kept": {json.dumps(rows)}' if rows else ""
        return f'{{{self.seats.overview()}{kept}, "cpu_seconds": {cpu_seconds!r}}}\n'

    def history(self, mac: str) -> str | None:
        """Return the events of a seat as JSON, without secrets; None if there are none."""
        return self.seats.history(mac)

    # Files.

    def file(self, name: str, server: IPv4Address | None = None) -> Path | None:
        """Return the path of a boot image (see ``BootFiles.path``), or None if there is none."""
        return self.files.path(name, server)

    def is_boot_file(self, name: str) -> bool:
        """Return True if there may be a boot file ``name``, for all seats or for each its own."""
        return self.files.may_exist(name)

    def unified(self, mac: str, name: str, server: IPv4Address) -> tuple[Path, str] | None:
        """Return a seat's kernel, initramfs and command line as the one file ``name``.

        The result is the file that all seats share and the text at its end for this seat. It is
        None if no such file exists.
        """
        processor, _, own = name.partition("/")
        line = self.command_line(mac, processor, server) if own == UNIFIED else None
        template = self.files.templates.get(processor)
        return None if line is None or template is None else (template, unified.end_of(line))

    def command_line(self, mac: str, processor: str, server: IPv4Address) -> str | None:
        """Return the command line in a seat's unified kernel image, or None without such an image.

        ``processor`` is the one that the image is for.
        """
        arch = next((row for row in ARCHITECTURES if row.is_unified_for(processor)), None)
        if arch is None or processor not in self.profile.boot.architectures:
            return None
        return unified.command_line(self.plan_of(Client(mac, arch, Stage.FIRMWARE), server))
