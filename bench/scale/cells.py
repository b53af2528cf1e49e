"""A mirror over two of four servers, one of which is killed: ``python -m bench.scale.cells [--quick]``.

200 played seats write and read pages of their own, each on the two servers that its boot plan names.
One server is killed with ``kill -9``. The seats do what their agents do: each drops the leg after
``swap.timeout``, asks the next server of its order, and copies its pages there. It prints a table and
the result of each bar, and writes JSON. The exit status is 1 if a bar is missed. It needs root: each
server is in a network namespace of its own, which goes with the program.
"""

import asyncio
import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from bench.machine import versions
from bench.report import Verdict, in_network, parser, publish, tell
from bench.servers import end
from netboot.boot import ticket
from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.plan import SeatKeys, boot_plan
from netboot.errors import AnswerError
from netboot.host import processes
from netboot.lab import network
from netboot.pages.nbd.client import PageClient, RefusedError, SwapEntry
from netboot.profile import file as profile_file
from netboot.profile.profile import Profile
from netboot.serve.http.client import http_read
from netboot.serve.leases import Granted, parse, serialize
from netboot.serve.secret import SECRET_FILE, load_secret
from tests.support.command import SERVE

SEATS, QUICK_SEATS, SERVERS = 200, 24, 4
BEFORE_SECONDS, AFTER_SECONDS = 10.0, 20.0
BRIDGE, CLIENT, SOURCES = "cells0", "10.79.255.254/16", "10.78.0.0/16"
HTTP_PORT, PAGES_PORT = 8080, 10809
START_SECONDS = 60.0  # of a server, on a busy machine
AREA_BYTES, PAGE = 1 << 20, 4096
PAGES = AREA_BYTES // PAGE
CHUNK = 16  # pages that a copy moves at a time
COPY_BYTES_PER_SECOND = 30e6
# As initramfs/agent/hold.c and the profile's defaults have them.
TIMEOUT, PATIENCE, REFUSED_PAUSE, LONGEST_PAUSE = 3.0, 60.0, 10.0, 1.0
OPERATION_PAUSE = 0.5  # at most, between two pages of a seat
STALL_BAR, WHOLE_BAR = 5.0, 60.0  # seconds
SHARE_DEVIATIONS = 4.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run. ``stall``: the longest operation, ``whole``: from the kill until all mirrors were whole.

    ``degraded``: seats that went on with one server. ``taken``: legs that each other server took.
    ``wrong`` and ``lost``: pages that were not as they were written, and that could not be read.
    """

    seats: int
    servers: int
    operations: int
    degraded: int
    taken: tuple[int, ...]
    stall: float
    whole: float
    wrong: int
    lost: int


def verdicts(result: Result) -> list[Verdict]:
    """Return the bars."""
    share = 2 / result.servers
    deviation = (result.seats * share * (1 - share)) ** 0.5
    off = abs(result.degraded - result.seats * share) / deviation
    return [
        Verdict("wrong pages", result.wrong, 0, at_least=False),
        Verdict("lost pages", result.lost, 0, at_least=False),
        Verdict("longest stall, s", result.stall, STALL_BAR, at_least=False),
        Verdict("all mirrors whole again, s", result.whole, WHOLE_BAR, at_least=False),
        Verdict("degraded: standard deviations off 2/N", off, SHARE_DEVIATIONS, at_least=False),
        Verdict("other servers that took a leg", sum(map(bool, result.taken)),
                result.servers - 1, at_least=True),
    ]  # fmt: skip


def table(result: Result) -> str:
    """Return a Markdown table."""
    rows = (
        ("seats, servers", f"{result.seats}, {result.servers}"),
        ("pages written and read", str(result.operations)),
        ("seats that went on with one server", str(result.degraded)),
        ("legs that the others took", ", ".join(map(str, result.taken))),
        ("longest stall, s", f"{result.stall:.2f}"),
        ("until all mirrors were whole again, s", f"{result.whole:.1f}"),
        ("wrong pages, lost pages", f"{result.wrong}, {result.lost}"),
    )
    return "\n".join(["| one of the servers killed | |", "|---|--:|"] + [
        f"| {name} | {value} |" for name, value in rows
    ])  # fmt: skip


def page_of(mac: str, number: int, version: int) -> bytes:
    """Return the content of a page, which no other page and no other version has."""
    if version == 0:
        return bytes(PAGE)
    return struct.pack(">6sHQ", bytes.fromhex(mac.replace(":", "")), number, version) * (PAGE // 16)


@dataclass(slots=True)
class Leg:
    """One leg: its server, and its connection, None while it is dropped."""

    host: str
    client: PageClient | None = None
    entry: SwapEntry | None = None
    whole: bool = True


@dataclass(slots=True)
class Seat:
    """A played PC. ``hosts``: the servers of its boot plan."""

    mac: str
    source: str
    session: str
    hosts: Sequence[str]
    legs: list[Leg] = field(init=False)
    versions: list[int] = field(default_factory=lambda: [0] * PAGES)
    operations: int = 0
    stall: float = 0.0
    wrong: int = 0
    lost: int = 0
    degraded: bool = False
    is_over: bool = False  # a cancelled task would leave half an answer in its connection
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _joining: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.legs = [Leg(host) for host in self.hosts[:2]]

    @property
    def whole(self) -> bool:
        """True if both legs have all pages."""
        return all(leg.client is not None and leg.whole for leg in self.legs)

    async def attach(self, leg: Leg) -> None:
        """Get a fresh lease, and attach it. Raises AnswerError."""
        url = f"http://{leg.host}:{HTTP_PORT}/lease/{self.session}?ram=1&fresh=1"
        answer = parse((await http_read(url, patience=5.0, source=self.source)).decode())
        if not isinstance(answer, Granted):
            raise RefusedError(serialize(answer))
        export = "seat-" + self.mac.replace(":", "")
        leg.entry = SwapEntry(leg.host, PAGES_PORT, export, answer.token, self.source)
        leg.client = await leg.entry.connect()

    async def swap(self, chance: random.Random) -> None:
        """Write and read pages until ``is_over``."""
        while not self.is_over:
            await asyncio.sleep(chance.uniform(0, OPERATION_PAUSE))
            number, begin = chance.randrange(PAGES), time.monotonic()
            async with self._lock:
                if chance.random() < 0.6:
                    self.versions[number] += 1
                    await self._write(number, page_of(self.mac, number, self.versions[number]))
                else:
                    await self._check(number, chance.choice(self.legs))
            self.stall = max(self.stall, time.monotonic() - begin)
            self.operations += 1

    async def _write(self, number: int, data: bytes) -> None:
        await asyncio.gather(
            *(self._on(leg, lambda client: client.write(number * PAGE, data)) for leg in self.legs)
        )

    async def _check(self, number: int, leg: Leg) -> None:
        """Compare a page with what was written last, on a leg with all pages."""
        found = None
        for each in (leg, *self.legs):
            if each.whole and found is None:
                found = await self._on(each, lambda client: client.read(number * PAGE, PAGE))
        self.lost += found is None
        expected = page_of(self.mac, number, self.versions[number])
        self.wrong += found is not None and found != expected

    async def _on(
        self, leg: Leg, work: Callable[[PageClient], Awaitable[bytes | None]]
    ) -> bytes | None:
        """Do a request on a leg, attached again if need be; None if the leg is dropped."""
        while leg.client is not None:
            try:
                return await work(leg.client)
            except AnswerError:
                await self._recover(leg)
        return None

    async def _recover(self, leg: Leg) -> None:
        """Attach a leg again, or drop it: see recover() of initramfs/agent/hold.c."""
        other = self.legs[leg is self.legs[0]]
        begin, pause = time.monotonic(), 0.1
        while True:
            waited, refused = time.monotonic() - begin, False
            try:
                assert leg.entry is not None
                leg.entry.begin_set()
                leg.client = await leg.entry.connect()
                return
            except AnswerError as error:
                refused = isinstance(error, RefusedError)
            if (refused or waited >= TIMEOUT) and other.client is not None and other.whole:
                leg.client, leg.whole, self.degraded = None, False, True
                self._joining.add(asyncio.get_running_loop().create_task(self._join(leg, other)))
                return
            if waited > PATIENCE:
                raise AnswerError(f"{self.mac}: {leg.host} is lost for good")
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _join(self, leg: Leg, other: Leg) -> None:
        """Attach a dropped leg to one server after the other, and copy all pages there."""
        while True:
            with contextlib.suppress(AnswerError):
                await self.attach(leg)
                await self._copy(leg, other)
                return
            leg.client = None
            await asyncio.sleep(REFUSED_PAUSE * random.uniform(0.5, 1))
            place = self.hosts.index(leg.host)
            after = [*self.hosts[place + 1 :], *self.hosts[: place + 1]]
            leg.host = next(host for host in after if host != other.host)

    async def _copy(self, leg: Leg, other: Leg) -> None:
        for first in range(0, PAGES, CHUNK):
            async with self._lock:
                if leg.client is None or other.client is None:
                    raise AnswerError("a leg was lost during the copy")
                data = await other.client.read(first * PAGE, CHUNK * PAGE)
                await leg.client.write(first * PAGE, data)
            await asyncio.sleep(CHUNK * PAGE / COPY_BYTES_PER_SECOND)
        leg.whole = True

    async def verify(self) -> None:
        """Compare all pages on both legs."""
        for leg in self.legs:
            for number in range(PAGES):
                expected = page_of(self.mac, number, self.versions[number])
                try:
                    assert leg.client is not None and leg.whole
                    found = await leg.client.read(number * PAGE, PAGE)
                except (AnswerError, AssertionError):
                    self.lost += 1
                else:
                    self.wrong += found != expected


def hosts_of(profile: Profile, mac: str) -> list[str]:
    """Return the servers that the boot plan of a seat names, in its order."""
    client = Client(mac, BY_NAME["bios"], Stage.IPXE)
    server = profile.swap.servers[0]
    plan = boot_plan(profile, profile.seat_of(mac), client, SeatKeys(), server=server)
    words = dict(word.split("=", 1) for word in plan.arguments if "=" in word)
    return words["netboot.swap"].partition(":")[0].split(",")


def address_of(server: int) -> IPv4Address:
    """Return the address of server 0, 1 and so on."""
    return IPv4Address(f"10.79.0.{server + 1}")


@contextlib.contextmanager
def running(folder: Path, profile: Path) -> Iterator[list[int]]:
    """Start the servers, each in a namespace behind one bridge; yield their processes."""
    network.ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
    network.ip("address", "add", CLIENT, "dev", BRIDGE)
    network.ip("link", "set", BRIDGE, "up")
    network.ip("route", "add", "local", SOURCES, "dev", "lo")
    load_secret(folder / SECRET_FILE)  # makes it
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(SERVERS):
            name, state = f"cell{number}", folder / f"state{number}"
            state.mkdir(mode=0o700)
            (state / SECRET_FILE).touch(mode=0o600)
            (state / SECRET_FILE).write_bytes((folder / SECRET_FILE).read_bytes())
            network.ip("netns", "add", name)
            stack.callback(network.ip, "netns", "delete", name)
            network.ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            network.ip("link", "set", name, "master", BRIDGE, "up")
            inside = ("-n", name)
            network.ip(*inside, "address", "add", f"{address_of(number)}/16", "dev", "eth0")
            for device in ("lo", "eth0"):
                network.ip(*inside, "link", "set", device, "up")
            network.ip(*inside, "route", "add", SOURCES, "via", CLIENT.partition("/")[0])
            words = ["ip", "netns", "exec", name, sys.executable, "-m", *SERVE, "--swap-only"]
            words += ["--user", "root", "--profile", str(profile), "--state", str(state)]
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(words, stdout=log, stderr=log)
            stack.callback(end, process)
            started.append(process.pid)
        yield started


def _write_profile(folder: Path) -> Path:
    servers = ", ".join(str(address_of(number)) for number in range(SERVERS))
    path = folder / "cells.yaml"
    path.write_text(
        f"interface: eth0\nswap:\n  servers: [{servers}]\n  layout: mirror\n"
        f"  size: {AREA_BYTES >> 20}MiB\n  capacity: 1GiB\n  connections: 1\n"
    )
    return path


async def _attach_all(seats: Sequence[Seat]) -> None:
    deadline = time.monotonic() + START_SECONDS

    async def attach(seat: Seat, leg: Leg) -> None:
        while True:
            try:
                return await seat.attach(leg)
            except AnswerError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(1.0)

    await asyncio.gather(*(attach(seat, leg) for seat in seats for leg in seat.legs))


async def play(seats: Sequence[Seat], pids: Sequence[int]) -> Result:
    """Let the seats swap, kill one of the servers, and compare all pages when all mirrors are whole."""
    tell(f"{len(seats)} seats attach")
    await _attach_all(seats)
    swapping = [
        asyncio.get_running_loop().create_task(seat.swap(random.Random(seat.mac))) for seat in seats
    ]
    await asyncio.sleep(BEFORE_SECONDS)
    victim = random.randrange(SERVERS)
    tell(f"server {victim + 1} is killed")
    before, begin = {id(leg): leg.host for seat in seats for leg in seat.legs}, time.monotonic()
    for pid in processes.tree(pids[victim]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    hit = [seat for seat in seats if str(address_of(victim)) in seat.hosts[:2]]
    while not all(seat.degraded and seat.whole for seat in hit):
        if time.monotonic() - begin > 2 * WHOLE_BAR:
            break
        await asyncio.sleep(0.1)
    whole = time.monotonic() - begin
    await asyncio.sleep(AFTER_SECONDS)
    for seat in seats:
        seat.is_over = True
    ends = await asyncio.gather(*swapping, return_exceptions=True)
    broken = [each for each in ends if each is not None]
    for each in broken:
        tell(f"a seat has failed: {each!r}")
    await asyncio.gather(*(seat.verify() for seat in seats))
    moved = [leg.host for seat in seats for leg in seat.legs if before[id(leg)] != leg.host]
    others = [str(address_of(number)) for number in range(SERVERS) if number != victim]
    return Result(
        seats=len(seats),
        servers=SERVERS,
        operations=sum(seat.operations for seat in seats),
        degraded=sum(seat.degraded for seat in seats),
        taken=tuple(map(moved.count, others)),
        stall=max(seat.stall for seat in seats),
        whole=whole,
        wrong=sum(seat.wrong for seat in seats),
        lost=sum(seat.lost for seat in seats) + len(broken),
    )


def run(count: int, output: Path) -> int:
    """Measure, print, write ``cells.json``; return the number of missed bars."""
    with tempfile.TemporaryDirectory(prefix="netboot-cells-") as name:
        folder = Path(name)
        path = _write_profile(folder)
        profile = profile_file.load(path)
        with running(folder, path) as pids:
            secret = load_secret(folder / SECRET_FILE)
            seats = []
            for number in range(count):
                mac = f"52:54:00:79:{number >> 8:02x}:{number & 255:02x}"
                nonce = number.to_bytes(ticket.NONCE_BYTES)
                session = ticket.begin(secret, mac, nonce, time.time())
                source = str(IPv4Address("10.78.1.0") + number)
                seats.append(Seat(mac, source, session, hosts_of(profile, mac)))
            result = asyncio.run(play(seats, pids))
    return publish(
        output,
        "cells",
        verdicts(result),
        tables=[table(result)],
        details=asdict(result),
        about=versions({}),
    )


def main() -> None:
    words = parser("scale.cells", __doc__, f"{QUICK_SEATS} seats").parse_args()
    in_network(lambda: run(QUICK_SEATS if words.quick else SEATS, words.output))


if __name__ == "__main__":
    main()
