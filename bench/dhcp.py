"""Our DHCP server beside dnsmasq and Kea, in one run: ``python -m bench.dhcp [--quick]``.

It prints a table and the result of each bar, and writes JSON. The exit status is 1 if a bar is
missed. It needs root: servers and clients are in network namespaces, which it removes. Each run has
a newly started server without leases; ours is the whole of ``netboot serve``. Conditions:
docs/measurements/boot.md.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench.machine import versions
from bench.report import OURS, Verdict, in_network, medians, parser, publish, tell
from bench.servers import Server
from netboot.lab import network
from tests.support.images import write_manifest

NAMESPACE = "nb-bench-dhcp"
NAMES = Path("/run/netns")  # of namespaces (ip-netns(8))
SERVER_DEVICE, CLIENT_DEVICE = "nb-d0", "nb-d1"
ADDRESS, NETMASK = "10.77.0.1", "255.255.0.0"
FIRST, LAST = "10.77.1.0", "10.77.200.255"
START_SECONDS = 20.0
CLIENTS = 500
BAR_PER_SECOND = 5000
PEER, BAR_TO_PEER = "dnsmasq-noping", 0.5
VERSIONS = {"dnsmasq": ("dnsmasq", "-v"), "kea": ("kea-dhcp4", "-v")}

FULL = (OURS, "dnsmasq", "dnsmasq-noping", "kea")
PROXY = (f"{OURS}-proxy", "dnsmasq-proxy")


@dataclass(frozen=True, slots=True)
class Row:
    """A load: ``clients`` within ``seconds``, or any number with ``outstanding`` at a time."""

    scenario: str
    clients: int
    seconds: float
    outstanding: int = 0

    @property
    def name(self) -> str:
        """The name in the table."""
        if self.scenario == "closed":
            return f"{self.outstanding} at a time for {self.seconds:g} s"
        then = ", then REQUEST" if self.scenario == "lease" else ""
        return f"{self.clients} within {self.seconds:g} s{then}"


ROWS = (
    Row("storm", CLIENTS, 1.0),
    Row("storm", CLIENTS, 0.0),
    Row("storm", 3 * BAR_PER_SECOND, 3.0),
    Row("lease", CLIENTS, 0.0),
    Row("closed", 40000, 2.0, 30),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. Times are milliseconds; ``cpu_us`` is of the server's process tree, per OFFER."""

    sent: float
    in_time: float
    acks_in_time: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    per_second: float
    cpu_us: float


def median_of(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure on its own, but the lowest number of answers."""
    worst = {
        "in_time": min(each.in_time for each in samples),
        "acks_in_time": min(each.acks_in_time for each in samples),
    }
    return Sample(**{**medians(samples), **worst})


Results = Mapping[Row, Mapping[str, Sample]]


def verdicts(results: Results) -> list[Verdict]:
    """Return the bars: none lost or later than 2 s, 5,000 offers/s, half of the peer's in full mode."""
    found = []
    for row, samples in results.items():
        for name in (OURS, f"{OURS}-proxy"):
            if name not in samples:
                continue
            got, where = samples[name], f"{name}: {row.name}"
            if row.scenario == "closed":
                rate = Verdict(f"{where}: offers/s", got.per_second, BAR_PER_SECOND, at_least=True)
                found.append(rate)
                if name == OURS and PEER in samples:
                    share = got.per_second / samples[PEER].per_second
                    found.append(Verdict(f"{where}: to {PEER}", share, BAR_TO_PEER, at_least=True))
                continue
            share = got.in_time / got.sent
            found.append(Verdict(f"{where}: offered in 2 s", share, 1.0, at_least=True))
            if row.scenario == "lease":
                share = got.acks_in_time / got.sent
                found.append(Verdict(f"{where}: leased in 2 s", share, 1.0, at_least=True))
    return found


def table(results: Results) -> str:
    """Return a Markdown table with a line for each row and server.

    It has the clients that were offered and leased an address in 2 s, the CPU for each offer, and
    the ratio of offers/s to the best peer.
    """
    lines = [
        "| clients | server | offered | leased | offers/s | p50 ms | p99 ms | max ms | CPU us | / peer |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row, samples in results.items():
        for name, got in samples.items():
            family = PROXY if name in PROXY else FULL
            peers = [samples[peer].per_second for peer in family[1:] if peer in samples]
            best = max(peers, default=0.0)
            ratio = f"{got.per_second / best:.2f}" if best else "-"
            leased = f"{got.acks_in_time:.0f}" if row.scenario == "lease" else "-"
            lines.append(
                f"| {row.name} | {name} | {got.in_time:.0f}/{got.sent:.0f} | {leased} "
                f"| {got.per_second:.0f} | {_figure(got.p50_ms)} | {_figure(got.p99_ms)} "
                f"| {_figure(got.max_ms)} | {_figure(got.cpu_us)} | {ratio} |"
            )
    return "\n".join(lines)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _command(name: str, folder: Path) -> list[str]:
    if name.startswith(OURS):
        mode = "proxy" if name.endswith("-proxy") else "full"
        (folder / "profile.yaml").write_text(
            f"interface: {SERVER_DEVICE}\ndhcp: {{mode: {mode}, range: {FIRST}-{LAST}}}\n"
        )
        write_manifest(folder)
        words = [
            sys.executable,
            "-m",
            "netboot",
            "serve",
            "--set",
            "http.panel=off",
            "--user",
            "root",
            "--images",
            str(folder),
        ]
        return [*words, "--profile", str(folder / "profile.yaml"), "--state", str(folder)]
    if name == "kea":
        config = folder / "kea.json"
        config.write_text(json.dumps(_kea(folder)))
        return ["kea-dhcp4", "-c", str(config)]
    words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]
    words += [f"--interface={SERVER_DEVICE}", "--bind-interfaces", "--pid-file="]
    words += [f"--dhcp-leasefile={folder / 'leases'}", "--dhcp-lease-max=60000"]
    words += [f"--log-facility={folder / 'dnsmasq.log'}"]
    if name == "dnsmasq-proxy":
        words += [f"--dhcp-range={ADDRESS},proxy,{NETMASK}", "--pxe-prompt=boot,0"]
        return [*words, "--pxe-service=X86-64_EFI,boot,snponly.efi"]
    words += [f"--dhcp-range={FIRST},{LAST},{NETMASK},12h", "--dhcp-boot=snponly.efi"]
    return [*words, "--no-ping"] if name.endswith("-noping") else words


def _kea(folder: Path) -> dict[str, Any]:
    subnet = {
        "id": 1,
        "subnet": "10.77.0.0/16",
        "pools": [{"pool": f"{FIRST} - {LAST}"}],
        "boot-file-name": "snponly.efi",
    }
    leases = {"type": "memfile", "persist": True, "name": str(folder / "kea.csv")}
    log = {
        "name": "kea-dhcp4",
        "output_options": [{"output": str(folder / "kea.log")}],
        "severity": "WARN",
    }
    return {
        "Dhcp4": {
            "interfaces-config": {"interfaces": [SERVER_DEVICE], "dhcp-socket-type": "raw"},
            "lease-database": leases,
            "valid-lifetime": 43200,
            "subnet4": [subnet],
            "loggers": [log],
        }
    }


@contextlib.contextmanager
def lan() -> Iterator[None]:
    """Make a cable: the server's end is here, the clients' end in a namespace.

    Mounts are this process's own, and so is the namespace's name: two benches may run at a time.
    """
    NAMES.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(NAMES)], check=True)
    network.ip("netns", "add", NAMESPACE)
    try:
        pair = ("type", "veth", "peer", "name", CLIENT_DEVICE, "netns", NAMESPACE)
        network.ip("link", "add", SERVER_DEVICE, *pair)
        network.ip("address", "add", f"{ADDRESS}/16", "broadcast", "+", "dev", SERVER_DEVICE)
        network.ip("link", "set", SERVER_DEVICE, "up")
        network.ip("-n", NAMESPACE, "link", "set", CLIENT_DEVICE, "up")
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=False, capture_output=True)


