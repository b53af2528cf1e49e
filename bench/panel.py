"""What a panel costs, and how soon it shows a change: ``python -m bench.panel [--quick]``.

A real ``netboot serve`` with its panel gets the reports of 1,000 played seats, while 20 browsers'
streams are read and PCs ask for addresses. The same server without panel, reports and browsers is
measured in turn. Then headless Chromium shows a played panel, and SQLite holds a month of a room. It
prints a table and the result of each bar, and writes JSON. The exit status is 1 if a bar is missed.
It needs root: servers and clients are in network namespaces, which it removes. Conditions:
docs/measurements/panel.md.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn

from bench import dhcp, panel_parts
from bench.machine import versions
from bench.panel_parts import Month, Page
from bench.report import Verdict, in_network, medians, parser, publish, tell
from bench.servers import end
from netboot.boot import ticket
from netboot.host import processes
from netboot.lab import network
from netboot.serve.secret import SECRET_FILE, load_secret
from tests.panel.feeding import mac_of
from tests.support.images import write_manifest

SEATS, BROWSERS = 1000, 20
DISCOVERS = 20  # a second
SOURCES = "10.78.0.0/16"  # of seats and browsers, behind the clients' end of the cable
CLIENT = "10.77.0.2"
PANEL_PORT = 8081
START_SECONDS = 120.0  # the machine may be busy
WARM_SECONDS = 12.0  # in which each seat has reported once
NEITHER, BOTH = "without", "with"  # panel, reports and browsers

PANEL_CPU, PANEL_MB, SERVER_CPU = 25.0, 200.0, 5.0  # percent of a CPU; MB
DHCP_MS, SEEN_SECONDS = 2.0, 1.5
PAGE_KB, PAINT_MS, FRAMES = 150.0, 1000.0, 30.0
PAINTS = 5
MONTH_MB, CHART_MS = 200.0, 100.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. CPU: percent of one CPU, ``worker_cpu`` of the server's other processes.

    ``report_ms``: from connect to the answer. ``seen``: seconds from the arrival of a report until a
    browser had it. ``load``: processes of the machine that ran or waited for a CPU.
    """

    server_cpu: float
    worker_cpu: float
    server_mb: float
    panel_cpu: float
    panel_mb: float
    reports: float
    refused: float
    report_p99_ms: float
    dhcp_sent: float
    dhcp_in_time: float
    dhcp_p50_ms: float
    dhcp_p99_ms: float
    dhcp_max_ms: float
    seen_p50: float
    seen_p99: float
    seen_max: float
    stream_kb: float
    load: float


Samples = Mapping[str, Sequence[Sample]]


def verdicts(samples: Samples, shown: Page, month: Month) -> list[Verdict]:
    """Return the bars. Differences are between neighbours in time, and their median counts."""
    both = Sample(**medians(samples[BOTH]))
    pairs = list(zip(samples[NEITHER], samples[BOTH], strict=True))
    more_cpu = median(one.server_cpu - none.server_cpu for none, one in pairs)
    later = median(one.dhcp_p99_ms - none.dhcp_p99_ms for none, one in pairs)
    most = max(each.panel_mb for each in samples[BOTH])
    served = min(each.dhcp_in_time / each.dhcp_sent for kind in samples.values() for each in kind)
    taken = min(each.reports / max(each.reports + each.refused, 1) for each in samples[BOTH])

    def most_of(name: str, value: float, bar: float) -> Verdict:
        return Verdict(name, value, bar, at_least=False)

    return [
        Verdict("reports that were taken", taken, 1.0, at_least=True),
        Verdict("DHCP: offered in 2 s", served, 1.0, at_least=True),
        most_of("panel: % of a CPU", both.panel_cpu, PANEL_CPU),
        most_of("panel: MB", most, PANEL_MB),
        most_of("control plane: % of a CPU more than without", more_cpu, SERVER_CPU),
        most_of("DHCP p99: ms more than without", later, DHCP_MS),
        most_of("report to stream, p99: s", both.seen_p99, SEEN_SECONDS),
        most_of("page, all screens: KB", shown.kb, PAGE_KB),
        most_of("first paint: ms", shown.first_paint_ms, PAINT_MS),
        Verdict("1,000 tiles: frames/s", shown.frames, FRAMES, at_least=True),
        most_of("30 days of 60 seats: MB", month.mb, MONTH_MB),
        most_of("slowest chart: ms", max(month.chart_ms.values()), CHART_MS),
    ]


