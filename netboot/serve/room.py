"""The room: answers DHCP, TFTP, HTTP and the page server from one place, so they cannot disagree."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from netboot.boot import ipxe, ticket, unified
from netboot.boot.admission import Admission, Turn
from netboot.boot.arch import ARCHITECTURES, BY_NAME, LOADERS, UNIFIED, Architecture, Firmware
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.boot.plan import (
    INITRAMFS_FILE,
    KERNEL_FILE,
    STUB_FILE,
    BootPlan,
    SeatKeys,
    boot_plan,
    features,
    root_export,
)
from netboot.boot.slices import Catalogue
from netboot.errors import OperatorError
from netboot.host import processes
from netboot.host.files import replace_file
from netboot.pages.lease import LeaseTable
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.profile import Profile
from netboot.serve.http.beacon import Beacon
from netboot.serve.leases import Leases, serialize
from netboot.serve.seats import Seats, SeatState, new_token

log = logging.getLogger(__name__)

SCRIPT_SUFFIX = ".ipxe"
DAMAGED = "failed:images"  # the beacon of a PC whose initramfs is not as it was built (check.sh)
WHOLE: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # no slices: the whole initramfs


@dataclass(slots=True)
class Room:
    """The answers of one room. What it knows is in ``seats``, ``leases``, ``admission``, ``journal``.

    ``images`` is a folder that ``netboot build`` filled, None where another server boots the PCs;
    ``initrds`` are more of them for every PC, by name. The servers ask from the event loop: no method
    waits for anything.
    """

    profile: Profile
    images: Path | None
    secret: bytes = field(repr=False)
    journal: Journal
    table: LeaseTable
    initrds: dict[str, Path] = field(default_factory=dict)
    catalogues: dict[str, Catalogue] = field(default_factory=dict)  # by processor
    templates: dict[str, Path] = field(default_factory=dict)  # of unified images, by processor
    seats: Seats = field(init=False, repr=False)
    leases: Leases = field(init=False, repr=False)
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.seats = Seats(self.profile, self.journal)
        self.leases = Leases(self.seats, self.table)
        self.admission = Admission(self.profile.http.rate)

    # A boot, in its order: DHCP, loader, script, images, lease, beacons.

    def plan(self, client: Client, server: IPv4Address) -> BootPlan:
        """Decide what ``client``, which asks by DHCP, boots, as seen from our address ``server``."""
        seat = self.seats.of(client.mac)
        if client.nic is not None:
            seat.nic = client.nic
        if client.stage is Stage.IPXE and not self._is_for_script(seat, client):
            client = replace(client, stage=Stage.FIRMWARE)
        restarted = False
        if client.stage is Stage.IPXE:
            seat.attempts.started()
        else:
            restarted = seat.attempts.restarted()
        plan = self._plan(client, server, seat)
        if restarted:
            loader = plan.bootfile.rpartition("/")[2]
            message = f"its last loader was fetched and not heard of again: this time {loader}"
            self.record(client.mac, "loader", message, file=loader)
        is_pi = client.arch.firmware is Firmware.RASPBERRY_PI
        if plan.by_grub or plan.unified or is_pi:
            # Not when it reads its configuration: a TFTP request may come twice.
            seat.token = new_token()
        return plan

    def _is_for_script(self, seat: SeatState, client: Client) -> bool:
        """Return whether an iPXE gets the script, and not our own iPXE first."""
        if client.ours or not client.able:
            return client.ours
        if seat.is_probe:
            return True
        wanted = seat.settings.boot.loader
        return wanted == "auto" or seat.attempts.is_ours(time.monotonic())

    def script(self, mac: str, name: str, server: IPv4Address) -> str | None:
        """Return the HTTP script ``name`` of a seat, None if there is no such script.

        Fetching it begins a boot with a new token, unless the seat is to wait and ask again while
        others download.
        """
        client = ipxe_client(mac, name)
        if client is None or self.images is None:
            return None
        seat = self.seats.of(mac)
        seat.attempts.scripted()
        chosen, token = self._slices(seat), new_token()
        plan = self._plan(client, server, seat, slices=chosen, token=token)
        turn = self._turn(seat, plan)
        if turn.wait:
            self.record(mac, "wait", f"{turn.wait} s, PCs before it: {turn.before}", **asdict(turn))
            return ipxe.render_wait(plan, self.base_url(server), turn)
        self._sent(seat, client, chosen)
        seat.token = token
        return ipxe.render(plan, self.base_url(server))

    def grub_plan(self, mac: str, arch: Architecture, server: IPv4Address) -> BootPlan:
        """Return what a seat's GRUB boots, which reads its configuration: it has started."""
        seat = self.seats.of(mac)
        seat.attempts.started()
        seat.attempts.scripted()
        seat.token = seat.token or new_token()
        return self._plan(Client(mac, arch, Stage.FIRMWARE), server, seat)

    def plan_of(self, client: Client, server: IPv4Address) -> BootPlan:
        """Return what ``client`` boots; unlike by ``plan``, nothing is learned of it."""
        return self._plan(client, server, self.seats.of(client.mac))

    def _plan(
        self,
        client: Client,
        server: IPv4Address,
        seat: SeatState,
        *,
        slices: Mapping[str, tuple[str, ...]] = WHOLE,
        token: str = "",
    ) -> BootPlan:
        return boot_plan(
            self.profile,
            seat.settings,
            client,
            SeatKeys(self.ticket(client.mac), token or seat.token),
            server=server,
            slices=slices,
            initrds=tuple(self.initrds),
            attempt=seat.attempts.failed,
        )

    def fetched(self, mac: str, name: str) -> None:
        """Note that a seat has fetched a boot file."""
        seat = self.seats.of(mac)
        if seat.is_probe:
            return
        if name in LOADERS:
            seat.attempts.loaded(time.monotonic())
        else:
            self.admission.fetched(mac, self._size(name))

    def lease(self, mac: str, ram_bytes: int, *, fresh: bool = False, area: int = 1) -> str:
        """Grant a seat swap, see ``Leases.grant``; return the line that it is sent."""
        return serialize(self.leases.grant(mac, ram_bytes, fresh=fresh, area=area))

    def end_lease(self, mac: str, area: int) -> str:
        """End the lease of an area, see ``Leases.end``; return the line that the seat is sent."""
        return serialize(self.leases.end(mac, area))

    def beacon(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journal what an initramfs reports."""
        self.admission.left(mac)
        # A seat whose initramfs was damaged is next sent an image that is not made of these slices.
        self.seats.of(mac).unproven = stage == DAMAGED
        self.seats.report(mac, stage, beacon)

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journal an event."""
        self.seats.record(mac, stage, message, **data)

    # Which slices of the initramfs, and when.

    def _slices(self, seat: SeatState) -> dict[str, tuple[str, ...]]:
        """Return the slices of the initramfs that a seat gets, by the processor that it may have.

        Empty for the whole initramfs: always after a boot of which nothing was heard, or in which the
        initramfs was damaged.
        """
        if seat.unproven:
            return {}
        wanted = features(seat.settings)
        found = {name: each.choose(seat.nic, wanted) for name, each in self.catalogues.items()}
        return {name: files for name, files in found.items() if files}

    def _sent(self, seat: SeatState, client: Client, chosen: dict[str, tuple[str, ...]]) -> None:
        """Note that a seat is sent these slices, which have to prove good."""
        mac, nic = seat.mac, seat.nic
        if nic is not None:
            served = [row.name for row in client.arch.processors if row.name in self.catalogues]
            lacking = [self.catalogues[name].complaint(nic) for name in served]
            # What is for one processor may have what is missing for another; only iPXE knows which.
            if lacking and all(lacking):
                log.warning("%s: %s", seat.settings.hostname, lacking[0])
                self.record(mac, "initramfs", lacking[0], card=f"{nic[0]:04x}:{nic[1]:04x}")
        if seat.unproven:
            self.record(mac, "initramfs", "its last boot came to nothing: it gets all drivers")
        seat.unproven = bool(chosen)

    def _turn(self, seat: SeatState, plan: BootPlan) -> Turn:
        """Return whether a seat may download now. Of several processors' images the largest counts."""
        if seat.is_probe:
            return Turn(0, 0)
        base = f"boot/{self.ticket(seat.mac)}/"
        sizes = [
            sum(
                self._size(path.removeprefix(base))
                for path in (each.kernel_path, *each.initrd_paths)
            )
            for each in plan.images
        ]
        return self.admission.ask(seat.mac, max(sizes, default=0), time.monotonic())

    # Tickets and keys.

    def ticket(self, mac: str) -> str:
        """Return the unguessable part of a seat's URLs."""
        return ticket.issue(self.secret, mac)

    def seat_of(self, ticket_text: str) -> str | None:
        """Return the MAC address that a ticket was issued for, or None."""
        return ticket.seat_of(self.secret, ticket_text)

    def image_of(self, ticket_text: str) -> str | None:
        """Return the export with the root image of a ticket's seat, None if it has none."""
        mac = self.seat_of(ticket_text)
        return None if mac is None else root_export(self.seats.of(mac).settings.root)

    def order_key(self) -> str:
        """Return what a caller has to know to give seats orders."""
        return ticket.order_key(self.secret)

    def base_url(self, server: IPv4Address) -> str:
        """Return where PCs find the HTTP server."""
        return f"http://{server}:{self.profile.http.port}"

    def status(self) -> dict[str, Any]:
        """Return the state of all seats, JSON-ready and without secrets, and the seconds of CPU that
        all processes of this server have used so far.
        """
        return {"seats": self.seats.as_json(), "cpu_seconds": processes.cpu_seconds(os.getpid())}

    # Files.

    def file(self, name: str) -> Path | None:
        """Return a boot image by its name, None if there is none."""
        processor, _, own = name.rpartition("/")
        catalogue = self.catalogues.get(processor, Catalogue())
        files = (KERNEL_FILE, INITRAMFS_FILE, *catalogue.files())
        if name in LOADERS or (processor in self.profile.boot.architectures and own in files):
            return None if self.images is None else self.images / name
        return self.initrds.get(name)

    def _size(self, name: str) -> int:
        """Return the size of a boot image in bytes; 0 if there is none."""
        path = self.file(name)
        try:
            return 0 if path is None else path.stat().st_size
        except OSError:
            return 0

    def unified(self, mac: str, name: str, server: IPv4Address) -> tuple[Path, str] | None:
        """Return a seat's kernel, initramfs and command line in the one file ``name``: the file that
        all seats share, and its end for this seat. None if there is no such file.
        """
        processor, _, own = name.partition("/")
        line = self.command_line(mac, processor, server) if own == UNIFIED else None
        template = self.templates.get(processor)
        return None if line is None or template is None else (template, unified.end_of(line))

    def make_templates(self, folder: Path) -> None:
        """Put what all seats share of their unified images into ``folder``. Takes half a second.

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
                # Workers of the server before this one may be in the middle of the old file.
                replace_file(template, unified.make_template(stub, kernel, initrds))
            except OSError as error:
                raise OperatorError(f"{error.filename}: {error.strerror}") from error
            self.templates[name] = template

    def command_line(self, mac: str, processor: str, server: IPv4Address) -> str | None:
        """Return what is in a seat's unified kernel image for a processor, None if there is none."""
        arch = next((row for row in ARCHITECTURES if row.is_unified_for(processor)), None)
        if arch is None or processor not in self.profile.boot.architectures:
            return None
        return unified.command_line(self.plan_of(Client(mac, arch, Stage.FIRMWARE), server))


def ipxe_client(mac: str, script_name: str) -> Client | None:
    """Return the client whose script is called ``script_name``: its architecture is in the name."""
    arch = BY_NAME.get(script_name.removesuffix(SCRIPT_SUFFIX))
    return None if arch is None else Client(mac, arch, Stage.IPXE)