@contextlib.contextmanager
def running(name: str) -> Iterator[Server]:
    """Yield a server that has answered one client."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        folder = Path(temporary)
        places = {"KEA_PIDFILE_DIR": str(folder), "KEA_LOCKFILE_DIR": str(folder)}
        with (
            (folder / "output").open("wb") as log,
            subprocess.Popen(
                _command(name, folder), stdout=log, stderr=log, env={**os.environ, **places}
            ) as process,
        ):
            try:
                _await(name, process, folder)
                yield Server(name, process.pid, 67, "", None)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    process.kill()


def _await(name: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not load(Row("closed", 1, 0.2, 1), 1 << 24)["in_time"]:
        # dnsmasq pings an address for 3 s before it answers its first client.
        if name == "dnsmasq" and process.poll() is None and time.monotonic() > deadline - 17:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start: {(folder / 'output').read_text()}")


def load(row: Row, first: int) -> dict[str, float]:
    words = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-m", "bench.dhcp_load"]
    words += [CLIENT_DEVICE, row.scenario, str(first), str(row.clients), str(row.seconds)]
    figures: dict[str, float] = json.loads(
        subprocess.check_output([*words, str(row.outstanding)], text=True)
    )
    return figures


def sample(name: str, row: Row) -> Sample:
    """Return one run of a row on a newly started server."""
    with running(name) as server:
        before = server.cpu_seconds()
        figures = load(row, 1)
        spent = server.cpu_seconds() - before
        return Sample(**figures, cpu_us=spent / max(figures["in_time"], 1) * 1e6)


def measure(wanted: Sequence[Row], names: Sequence[str], repetitions: int) -> Results:
    """Return medians. The servers take turns within each row, so that drift affects all alike."""
    results: dict[Row, dict[str, Sample]] = {}
    for row in wanted:
        asked = [name for name in names if row.scenario != "lease" or name in FULL]
        samples: dict[str, list[Sample]] = {name: [] for name in asked}
        for _ in range(repetitions):
            for name in asked:
                samples[name].append(sample(name, row))
        results[row] = {name: median_of(each) for name, each in samples.items()}
        shown = "  ".join(
            f"{name} {got.in_time:.0f}/{got.sent:.0f}" for name, got in results[row].items()
        )
        tell(f"{row.name}: {shown}")
    return results


def run(wanted: Sequence[Row], names: Sequence[str], repetitions: int, folder: Path) -> int:
    """Measure, print, write ``dhcp.json``; return the number of missed bars."""
    with lan():
        results = measure(wanted, names, repetitions)
    about = {"versions": versions(VERSIONS), "repetitions": repetitions}
    rows = [
        {**asdict(row), "servers": {name: asdict(got) for name, got in samples.items()}}
        for row, samples in results.items()
    ]
    return publish(
        folder,
        "dhcp",
        verdicts(results),
        tables=[table(results)],
        details={"rows": rows},
        about=about,
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("dhcp", __doc__, "once instead of five times")
    options.add_argument("--only", default="", help="only rows whose name contains this")
    options.add_argument("--servers", default=",".join((*FULL, *PROXY)), help="default: all")
    given = options.parse_args()
    wanted = [row for row in ROWS if given.only in row.name]
    names, folder = given.servers.split(","), given.output.resolve()
    in_network(lambda: run(wanted, names, 1 if given.quick else 5, folder))


if __name__ == "__main__":
    main()
