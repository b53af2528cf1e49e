"""A made-up room for the played panel: seats in each state, with figures that move."""

import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from netboot.boot.silence import Silent
from netboot.boot.stages import BY_NAME
from netboot.boot.waits import BY_STEP, Step
from netboot.feed.records import Hardware, Pages, Pressure, Report, SeatRow, ServerRow, Trouble
from netboot.panel.history.rooms import SeatBoot, regression
from netboot.panel.keeping import FEED, REMEDY

Json = Any
MIB, GIB = 2**20, 2**30
HOUR = 3600
STAGES = [  # of a boot, with the seconds after power-on
    ("dhcp", 0.0, "OFFER 10.77.0.{n}, boot file snponly.efi"),
    ("tftp", 1.1, "snponly.efi 250.9 kB in 0.30 s"),
    ("http", 2.2, "amd64/vmlinuz 21.4 MB in 1.90 s, 11.3 MB/s"),
    ("kernel", 6.3, "Linux starts"),
    ("init:start", 8.0, "2032 MiB of RAM, Linux 6.1.0-40-amd64"),
    ("init:network", 9.4, "eth0, 1000 Mbit/s, 10.77.0.{n}"),
    ("swap", 10.2, "/dev/nbd0, 1024 MiB, 2 connections"),
    ("init:root", 11.0, "nbd, starting userland"),
    ("userland", 14.5, "1.9 GiB of RAM, 1 GiB of swap"),
    ("screen:shown", 21.0, "Moodle of our school"),
]
TAIL = """[    8.012] init: e1000e loaded, port eth0
[    9.406] init: link is up, 1000 Mbit/s
[   29.410] init: no answer to DHCP for 20 s
[   29.411] init: failed: no address"""
AWAY = Silent("", BY_STEP[Step.AWAY], 20.0).message
LOST = Trouble(0, "pages:away", AWAY, BY_NAME["pages:away"].remedy)
FAILED = Trouble(
    0,
    "failed:network",
    "no IP address: none on the command line (ip=), no answer by DHCP",
    BY_NAME["failed:network"].remedy,
)
UNHEARD = Trouble(0, FEED, "the panel does not hear of this server", REMEDY)
NOT_SEEN: dict[str, Json] = {"acknowledged_by": "", "acknowledged_at": None}
SLOWER = regression(
    tuple(SeatBoot(n, f"{n}", "", 0, 43.0, "running", 43.0) for n in range(12)),
    tuple(SeatBoot(n, f"{n}", "", 0, 31.0, "running", 31.0) for n in range(12)),
)
ADVICE = (
    "waited for memory 23% of its time in 7 days: its 3072 MiB are too little; "
    "add RAM, or boot a smaller image"
)