def table(samples: Samples, shown: Page, month: Month) -> str:
    """Return Markdown tables: medians of the runs, the page and the month."""
    middle = {kind: Sample(**medians(each)) for kind, each in samples.items()}
    rows = [
        ("control plane, % of a CPU", "server_cpu", 1),
        ("its workers, % of a CPU", "worker_cpu", 1),
        ("control plane, MB", "server_mb", 0),
        ("panel, % of a CPU", "panel_cpu", 1),
        ("panel, MB", "panel_mb", 0),
        ("reports", "reports", 0),
        ("report p99, ms", "report_p99_ms", 1),
        ("DHCP p50, ms", "dhcp_p50_ms", 2),
        ("DHCP p99, ms", "dhcp_p99_ms", 2),
        ("DHCP max, ms", "dhcp_max_ms", 1),
        ("report to stream p50, s", "seen_p50", 2),
        ("report to stream p99, s", "seen_p99", 2),
        ("report to stream max, s", "seen_max", 2),
        ("a stream, KB/s", "stream_kb", 0),
        ("load of the machine", "load", 1),
    ]
    lines = [f"| | {NEITHER} | {BOTH} |", "|---|--:|--:|"]
    for title, name, digits in rows:
        values = [asdict(middle[kind])[name] for kind in (NEITHER, BOTH)]
        cells = ["-" if math.isnan(value) else f"{value:.{digits}f}" for value in values]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    charts = ", ".join(f"{title} {ms:.1f}" for title, ms in month.chart_ms.items())
    lines += [
        "",
        "| page and history | |",
        "|---|--:|",
        f"| all files of all screens, KB | {shown.kb:.0f} |",
        f"| first paint, ms | {shown.first_paint_ms:.0f} |",
        f"| 1,000 tiles that change each second, frames/s | {shown.frames:.0f} |",
        f"| the longest frame, ms | {shown.longest_ms:.0f} |",
        f"| 30 days of 60 seats in SQLite, MB | {month.mb:.1f} |",
        f"| a chart, ms: {charts.replace(' ', ' ')} | {max(month.chart_ms.values()):.1f} |",
        f"| the inventory, ms | {month.inventory_ms:.1f} |",
    ]
    return "\n".join(lines)


