"""One PC from power-on to swap, with netboot and with a baseline: ``python -m bench.seat``.

The baseline is a set-up that a user could build from Debian packages: dnsmasq (DHCP, TFTP, router
advertisements), initramfs-tools with nbd-client, and nbd-server (tools/baseline-images). The same
virtual PC, QEMU's with SeaBIOS, iPXE ROM and virtio-net, boots each in turn. It prints a table and
the result of each bar, and writes JSON. The exit status is 1 if a bar is missed. It needs root and
runs in namespaces of its own.
"""

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from bench.client import isolated
from bench.machine import versions
from bench.report import OURS, Verdict, finish, medians, parser, publish, tell
from netboot.cli.show import BuildProgress
from netboot.images import build as images
from netboot.lab import machine, network
from netboot.lab.machine import Machine
from netboot.lab.rig import Classroom, Lesson
from netboot.profile import file as profile_file

PROFILE = Path("profiles/lab.yaml")
QEMU = "qemu-system-x86_64"
BASELINE = "baseline"
BASELINE_IMAGES = images.default_cache() / "bench-baseline"
KIND = "bios-virtio"  # in netboot.lab.machine; the card with which the bars' baseline was measured
MEMORY, LITTLE = 512, 80  # MB
SWAP_MIB = 256
BOOT_SECONDS = 120.0
ATTACHED = b"bench: swap attached"  # bench/baseline/local-top
SECONDS_BAR = BYTES_BAR = 0.3  # of the baseline's
# The baseline's router answers router solicitations, for which iPXE else waits 13 s, and does not
# ping an address before it offers it.
RA_NETWORK = "fd78::1/64"
SCRIPT = f"""#!ipxe
kernel vmlinuz initrd=initrd.img console=ttyS0 no_timer_check panic=1 ip=dhcp bench_server={network.SERVER.ip}
initrd initrd.img
boot
"""


@dataclass(frozen=True, slots=True)
class Boot:
    """``seconds`` from QEMU's start until swap is on, and the ``mb`` sent to the PC until then."""

    seconds: float
    mb: float


Results = Mapping[str, Boot]


def verdicts(results: Results, little: float | None) -> list[Verdict]:
    """Return the bars. ``little``: when a PC with little RAM was in userland, None if never."""
    ours, theirs = results[OURS], results[BASELINE]
    name = f"{MEMORY} MB, power-on to swap"
    return [
        Verdict(
            f"{name}: s / baseline", ours.seconds / theirs.seconds, SECONDS_BAR, at_least=False
        ),
        Verdict(f"{name}: bytes / baseline", ours.mb / theirs.mb, BYTES_BAR, at_least=False),
        Verdict(f"{LITTLE} MB: swap and userland", float(little is not None), 1, at_least=True),
    ]


def table(results: Results, little: float | None) -> str:
    """Return a Markdown table with a line for each way to boot."""
    theirs = results[BASELINE]
    lines = [
        "| boot | RAM MB | until | s | MB to the PC | s / baseline |",
        "|---|--:|---|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {MEMORY} | swap | {got.seconds:.1f} | {got.mb:.1f} "
        f"| {got.seconds / theirs.seconds:.2f} |"
        for name, got in results.items()
    ]
    shown = "never" if little is None else f"{little:.1f}"
    return "\n".join([*lines, f"| {OURS} | {LITTLE} | userland | {shown} | - | - |"])


def _tail(pc: Machine) -> str:
    return "\n".join(machine.console_tail(pc.console, 40))


def _to_pc(pc: Machine) -> float:
    """Return the MB that the PC's cable has carried to it."""
    return int(Path(f"/sys/class/net/{pc.tap}/statistics/tx_bytes").read_text()) / 1e6


def prepare(folder: Path, script: str) -> None:
    """Make the network, and the files that the baseline's PCs fetch."""
    network.make_bridge()
    network.ip("address", "add", RA_NETWORK, "dev", network.BRIDGE, "nodad")
    (folder / "tftp").mkdir()
    for name in ("vmlinuz", "initrd.img"):
        (folder / "tftp" / name).symlink_to(BASELINE_IMAGES / name)
    (folder / "tftp" / "boot.ipxe").write_text(script)


def baseline(folder: Path) -> dict[str, float]:
    """Return one boot of the baseline. Raises RuntimeError if the PC does not reach its swap."""
    prepare(folder, SCRIPT)
    pc = Machine(1, KIND, MEMORY, folder)
    network.add_tap(pc.tap)
    with dnsmasq(folder), _nbd_server(folder):
        return asyncio.run(until_said(pc, ATTACHED, BOOT_SECONDS))


