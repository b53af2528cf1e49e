"""Our page server beside its peers, in one run: ``python -m bench.pages [--quick]``.

It prints a table and the result of each bar, and writes JSON and an SVG plot. The exit status is 1
if a bar is missed. It needs root and runs in network, process and mount namespaces of its own,
which disappear with it in any case. Conditions: docs/measurements/performance.md.
"""

import contextlib
import datetime
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from bench import doubts, fio, history, load, rows
from bench.compare import this_commit
from bench.counting import Count, counted, is_counted
from bench.doubts import Doubt
from bench.fairness import fairness
from bench.machine import versions
from bench.message import message_cost
from bench.plot import svg
from bench.report import OURS, Verdict, in_network, medians, parser, publish, tell
from bench.rows import BEFORE, FLOOR, PEERS, Results, Row, Sample
from bench.scaling import scaling
from bench.servers import HERE, Server, compile_c, running
from netboot.lab import network
from netboot.pages.nbd.backing import PAGE_BYTES

SERVERS = (OURS, *PEERS, FLOOR)
SIZE_BYTES = 512 << 20
PINNED_CPU = 0
VETH = ("nb-bench-srv", "nb-bench-cli")
VETH_HOST = "198.18.77.1"
ADDRESSES = (f"{VETH_HOST}/24", "198.18.77.2/24")
SECONDS = 1.0
VERSIONS = {
    "fio": ("fio", "--version"),
    "nbdkit": ("nbdkit", "--version"),
    "nbd-server": ("nbd-server", "-V"),
    "qemu-storage-daemon": ("qemu-storage-daemon", "-V"),
}
SYN_COOKIES = Path("/proc/sys/net/ipv4/tcp_syncookies")


@contextlib.contextmanager
def veth_pair() -> Iterator[None]:
    """Make two network namespaces joined by a veth pair."""
    links = ("nb-b0", "nb-b1")
    try:
        for namespace in VETH:
            network.ip("netns", "add", namespace)
        network.ip("link", "add", links[0], "type", "veth", "peer", "name", links[1])
        for namespace, link, address in zip(VETH, links, ADDRESSES, strict=True):
            network.ip("link", "set", link, "netns", namespace)
            network.ip("-n", namespace, "address", "add", address, "dev", link)
            network.ip("-n", namespace, "link", "set", link, "up")
            network.ip("-n", namespace, "link", "set", "lo", "up")
        yield
    finally:
        for namespace in VETH:
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


@dataclass(slots=True)
class Bench:
    """The generator, and the loads that failed."""

    program: Path
    seconds: float
    counts: bool  # the machine counts instructions
    failed: list[Doubt] = field(default_factory=list)
    beside_failed: list[Doubt] = field(default_factory=list)  # fio's

    def sample(self, server: Server, row: Row, *, beside: bool) -> Sample:
        """Return one run of a row, ``beside`` it one of fio. Raises LoadError."""
        pinned = row.form == "pinned"
        cpu = PINNED_CPU if pinned else None
        server.pin({PINNED_CPU} if pinned else set(range(os.cpu_count() or 1)))
        veth = row.link == "veth"
        uri = server.uri(VETH_HOST) if veth else server.uri()
        words = load.command(self.program, uri, row, SIZE_BYTES, self.seconds, cpu=cpu)
        count = counted(server.tree()) if self.counts else contextlib.nullcontext(Count())
        with count as instructions:
            before = server.cpu_seconds()
            got = load.run(words, VETH[1] if veth else None)
            cpu_us = (server.cpu_seconds() - before) / got.requests * 1e6
        each = None if instructions.value is None else instructions.value / got.requests
        times = (got.mean_us, got.p50_us, got.p99_us, got.max_us)
        found = Sample(got.iops, got.mb_per_s, *times, cpu_us, got.cpu_us, each)
        return self._beside(server, uri, row, found) if beside else found

    def _beside(self, server: Server, uri: str, row: Row, found: Sample) -> Sample:
        """Add what fio shows of the same row."""
        cpu = PINNED_CPU if row.form == "pinned" else None
        words = fio.command(uri, row, SIZE_BYTES, self.seconds, cpu=cpu)
        before = server.cpu_seconds()
        try:
            said = fio.run(words, VETH[1] if row.link == "veth" else None)
            got = fio.parse(said, fio.RAMP_SECONDS / self.seconds)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            why = str(error).partition("\n")[0]
            self.beside_failed.append(Doubt(row.name, server.name, f"fio failed: {why}"))
            return found
        cpu_us = (server.cpu_seconds() - before) / got.requests * 1e6
        return replace(found, fio_iops=got.iops, fio_mean_us=got.mean_us, fio_cpu_us=cpu_us)

    def measure(
        self, servers: Sequence[Server], wanted: Sequence[Row], repetitions: int
    ) -> dict[Row, dict[str, Sample]]:
        """Return medians of ``repetitions`` for rows with a bar, and single runs of the others.

        The servers take turns within each row, so that drift affects all alike. A server whose load
        failed has no figure in that row.
        """
        results: dict[Row, dict[str, Sample]] = {}
        for number, row in enumerate(wanted, 1):
            asked = [each for each in servers if each.name != FLOOR or rows.has_bar(row)]
            samples: dict[str, list[Sample]] = {}
            for turn in range(repetitions if rows.has_bar(row) else 1):
                for server in asked:
                    try:
                        got = self.sample(server, row, beside=not turn)
                    except load.LoadError as error:
                        self.failed.append(Doubt(row.name, server.name, str(error)))
                    else:
                        samples.setdefault(server.name, []).append(got)
            broken = {each.server for each in self.failed if each.row == row.name}
            results[row] = {
                name: Sample(**medians(each))
                for name, each in samples.items()
                if name not in broken
            }
            shown = "  ".join(f"{name} {got.iops:.0f}" for name, got in results[row].items())
            tell(f"{number}/{len(wanted)} {row.name}: {shown}")
        return results

    def fill(self, server: Server) -> float:
        """Write every page once; return the memory of a stored page in bytes. Raises LoadError.

        All pages are read back, but not those of the floor: it has no store.
        """
        before = server.resident_bytes()
        load.fill(self.program, server.uri(), SIZE_BYTES, verify=server.name != FLOOR)
        return (server.resident_bytes() - before) / (SIZE_BYTES / PAGE_BYTES)


