"""The seats of one profile: what DHCP, TFTP, HTTP and the page server ask is answered here."""

import logging
import math
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from netboot.boot import ipxe, ticket, unified
from netboot.boot.admission import Admission, Turn
from netboot.boot.arch import ARCHITECTURES, BY_NAME, LOADERS, UNIFIED, Firmware
from netboot.boot.attempts import Loaders
from netboot.boot.client import PROBE_MAC, Client, Stage, is_played
from netboot.boot.events import BootEvent, Journal
from netboot.boot.plan import (
    INITRAMFS_FILE,
    KERNEL_FILE,
    STUB_FILE,
    BootPlan,
    SeatKeys,
    boot_plan,
    features,
    root_export,
    swap_export,
)
from netboot.boot.slices import Catalogue
from netboot.errors import OperatorError
from netboot.host import processes
from netboot.pages.lease import LeaseTable, Refused
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.profile import Profile
from netboot.profile.sections import PAGE, Swap
from netboot.serve.http.server import Beacon

log = logging.getLogger(__name__)

SCRIPT_SUFFIX = ".ipxe"
DAMAGED = "failed:images"  # the beacon of a PC whose initramfs is not as it was built (check.sh)
TOKEN_BYTES = 16


@dataclass(slots=True)
class Room:
    """One room. ``images`` is a folder that ``netboot build`` filled, None where another server
    boots the PCs; ``initrds`` are more of them for every PC, by name. The servers ask from the
    event loop: no method waits for anything.
    """

    profile: Profile
    images: Path | None
    secret: bytes = field(repr=False)
    journal: Journal
    leases: LeaseTable
    initrds: dict[str, Path] = field(default_factory=dict)
    catalogues: dict[str, Catalogue] = field(default_factory=dict)  # by processor
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    templates: dict[str, Path] = field(default_factory=dict)  # of unified images, by processor
    nics: dict[str, tuple[int, int]] = field(default_factory=dict)
    loaders: Loaders = field(default_factory=Loaders)
    admission: Admission = field(init=False)
    unproven: set[str] = field(default_factory=set)  # sent slices that have not proved good

    def __post_init__(self) -> None:
        self.admission = Admission(self.profile.http.rate)

    def plan(self, client: Client, server: IPv4Address) -> BootPlan:
        """What ``client``, which asks by DHCP, boots, as seen from our address ``server``."""
        if client.nic is not None:
            self.nics[client.mac] = client.nic
        if client.stage is Stage.IPXE and not self._is_for_script(client):
            client = replace(client, stage=Stage.FIRMWARE)
        if client.stage is Stage.IPXE:
            self.loaders.heard(client.mac)
        elif self.loaders.restarted(client.mac):
            loader = self.plan_of(client, server).bootfile.rpartition("/")[2]
            message = f"its last loader was fetched and not heard of again: this time {loader}"
            self.record(client.mac, "loader", message, file=loader)
        plan = self.plan_of(client, server)
        is_pi = client.arch.firmware is Firmware.RASPBERRY_PI
        if plan.by_grub or plan.unified or is_pi:
            # Not when it reads its configuration: a TFTP request may come twice.
            self.tokens[client.mac] = secrets.token_hex(TOKEN_BYTES)
        return plan

    def _is_for_script(self, client: Client) -> bool:
        """Whether an iPXE gets the script, and not our own iPXE first."""
        if client.ours or not client.able:
            return client.ours
        if client.mac == PROBE_MAC:  # it asks as our iPXE, and has loaded none
            return True
        wanted = self.profile.seat(client.mac).boot.loader
        return wanted == "auto" or self.loaders.is_ours(client.mac, time.monotonic())

    def fetched(self, mac: str, name: str) -> None:
        """A seat has fetched a boot file."""
        if mac == PROBE_MAC:
            return
        if name in LOADERS:
            self.loaders.loaded(mac, time.monotonic())
        else:
            self.admission.fetched(mac, self._size(name))

    def plan_of(
        self,
        client: Client,
        server: IPv4Address,
        slices: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> BootPlan:
        """What ``client`` boots; unlike by ``plan``, nothing is learned of it. ``slices``: what of the
        initramfs it gets, by processor.
        """
        keys = SeatKeys(self.ticket(client.mac), self.tokens.get(client.mac, ""))
        return boot_plan(
            self.profile,
            client,
            keys,
            server=server,
            slices=slices,
            initrds=tuple(self.initrds),
            attempt=self.loaders.attempt(client.mac),
        )

    def _slices(self, mac: str) -> dict[str, tuple[str, ...]]:
        """What of the initramfs a seat gets, by the processor that it may have; empty for all of
        it: always after a boot of which nothing was heard, or in which it was damaged.
        """
        if mac in self.unproven:
            return {}
        nic, wanted = self.nics.get(mac), features(self.profile.seat(mac))
        found = {name: each.choose(nic, wanted) for name, each in self.catalogues.items()}
        return {name: files for name, files in found.items() if files}

    def _sent(self, client: Client, chosen: dict[str, tuple[str, ...]]) -> None:
        """A seat is sent these slices, which have to prove good."""
        mac, nic = client.mac, self.nics.get(client.mac)
        if nic is not None:
            served = [row.name for row in client.arch.processors if row.name in self.catalogues]
            lacking = [self.catalogues[name].complaint(nic) for name in served]
            # What is for one processor may have what is missing for another; only iPXE knows which.
            if lacking and all(lacking):
                log.warning("%s: %s", self.profile.hostname(mac), lacking[0])
                self.record(mac, "initramfs", lacking[0], card=f"{nic[0]:04x}:{nic[1]:04x}")
        if mac in self.unproven:
            self.record(mac, "initramfs", "its last boot came to nothing: it gets all drivers")
        self.unproven.discard(mac)
        if chosen:
            self.unproven.add(mac)

    def _turn(self, mac: str, plan: BootPlan) -> Turn:
        """Whether a seat may download now. Of several processors' images the largest counts."""
        if mac == PROBE_MAC:
            return Turn(0, 0)
        base = f"boot/{self.ticket(mac)}/"
        sizes = [
            sum(
                self._size(path.removeprefix(base))
                for path in (each.kernel_path, *each.initrd_paths)
            )
            for each in plan.images
        ]
        return self.admission.ask(mac, max(sizes, default=0), time.monotonic())

    def _size(self, name: str) -> int:
        """Of a boot image, in bytes; 0 if there is none."""
        path = self.file(name)
        try:
            return 0 if path is None else path.stat().st_size
        except OSError:
            return 0

    def ticket(self, mac: str) -> str:
        """The unguessable part of a seat's URLs."""
        return ticket.issue(self.secret, mac)

    def seat_of(self, ticket_text: str) -> str | None:
        """The MAC address a ticket was issued for, or None."""
        return ticket.seat_of(self.secret, ticket_text)

    def image_of(self, ticket_text: str) -> str | None:
        """The export with the root image of a ticket's seat, None if it has none."""
        mac = self.seat_of(ticket_text)
        return None if mac is None else root_export(self.profile.seat(mac).root)

    def script(self, mac: str, name: str, server: IPv4Address) -> str | None:
        """The HTTP script ``name`` of a seat. Fetching it begins a boot: a new token is made; or it
        has the seat wait and ask again, while others download.
        """
        client = ipxe_client(mac, name)
        if client is None or self.images is None:
            return None
        self.loaders.scripted(mac)
        chosen = self._slices(mac)
        plan = self.plan_of(client, server, chosen)
        turn = self._turn(mac, plan)
        if turn.wait:
            self.record(mac, "wait", f"{turn.wait} s, PCs before it: {turn.before}", **asdict(turn))
            return ipxe.render_wait(plan, self.base_url(server), turn)
        self._sent(client, chosen)
        self.tokens[mac] = secrets.token_hex(TOKEN_BYTES)
        return ipxe.render(self.plan_of(client, server, chosen), self.base_url(server))

    def base_url(self, server: IPv4Address) -> str:
        """Where PCs find the HTTP server."""
        return f"http://{server}:{self.profile.http.port}"

    def unified(self, mac: str, name: str, server: IPv4Address) -> tuple[Path, str] | None:
        """A seat's kernel, initramfs and command line in the one file ``name``: the file that all
        seats share, and what the end of it is for this one. None if there is no such file.
        """
        processor, _, own = name.partition("/")
        line = self.command_line(mac, processor, server) if own == UNIFIED else None
        template = self.templates.get(processor)
        return None if line is None or template is None else (template, unified.end_of(line))

    def make_templates(self, folder: Path) -> None:
        """Puts what all seats share of their unified images into ``folder``. Takes half a second.

        Raises OperatorError.
        """
        for name in self.profile.boot.architectures:
            if self.images is None or not PROCESSORS[name].stub:
                continue
            own = self.images / name
            files = (own / STUB_FILE, own / KERNEL_FILE, own / INITRAMFS_FILE)
            try:
                stub, kernel, *initrds = (
                    path.read_bytes() for path in (*files, *self.initrds.values())
                )
                template = folder / f"{name}-{UNIFIED}"
                # Aside: workers of the server before this one may be in the middle of the old one.
                aside = template.with_suffix(".new")
                aside.write_bytes(unified.make_template(stub, kernel, initrds))
                aside.replace(template)
            except OSError as error:
                raise OperatorError(f"{error.filename}: {error.strerror}") from error
            self.templates[name] = template

    def command_line(self, mac: str, processor: str, server: IPv4Address) -> str | None:
        """What is in a seat's unified kernel image for a processor, None if there is none for it."""
        arch = next((row for row in ARCHITECTURES if row.is_unified_for(processor)), None)
        if arch is None or processor not in self.profile.boot.architectures:
            return None
        return unified.command_line(self.plan_of(Client(mac, arch, Stage.FIRMWARE), server))

    def file(self, name: str) -> Path | None:
        """A boot image by its name, None if there is none."""
        processor, _, own = name.rpartition("/")
        catalogue = self.catalogues.get(processor, Catalogue())
        files = (KERNEL_FILE, INITRAMFS_FILE, *catalogue.files())
        if name in LOADERS or (processor in self.profile.boot.architectures and own in files):
            return self._image(name)
        return self.initrds.get(name)

    def _image(self, name: str) -> Path | None:
        return None if self.images is None else self.images / name

    def lease(self, mac: str, ram_bytes: int, *, fresh: bool = False, area: int = 1) -> str:
        """Grants the seat its swap lease: ``size=BYTES`` or ``refused=REASON``. A ``fresh`` one, for
        a seat whose pages are lost, comes with a token of its own: ``size=BYTES token=TOKEN``; and
        so does that of a further ``area`` (swap.grow).
        """
        swap = self.profile.seat(mac).swap
        if area > 1:
            return self._further(mac, area, swap, ram_bytes)
        size = PAGE if is_played(mac) else swap.area_bytes_for(ram_bytes)
        if fresh:
            self.tokens[mac] = secrets.token_hex(TOKEN_BYTES)
        token = self.tokens.get(mac)
        if token is None:
            return "refused=this boot began before the server was restarted; boot again"
        granted = self.leases.grant(mac, swap_export(mac), token, size, time.time(), fresh=fresh)
        if isinstance(granted, Refused):
            self.record(mac, "lease", f"refused: {granted.reason}")
            return f"refused={granted.reason}"
        self.record(mac, "lease", f"swap of {size >> 20} MiB granted", bytes_granted=size)
        return f"size={size} token={token}" if fresh else f"size={size}"

    def _further(self, mac: str, area: int, swap: Swap, ram_bytes: int) -> str:
        # A refusal is not journaled here: the seat asks again and again, and tells it once.
        if area > 1 + swap.grow:
            return f"refused=swap.grow is {swap.grow}"
        size, token = swap.area_bytes_for(ram_bytes), secrets.token_hex(TOKEN_BYTES)
        export = swap_export(mac, area)
        granted = self.leases.grant(mac, export, token, size, time.time(), fresh=True)
        if isinstance(granted, Refused):
            return f"refused={granted.reason}"
        message = f"area {area}: swap of {size >> 20} MiB granted"
        self.record(mac, "lease", message, bytes_granted=size, area=area)
        return f"size={size} token={token}"

    def order_key(self) -> str:
        """What whoever gives seats orders has to know."""
        return ticket.order_key(self.secret)

    def end_lease(self, mac: str, area: int) -> str:
        """Ends the lease of a further area, which its seat has let go: ``ended`` or
        ``refused=REASON``. The first is a seat's for as long as it is on.
        """
        if area == 1 and not is_played(mac):
            return "refused=the first area is a seat's for as long as it is on"
        refused = self.leases.end(swap_export(mac, area))
        if refused is not None:
            return f"refused={refused.reason}"
        self.record(mac, "lease", f"area {area}: given back", area=area)
        return "ended"

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journals an event."""
        self.journal.record(BootEvent(time.time(), mac, stage, message, data))

    def beacon(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journals what an initramfs reports, at the time it happened, and only once: a PC sends
        again what was not answered in time, and a server that stood still then has it twice.
        """
        self.admission.left(mac)
        self.unproven.discard(mac)
        if stage == DAMAGED:
            self.unproven.add(mac)  # what it is sent next is not made of these slices
        told = _beacons_of_this_boot(self.journal.history(mac))
        said = (stage, beacon.message, beacon.data)  # two areas of a PC may say the same at once
        if said in ((event.stage, event.message, event.data) for event in told):
            return
        when = time.time() - beacon.age
        if stage == "init:start" and "uptime" in beacon.data:
            started = BootEvent(when - beacon.data["uptime"], mac, "kernel", "Linux starts")
            self.journal.record(started)
        # Its way here took a moment, the first one's longer than the others': what the PC says came
        # before it did. They may arrive in another order, and after what the server saw meanwhile.
        uptime = beacon.data.get("uptime", math.inf)
        when = max([when, *(event.when for event in told if event.data["uptime"] <= uptime)])
        self.journal.record(BootEvent(when, mac, stage, beacon.message, beacon.data))

    def status(self) -> dict[str, Any]:
        """The state of all seats, JSON-ready, without secrets; and the CPU that all processes of
        this server have used so far.
        """
        seats = []
        for mac in (mac for mac in self.journal.seats() if not is_played(mac)):
            history = [event.as_json() for event in self.journal.history(mac)]
            hostname = self.profile.hostname(mac)
            seats.append({"mac": mac, "hostname": hostname, "events": history})
        return {"seats": seats, "cpu_seconds": processes.cpu_seconds(os.getpid())}


def _beacons_of_this_boot(history: list[BootEvent]) -> list[BootEvent]:
    """Those after the last file that was fetched over HTTP: then Linux starts."""
    files = [number for number, event in enumerate(history) if event.stage == "http"]
    begin = files[-1] + 1 if files else 0
    return [event for event in history[begin:] if "uptime" in event.data]


def ipxe_client(mac: str, script_name: str) -> Client | None:
    """The client whose script is called ``script_name``: its architecture is in the name."""
    arch = BY_NAME.get(script_name.removesuffix(SCRIPT_SUFFIX))
    return None if arch is None else Client(mac, arch, Stage.IPXE)