async def until_said(pc: Machine, text: bytes, seconds: float) -> dict[str, float]:
    """Boot a PC until its console has ``text``. Raises RuntimeError if that takes too long."""
    began = time.monotonic()
    power = await pc.power_on()
    try:
        while not (pc.console.exists() and text in pc.console.read_bytes()):
            if power.process.returncode is not None or time.monotonic() > began + seconds:
                raise RuntimeError(f"the baseline did not say '{text.decode()}':\n{_tail(pc)}")
            await asyncio.sleep(0.02)
        return asdict(Boot(time.monotonic() - began, _to_pc(pc)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            power.process.kill()
        await power.process.wait()
        power.monitor.close()
        power.screen.close()


@contextlib.contextmanager
def dnsmasq(folder: Path) -> Iterator[None]:
    """Run the baseline's DHCP and TFTP server, which sends the files of ``folder``/tftp."""
    first, last = network.SERVER.ip + 49, network.SERVER.ip + 98
    words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]
    words += [f"--interface={network.BRIDGE}", "--bind-interfaces", "--pid-file=", "--no-ping"]
    words += [f"--dhcp-range={first},{last},1h", f"--dhcp-leasefile={folder / 'leases'}"]
    words += ["--enable-ra", "--dhcp-range=fd78::,ra-only,64", "--dhcp-boot=boot.ipxe"]
    words += ["--enable-tftp", f"--tftp-root={folder / 'tftp'}", f"--log-facility={folder / 'log'}"]
    with subprocess.Popen(words) as process:
        try:
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def _nbd_server(folder: Path) -> Iterator[None]:
    pages, config, pid = network.PRIVATE_TMPFS / "pages", folder / "nbd.conf", folder / "nbd.pid"
    with pages.open("wb") as file:
        file.truncate(SWAP_MIB << 20)
    config.write_text(f"[generic]\nuser = root\ngroup = root\n[swap]\nexportname = {pages}\n")
    # nbd-server forks into the background, and ends with the namespace at the latest.
    subprocess.run(["nbd-server", "-C", str(config), "-p", str(pid)], check=True)
    yield


def ours(built: Path, memory: int, until: str) -> Callable[[Path], dict[str, float]]:
    """Return a boot of netboot to the stage ``until``; no figures if the PC does not reach it."""

    def body(folder: Path) -> dict[str, float]:
        settings = (f"swap.size={SWAP_MIB}MiB",)
        lesson = Lesson(
            PROFILE,
            built,
            folder,
            memory=memory,
            firmware=(KIND,),
            until=until,
            timeout=BOOT_SECONDS,
            settings=settings,
        )
        room = Classroom(lesson)
        (seat,) = room.seats.values()

        async def run() -> float:
            async with room.open():
                await room.power_on()
                await room.wait()
                return _to_pc(seat.machine)

        carried = asyncio.run(run())
        swap, reached = seat.first("swap"), seat.first(until)
        if not room.ok or swap is None or reached is None:
            tell(f"{room.server_failure or seat.failure}\n{_tail(seat.machine)}")
            return {}
        return asdict(Boot(seat.seconds(reached), carried))

    return body


def run(repetitions: int, built: Path, folder: Path) -> int:
    """Measure, print, write ``seat.json``; return the number of missed bars."""
    bodies = {BASELINE: baseline, OURS: ours(built, MEMORY, "swap")}
    boots: dict[str, list[Boot]] = {name: [] for name in bodies}
    for number in range(repetitions):
        for name, body in bodies.items():
            boots[name].append(Boot(**isolated(body)))
            got = boots[name][-1]
            tell(f"{number + 1} {name}: {got.seconds:.1f} s, {got.mb:.1f} MB")
    little: float | None = isolated(ours(built, LITTLE, "userland")).get("seconds")
    results = {name: Boot(**medians(each)) for name, each in boots.items()}
    programs = {"qemu": (QEMU, "--version"), "dnsmasq": ("dnsmasq", "-v")}
    packages = (BASELINE_IMAGES / "versions").read_text().splitlines()
    about = {
        "versions": {**versions(programs), **dict(line.split() for line in packages)},
        "accelerator": machine.accelerator(QEMU),
        "repetitions": repetitions,
    }
    return publish(
        folder,
        "seat",
        verdicts(results, little),
        tables=[table(results, little)],
        details={
            "boots": {name: asdict(got) for name, got in results.items()},
            "userland_with_little_ram": little,
        },
        about=about,
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser("seat", __doc__, "once each instead of five times").parse_args()

    def measured() -> int:
        network.check_root()
        machine.check_programs([KIND])
        subprocess.run(["tools/baseline-images", str(BASELINE_IMAGES)], check=True)
        with tempfile.TemporaryDirectory() as name:
            with BuildProgress() as progress:
                profile = profile_file.load(PROFILE, [])
                images.build(profile, Path(name), images.default_cache(), progress)
            return run(1 if given.quick else 5, Path(name), given.output.resolve())

    finish(measured)


if __name__ == "__main__":
    main()
