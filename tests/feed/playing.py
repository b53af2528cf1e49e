"""A seat that is played for the rows: its events as the servers and the initramfs make them."""

from dataclasses import dataclass, field
from typing import Any

from netboot.boot.plan import swap_export
from netboot.feed.records import Event, Pages, Pressure, Report, SeatRow
from netboot.feed.state import RoomState

MAC = "00:1e:37:11:22:33"
BEGIN = 1_795_896_000.0
GONE = "no answer to keep-alive probes"


@dataclass
class Played:
    """One PC, a clock, and the rows of its room. ``told``: all events, in order."""

    room: RoomState = field(default_factory=lambda: RoomState({MAC: "row1-1"}, {MAC: ["row1"]}))
    mac: str = MAC
    now: float = BEGIN
    booted: float = BEGIN  # when its kernel started
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room.tick(self.now)

    @property
    def row(self) -> SeatRow:
        return self.room.row(self.mac)

    @property
    def state(self) -> str:
        return self.row.state

    @property
    def mirror(self) -> str:
        return self.row.mirror

    @property
    def trouble(self) -> str:
        """The stage of the trouble that is shown; empty if there is none."""
        return "" if self.row.trouble is None else self.row.trouble.stage

    def see(self, name: str, text: str = "", /, ago: float = 0.0, **data: Any) -> None:
        event = Event(len(self.told) + 1, self.now - ago, self.mac, name, text, data)
        self.told.append(event)
        self.room.event(event)

    def say(self, name: str, text: str = "", /, ago: float = 0.0, **data: Any) -> None:
        """Tell a report of the PC's own."""
        self.see(name, text, ago=ago, uptime=round(self.now - ago - self.booted, 2), **data)

    def rest(self, seconds: float, *, reports: bool = False, some: float = 0.0) -> None:
        """Let time pass, with a tick each second and, if it ``reports``, a report every 10 s."""
        for second in range(1, int(seconds) + 1):
            self.now += 1
            if reports and second % 10 == 0:
                self.report(some)
            self.room.tick(self.now)

    def report(self, some: float = 0.0, **values: Any) -> None:
        self.room.report(self.mac, Report(self.now, pressure=Pressure(some), **values))

    def discover(self, arch: str = "bios", stage: str = "firmware") -> None:
        self.see("dhcp", f"DISCOVER from {arch}", type="DISCOVER", arch=arch, stage=stage)
        self.see("dhcp", "OFFER, boot file", type="OFFER", ms=0.2, file="undionly.kpxe")

    def load(self, *, proxy: bool = False) -> None:
        """Boot from power-on to the images."""
        self.discover()
        self.rest(2)
        if proxy:
            self.see("dhcp", "REQUEST from a DHCP client", type="REQUEST")
        else:
            self.see("dhcp", "REQUEST", type="REQUEST", arch="bios", stage="firmware")
            self.see("dhcp", "ACK 10.0.0.5", type="ACK", ms=0.2, address="10.0.0.5")
        self.rest(1)
        self.see("tftp", "undionly.kpxe", file="undionly.kpxe", bytes=70_000, seconds=0.2)
        self.rest(2)
        self.discover(stage="ipxe")
        self.see("tftp", "bios.ipxe", file="bios.ipxe", bytes=200, seconds=0.0)
        self.see("http", "bios.ipxe", file="bios.ipxe", bytes=900)
        self.rest(2)
        self.see("http", "amd64/vmlinuz", file="amd64/vmlinuz", bytes=8 << 20, seconds=1.0)
        self.rest(1)
        self.see("http", "amd64/base.img", file="amd64/base.img", bytes=4 << 20, seconds=0.5)

    def linux(self) -> None:
        """Boot from the kernel to its swap. The first reports arrive late, as they do."""
        self.rest(1)
        self.booted = self.now
        self.rest(4)
        self.see("lease", "swap of 510 MiB granted", bytes_granted=510 << 20)
        self.attach()
        self.see("kernel", "Linux starts", ago=self.now - self.booted)
        text = "512 MiB of RAM, Linux 6.12.57+deb13-amd64"
        self.say("init:start", text, ago=3.5, ram_kib=524_288)
        self.say("init:hardware", "eth0", ago=3.0, port="eth0", driver="e1000")
        self.say("init:network", "", ago=2.0, port="eth0", driver="e1000", address="10.0.0.5")
        self.say("swap", "/dev/nbd0", device="/dev/nbd0", size=510 << 20)

    def userland(self) -> None:
        self.rest(1)
        self.say("init:root", "ram, starting userland")
        self.rest(3)
        self.say("userland", "480 MiB of RAM for programs", ram_kib=490_000, swap_kib=522_240)

    def boot(self, *, proxy: bool = False) -> None:
        """Boot from power-on to userland."""
        self.load(proxy=proxy)
        self.linux()
        self.userland()

    def attach(self, export: str = "", connections: int = 1) -> None:
        export = export or swap_export(self.mac)
        self.see(
            "pages:attach",
            f"{export} attached by 10.0.0.5",
            address="10.0.0.5",
            connections=connections,
            export=export,
        )

    def detach(self, reason: str = GONE, export: str = "", left: int = 0) -> None:
        export = export or swap_export(self.mac)
        self.see("pages:detach", f"{export}: {reason}", connections=left, export=export)

    def pages(self, read: int, connections: int = 1) -> None:
        self.room.pages(self.mac, Pages(connections, read=read))