@dataclass(slots=True)
class Rig:
    """A running server. ``panel``: the panel's process, 0 without one."""

    pid: int
    panel: int
    sessions: dict[str, str]

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of control plane, workers and panel."""
        spent = {"server": processes.own_cpu_seconds(self.pid), "panel": 0.0}
        if self.panel:
            spent["panel"] = processes.own_cpu_seconds(self.panel)
        spent["worker"] = processes.cpu_seconds(self.pid) - sum(spent.values())
        return spent

    def at_seats(self, mode: str, *more: str) -> "subprocess.Popen[str]":
        """Start bench.panel_load where the seats are. ``look`` waits for no other program's CPU."""
        words = ["ip", "netns", "exec", dhcp.NAMESPACE, sys.executable, "-m", "bench.panel_load"]
        load = subprocess.Popen(
            [*words, mode, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if mode == "look":
            os.setpriority(os.PRIO_PROCESS, load.pid, 0)
        assert load.stdin is not None
        load.stdin.write(json.dumps(self.sessions))
        load.stdin.close()
        return load


def resident_mb(pid: int, key: str) -> float:
    """Return a size of /proc/PID/status in MB, as ``VmHWM`` or ``VmRSS``."""
    for each in Path(f"/proc/{pid}/status").read_text().splitlines():
        if each.startswith(f"{key}:"):
            return int(each.split()[1]) * 1024 / 1e6
    return 0.0


def _profile(folder: Path) -> Path:
    clients = "".join(
        f"  {mac_of(number)}: {{hostname: pc-{number:03}}}\n" for number in range(SEATS)
    )
    path = folder / "profile.yaml"
    path.write_text(
        f"interface: {dhcp.SERVER_DEVICE}\n"
        f"dhcp: {{mode: full, range: {dhcp.FIRST}-{dhcp.LAST}}}\nclients:\n{clients}"
    )
    return path


@contextlib.contextmanager
def running(kind: str) -> Iterator[Rig]:
    """Yield a server whose seats all run, and whose panel answers if it has one."""
    with tempfile.TemporaryDirectory(prefix="netboot-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the panel is another user
        state = folder / "state"
        state.mkdir()
        write_manifest(folder / "images")
        secret = load_secret(state / SECRET_FILE)
        words = [sys.executable, "-m", "netboot", "serve", "--user", "root"]
        words += ["--set", f"http.panel={'lan' if kind == BOTH else 'off'}"]
        words += ["--images", str(folder / "images"), "--state", str(state)]
        words += ["--profile", str(_profile(folder))]
        with (
            (folder / "output").open("wb") as log,
            subprocess.Popen(words, stdout=log, stderr=log) as process,
        ):
            try:
                _await(process, folder / "output", panel=kind == BOTH)
                panel = _panel(process.pid) if kind == BOTH else 0
                sessions = {
                    mac_of(each): ticket.begin(
                        secret, mac_of(each), each.to_bytes(ticket.NONCE_BYTES), time.time()
                    )
                    for each in range(SEATS)
                }
                rig = Rig(process.pid, panel, sessions)
                begun = _figures(rig.at_seats("begin"))
                if begun["refused"]:
                    raise RuntimeError(f"{begun['refused']} seats could not begin")
                yield rig
            finally:
                end(process)


def _panel(server: int) -> int:
    for pid in processes.tree(server)[1:]:
        if b"\0panel\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise RuntimeError("the server has no panel")


def _await(process: "subprocess.Popen[bytes]", output: Path, *, panel: bool) -> None:
    """Wait until DHCP is answered, and the panel."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"netboot serve did not start: {output.read_text()}")
        if dhcp.load(dhcp.Row("closed", 1, 0.2, 1), 1 << 24)["in_time"] and _answers(panel):
            return


def _answers(panel: bool) -> bool:
    if not panel:
        return True
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PANEL_PORT}/health", timeout=2) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except OSError:
        return False


def _figures(load: "subprocess.Popen[str]") -> dict[str, float]:
    assert load.stdout is not None
    text = load.stdout.read()
    if load.wait() != 0:
        raise RuntimeError("the played seats have failed")
    figures: dict[str, float] = json.loads(text)
    return figures


def sample(kind: str, seconds: float) -> Sample:
    """Return one run of ``seconds`` on a newly started server."""
    none = float("nan")
    with running(kind) as rig:
        loads = []
        if kind == BOTH:
            spans = ("--warm", str(WARM_SECONDS), "--seconds", str(seconds))
            loads = [
                rig.at_seats("work", "--browsers", str(BROWSERS - 1), *spans),
                rig.at_seats("look", "--browsers", "1", *spans),
            ]
        time.sleep(WARM_SECONDS)
        before, begin = rig.cpu(), time.monotonic()
        row = dhcp.Row("storm", round(DISCOVERS * (seconds - 2.5)), seconds - 2.5)
        asked = dhcp.load(row, 1)
        spent, span = rig.cpu(), time.monotonic() - begin
        percent = {name: (spent[name] - before[name]) / span * 100 for name in spent}
        panel_mb = resident_mb(rig.panel, "VmHWM") if rig.panel else none
        server_mb = resident_mb(rig.pid, "VmRSS")
        sent, seen = [_figures(each) for each in loads] or ({}, {})
    return Sample(
        server_cpu=percent["server"],
        worker_cpu=percent["worker"],
        server_mb=server_mb,
        panel_cpu=percent["panel"] if rig.panel else none,
        panel_mb=panel_mb,
        reports=sent.get("reports", 0),
        refused=sent.get("refused", 0),
        report_p99_ms=sent.get("wait_0.99", none) * 1000,
        dhcp_sent=asked["sent"],
        dhcp_in_time=asked["in_time"],
        dhcp_p50_ms=asked["p50_ms"],
        dhcp_p99_ms=asked["p99_ms"],
        dhcp_max_ms=asked["max_ms"],
        seen_p50=seen.get("age_0.5", none),
        seen_p99=seen.get("age_0.99", none),
        seen_max=seen.get("age_1", none),
        stream_kb=seen.get("received", none) / seconds / 1000,
        load=os.getloadavg()[0],
    )


def run(repetitions: int, seconds: float, folder: Path) -> int:
    """Measure, print, write ``panel.json``; return the number of missed bars."""
    samples: dict[str, list[Sample]] = {NEITHER: [], BOTH: []}
    with dhcp.lan():
        inside = ("-n", dhcp.NAMESPACE)
        network.ip(*inside, "address", "add", f"{CLIENT}/16", "dev", dhcp.CLIENT_DEVICE)
        network.ip(*inside, "link", "set", "lo", "up")
        network.ip(*inside, "route", "add", "local", SOURCES, "dev", "lo")
        network.ip("route", "add", SOURCES, "via", CLIENT)
        for number in range(repetitions):
            for kind, found in samples.items():
                found.append(sample(kind, seconds))
                got = found[-1]
                tell(
                    f"{number + 1} {kind}: server {got.server_cpu:.1f} %, panel "
                    f"{got.panel_cpu:.1f} % {got.panel_mb:.0f} MB, DHCP p99 {got.dhcp_p99_ms:.2f} "
                    f"ms, seen p99 {got.seen_p99:.2f} s"
                )
    shown = panel_parts.page(round(min(seconds, 20)), PAINTS)
    month = panel_parts.month(2 * repetitions + 5)
    programs = {"chromium": ("chromium", "--version")}
    return publish(
        folder,
        "panel",
        verdicts(samples, shown, month),
        tables=[table(samples, shown, month)],
        details={
            "runs": {kind: [asdict(each) for each in found] for kind, found in samples.items()},
            "page": asdict(shown),
            "month": asdict(month),
        },
        about={
            "versions": versions(programs),
            "seats": SEATS,
            "browsers": BROWSERS,
            "seconds": seconds,
            "repetitions": repetitions,
        },
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser("panel", __doc__, "20 s once instead of 40 s three times").parse_args()
    folder = given.output.resolve()
    repetitions, seconds = (1, 20.0) if given.quick else (3, 40.0)
    in_network(lambda: run(repetitions, seconds, folder))


if __name__ == "__main__":
    main()