class PlayedRoom:
    """Seats by MAC address. All of them change with each ``step``."""

    def __init__(self, seats: int) -> None:
        self.random = random.Random(1)
        self.began = time.time() - 600
        self.seats: dict[str, SeatRow] = {}
        self.servers = {"server-1": self._server(), "server-2": self._server()}
        self.connected = {"server-1": True, "server-2": True}
        names = []
        for index in range(seats):
            row = self._seat(index, seats)
            self.seats[row.mac] = row
            names.append(row.name)
        wide = 4 if seats <= 20 else 10
        front = [names[at : at + wide] for at in range(0, len(names), wide)]
        self.plan = [[*row[: wide // 2], "", *row[wide // 2 :]] for row in front]

    def _seat(self, index: int, seats: int) -> SeatRow:
        kinds = (
            ("running",) * 6 + ("booting", "waiting", "short", "lost", "off")
            if seats > 20
            else ("running",) * 5 + ("booting", "waiting", "short", "lost", "off", "unknown")
        )
        state: Any = kinds[index % len(kinds)]
        now = time.time()
        number = index + 1
        is_on = state in ("running", "short", "lost")
        size = 128 * (8 + 8 * (index % 3))
        stage = {"booting": "init:network", "waiting": "wait", "unknown": "", "off": "order"}
        message = {
            "booting": f"eth0, 1000 Mbit/s, 10.77.0.{number}",
            "waiting": "12 s, PCs in front: 3",
            "off": "poweroff, by operator",
        }
        row = SeatRow(
            mac=f"52:54:00:77:{number // 256:02x}:{number % 256:02x}",
            name=f"pc-{number:02}",
            groups=("room-" + "abcdefgh"[index * 8 // max(seats, 8) % 8],),
            named=True,
            state=state,
            since=now - (9 if state == "booting" else 240 + 7 * index),
            seen=0 if state == "unknown" else now - 3,
            booted=0 if state == "unknown" else now - (12 if state in stage else 580),
            boot=f"boot-{number}",
            stage=stage.get(state, "screen:shown"),
            message=message.get(state, "Moodle of our school"),
            address="" if state == "unknown" else f"10.77.{number // 250}.{number % 250 + 1}",
            uuid="" if state == "unknown" else f"4c4c4544-0042-3510-8053-c4c04f4d{number:04x}",
            image="" if state == "unknown" else "kiosk",
            digest="" if state == "unknown" else "9f2c41" * 10,
        )
        if state != "unknown":
            hardware = Hardware(size * MIB, "8086:15bb", "e1000e", "x86_64-uefi", "6.1.0-40-amd64")
            row = replace(row, hardware=hardware)
        if is_on:
            row = replace(
                row, pages=Pages(2, GIB, 200 * MIB, 3 * GIB, GIB), report=self._report(row)
            )
        if state == "lost":
            row = replace(row, trouble=replace(LOST, when=now - 130))
        return row

    def _report(self, row: SeatRow) -> Report:
        short = row.state == "short"
        used = int((0.75 if short else 0.15 + 0.3 * self.random.random()) * GIB)
        some = 18 + 20 * self.random.random() if short else self.random.random()
        memory = row.hardware.memory
        return Report(
            when=time.time(),
            memory=memory,
            available=int(memory * (0.04 if short else 0.35)),
            areas=((used, GIB),),
            pressure=Pressure(some, some / 3, some / 2, some / 4),
            zswap=(used // 2, used // 6),
            refaults=1200,
            major_faults=900,
            oom_kills=1 if short else 0,
            load=1.4,
            losses=1 if short else 0,
            longest_loss=2.4 if short else 0.0,
            users=1,
            screen="kiosk",
        )

    def _server(self) -> ServerRow:
        latency = (0, 0, 0, 0, 30, 410, 900, 420, 90, 20, 6, 2)
        return ServerRow(
            when=time.time(),
            cpu=0.21,
            memory=84 * MIB,
            lag=0.0031,
            granted=24 * GIB,
            capacity=32 * GIB,
            stored=9 * GIB,
            connections=22,
            most_connections=4096,
            requests_rate=4210,
            read_rate=11.2e6,
            write_rate=6.1e6,
            delayed=0.4,
            waiting=1,
            latency=latency,
            disk=(310 * GIB, 480 * GIB),
            refused={"no room": 2},
            packets={"DISCOVER": 41, "OFFER": 40, "REQUEST": 40, "ACK": 40},
            mirrors={"whole": 4, "degraded": 2, "resyncing": 1, "unknown": 0},
            delays={"rate": 12.5, "store": 1.5},
            downloads=3,
            transfers={"unanswered": 1, "sending": 4},
            transfers_ended={"done": 120, "broken": 2},
        )

    def step(self) -> list[str]:
        """Let a second pass. Return the seats that changed, which are those that are on."""
        changed = []
        for mac, row in self.seats.items():
            if row.report is not None and row.state != "lost":
                rate = 1e6 * self.random.random()
                pages = replace(row.pages, read_rate=rate, write_rate=rate / 2)
                self.seats[mac] = replace(
                    row, report=self._report(row), pages=pages, seen=time.time()
                )
                changed.append(mac)
        return changed

    def stir(self) -> list[str]:
        """Change each seat, and the state of many. Return all."""
        states: list[Any] = ["booting", "running", "short", "running", "lost"]
        for mac, row in self.seats.items():
            state = self.random.choice(states)
            row = replace(row, state=state, since=time.time() - 5)
            self.seats[mac] = replace(row, report=self._report(row))
        return list(self.seats)

    def change(self, mac: str, **fields: Json) -> None:
        """Change fields of a seat."""
        self.seats[mac] = replace(self.seats[mac], **fields)

    def server_of(self, mac: str) -> str:
        """Return the server of a seat: the first one has the first half of the room."""
        index = list(self.seats).index(mac) if len(self.seats) <= 20 else 0
        return "server-1" if index < 8 else "server-2"

    def rows(self, macs: Iterable[str]) -> list[Json]:
        """Return seats as the API does."""
        return [asdict(self.seats[mac]) | {"server": self.server_of(mac)} for mac in macs]

    def server_rows(self) -> list[Json]:
        """Return servers as the API does."""
        return [
            asdict(replace(row, when=time.time()))
            | {
                "name": name,
                "version": "0.2.0",
                "connected": self.connected[name],
                "started": self.began - 5 * HOUR,
                "versions": {
                    "linux": "6.12.1-amd64",
                    "Python": "3.11.2",
                    "pcs:amd64": "6.1.0-40-amd64",
                },
                "since": time.time() - 90,
            }
            for name, row in self.servers.items()
        ]

    def view(self) -> Json:
        """Return the room as the API does, but for the number and the time."""
        return {"servers": self.server_rows(), "plan": self.plan, "seats": self.rows(self.seats)}

    def events(self, mac: str) -> list[Json]:
        """Return the events of a seat's last boot."""
        number = int(mac[-2:], 16)
        rows = []
        for index, (stage, at, message) in enumerate(self._stages(mac)):
            text = message.format(n=number)
            event = {"number": index, "when": self.began + at, "seat": mac, "stage": stage}
            data = {"console": TAIL.split("\n")} if stage.startswith("failed") else {}
            rows.append(event | {"message": text, "data": data, "server": self.server_of(mac)})
        return rows

    def _stages(self, mac: str) -> list[tuple[str, float, str]]:
        if self.seats[mac].trouble is not None and self.seats[mac].stage.startswith("failed"):
            return [*STAGES[:5], ("failed:network", 29.4, FAILED.message)]
        return STAGES

    def boots(self, mac: str) -> list[Json]:
        """Return three boots; the oldest is the slowest."""
        rows = []
        for index, factor in enumerate((1.0, 1.1, 1.6)):
            steps = [
                {"stage": stage, "at": at * factor, "message": message.format(n=7)}
                for stage, at, message in self._stages(mac)
            ]
            last = steps[-1]
            failed = str(last["stage"]).startswith("failed")
            began = self.began - 24 * HOUR * index
            seconds = (STAGES[-1][1] + 1) * factor
            boot = {"began": began, "ended": began + seconds, "seconds": seconds, "image": "kiosk"}
            rows.append(boot | {"outcome": "failed" if failed else "running", "stages": steps})
        return rows

    def samples(self, since: float, until: float, points: int) -> Json:
        """Return figures of a seat that has much to do for a while."""
        columns = ["when", "swap_used", "swap_size", "available", "memory_some", "memory_full"]
        columns += ["io_some", "io_full", "read_rate", "write_rate", "load"]
        rows = []
        for index in range(60):
            part = index / 60
            busy = max(0.0, math.sin(part * 9)) * part
            some = 30 * busy**3
            row = [since + (until - since) * part, int((0.2 + 0.5 * busy) * GIB), GIB]
            row += [int((1.2 - busy) * GIB), some, some / 3, some / 2, some / 4, busy * 1e6]
            rows.append([*row, busy * 5e5, 1 + busy])
        return {"columns": columns, "rows": rows[:points]}

    def server_samples(self, since: float, until: float, points: int) -> Json:
        """Return figures of a server."""
        columns = ["when", "read_rate", "write_rate", "requests_rate", "stored", "granted", "lag"]
        rows = []
        for index in range(60):
            part = index / 60
            busy = 0.3 + abs(math.sin(part * 7))
            row = [since + (until - since) * part, busy * 2e7, busy * 9e6, busy * 4000]
            rows.append([*row, int((5 + 4 * part) * GIB), 24 * GIB, 0.002 * busy])
        return {"columns": columns, "rows": rows[:points]}

    def boot(self) -> Json:
        """Return the boot of the room."""
        seats = list(self.seats.values())
        slow = seats[:5]
        return {
            "began": self.began,
            "seats": len(seats),
            "done": sum(row.state in ("running", "short") for row in seats),
            "failed": 1,
            "waiting": sum(row.state == "waiting" for row in seats),
            "slowest": [
                {"mac": row.mac, "name": row.name, "seconds": 43 - 4 * at, "stage": "http"}
                for at, row in enumerate(slow)
            ],
            "previous": {"seats": len(seats), "seconds": 31.0},
            "regression": SLOWER,
        }

    def troubles(self) -> list[Json]:
        """Return a trouble of each seat that has one, and one that is over."""
        rows = []
        for number, row in enumerate(self.seats.values(), start=1):
            if row.trouble is None:
                continue
            trouble = {"id": number, "seat": row.mac, "name": row.name, **asdict(row.trouble)}
            rows.append(trouble | {"cause": ""} | NOT_SEEN | {"over": None})
        over = {"id": 9999, "seat": "server-2", "name": "server-2", **asdict(UNHEARD)} | NOT_SEEN
        over |= {"when": self.began, "cause": "the connection broke"}
        return [*rows, over | {"over": self.began + 60}]

    def inventory(self) -> list[Json]:
        """Return the PCs; each fifth one is short of memory."""
        rows: Sequence[SeatRow] = list(self.seats.values())
        return [
            {
                "mac": row.mac,
                "name": row.name,
                "uuid": row.uuid,
                "hardware": asdict(row.hardware),
                "image": row.image,
                "last_seen": row.seen,
                "short_ratio": 0.23 if index % 5 == 2 else 0.004,
                "advice": ADVICE if index % 5 == 2 else "",
            }
            for index, row in enumerate(rows)
        ]

    def audit(self) -> list[Json]:
        """Return what was done."""
        seats = list(self.seats)[:2]
        entry = {"id": 1, "when": self.began, "by": "operator", "address": "10.77.0.200"}
        return [entry | {"action": "order:reboot", "seats": seats, "detail": "", "outcome": ""}]