def _loopback(
    bench: Bench,
    wanted: Sequence[Row],
    names: Sequence[str],
    repetitions: int,
    before: Path | None,
) -> tuple[dict[Row, dict[str, Sample]], dict[str, float]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running(name, SIZE_BYTES, Path(folder), before=before))
            for name in names
        ]
        per_page = {}
        for server in servers:
            per_page[server.name] = bench.fill(server)
            tell(f"filled {server.name}: {per_page[server.name]:.1f} bytes a page")
        return bench.measure(servers, wanted, repetitions), per_page


def _over_veth(
    bench: Bench, wanted: Sequence[Row], names: Sequence[str], repetitions: int
) -> dict[Row, dict[str, Sample]]:
    with (
        veth_pair(),
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        contextlib.ExitStack() as stack,
    ):
        servers = [
            stack.enter_context(running(n, SIZE_BYTES, Path(folder), VETH_HOST, VETH[0]))
            for n in names
        ]
        for server in servers:
            uri, verify = server.uri(VETH_HOST), server.name != FLOOR
            load.fill(bench.program, uri, SIZE_BYTES, verify=verify, namespace=VETH[1])
        return bench.measure(servers, wanted, repetitions)


def _remember(
    folder: Path, programs: Mapping[str, str], results: Results, repetitions: int
) -> None:
    """Append the run to the history of this kind of machine."""
    machine = history.kind(programs["cpu"], programs["kernel"])
    date = datetime.date.today().isoformat()
    found = history.entries(
        results, commit=this_commit(), date=date, machine=machine, repetitions=repetitions
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{machine}.jsonl").open("a") as file:
        file.writelines(each.line() for each in found)


def run(
    wanted: Sequence[Row],
    names: Sequence[str],
    repetitions: int,
    seconds: float,
    folder: Path,
    before: Path | None,
) -> int:
    """Measure, print, write ``pages.json`` and ``pages.svg``; return the number of missed bars.

    ``before`` is a checkout of another commit, which is measured too on loopback.
    """
    near_names = [*names, BEFORE] if before else names
    near = [row for row in wanted if row.link == "loopback"]
    far = [row for row in wanted if row.link == "veth"]
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(compile_c(HERE / "nbd_load.c", Path(name)), seconds, is_counted())
        results, per_page = _loopback(bench, near, near_names, repetitions, before)
        if far:
            results.update(_over_veth(bench, far, names, repetitions))
    untrue = [*bench.failed, *doubts.doubts(results, os.cpu_count() or 1)]
    found = rows.verdicts(doubts.believed(results, untrue))
    found.append(Verdict("rows that failed or cannot be true", len(untrue), 0, at_least=False))
    found.append(Verdict("bytes per stored page", per_page.get(OURS, 0), 4096 + 64, at_least=False))
    more: list[Callable[[], tuple[list[Verdict], dict[str, float]]]]
    more = [message_cost, fairness, scaling]
    details = {}
    for extra in more if OURS in names else []:
        tell(f"{extra.__name__} ...")
        bars, detail = extra()
        found += bars
        details[extra.__name__] = detail
    all_doubts = [*untrue, *bench.beside_failed, *doubts.fio_doubts(results)]
    programs = versions(VERSIONS)
    _remember(folder / "history", programs, doubts.believed(results, untrue), repetitions)
    about = {"versions": programs, "bytes_per_page": per_page, "repetitions": repetitions}
    resident = ", ".join(f"{name} {size:.0f}" for name, size in per_page.items())
    missed = publish(
        folder,
        "pages",
        found,
        tables=[
            rows.table(results),
            rows.full_results(results),
            doubts.table(all_doubts),
            f"Bytes per stored page: {resident}.",
        ],
        details={**rows.details(results), "doubts": [asdict(each) for each in all_doubts]},
        about={**about, **details},
    )
    (folder / "pages.svg").write_text(svg(results))
    return missed


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("pages", __doc__, "rows with a bar, once: 6 minutes")
    options.add_argument("--only", default="", help="only rows whose name contains this")
    options.add_argument("--servers", default=",".join(SERVERS), help="default: all")
    options.add_argument(
        "--before",
        type=Path,
        metavar="TREE",
        help="measure our server of another commit as well: a checkout of it with its .venv",
    )
    given = options.parse_args()
    wanted = rows.quick_rows() if given.quick else rows.full_rows()
    wanted = [row for row in wanted if given.only in row.name]
    repetitions = 1 if given.quick else 5
    names, folder = given.servers.split(","), given.output.resolve()

    def measured() -> int:
        # nbd-server listens with a backlog of 10. Of 32 simultaneous connections some find it full:
        # with SYN cookies they wait for ever, without them TCP retries.
        SYN_COOKIES.write_text("0")
        return run(wanted, names, repetitions, SECONDS, folder, given.before)

    in_network(measured)


if __name__ == "__main__":
    main()
