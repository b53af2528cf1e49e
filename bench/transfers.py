"""Rows, results and bars of the download benchmark. Pure. MB and GB are decimal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from bench.report import OURS, Verdict

MIB = 1 << 20
BLKSIZE = 1468
WINDOW_PEERS = ("atftpd",)  # the only peer with RFC 7440
TFTP_PEERS = ("atftpd", "tftpd-hpa", "dnsmasq", "tftpy")
HTTP_PEERS = ("nginx",)
# in.tftpd does not reap its children, so the kernel adds their CPU time to no process.
WITHOUT_CPU = ("tftpd-hpa",)


@dataclass(frozen=True, slots=True)
class Row:
    """``in_all`` downloads of a file of ``size`` bytes, ``at_once`` at a time."""

    protocol: Literal["tftp", "http"]
    size: int
    at_once: int
    in_all: int
    windowsize: int = 1

    @property
    def name(self) -> str:
        """The name in the table, for example ``tftp 16 MiB window 16, 32 at once``."""
        window = ""
        if self.protocol == "tftp":
            window = " lockstep" if self.windowsize == 1 else f" window {self.windowsize}"
        return f"{self.protocol} {self.size // MIB} MiB{window}, {self.at_once} at once"

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers with which our server is compared."""
        if self.protocol == "http":
            return HTTP_PEERS
        return TFTP_PEERS if self.windowsize == 1 else WINDOW_PEERS


ROWS = (
    Row("tftp", MIB, 32, 192),
    Row("tftp", 16 * MIB, 32, 32),
    Row("tftp", MIB, 32, 512, windowsize=16),
    Row("tftp", 16 * MIB, 32, 64, windowsize=16),
    Row("tftp", MIB, 200, 200),
    Row("tftp", MIB, 200, 400, windowsize=16),
    Row("http", 64 * MIB, 1, 8),
    Row("http", 64 * MIB, 32, 128),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. CPU is in seconds per GB, the server's from ticks of 10 ms of its process tree."""

    done: int
    failed: int  # or not done at the time limit
    mb_per_s: float
    server_cpu: float | None
    client_cpu: float


def median_of(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure on its own, but the highest ``failed``."""
    cpu = [each.server_cpu for each in samples if each.server_cpu is not None]
    return Sample(
        min(each.done for each in samples),
        max(each.failed for each in samples),
        median(each.mb_per_s for each in samples),
        median(cpu) if cpu else None,
        median(each.client_cpu for each in samples),
    )


Results = Mapping[Row, Mapping[str, Sample]]
"""Row, server's name, median."""


def verdicts(results: Results) -> list[Verdict]:
    """Return the bars that these results can decide: ratios to the best peer, and none failed."""
    found: list[Verdict] = []
    for row, samples in results.items():
        if OURS not in samples:
            continue
        ours = samples[OURS]
        if row.at_once == 200:
            found.append(Verdict(f"{row.name}: failed", ours.failed, 0, at_least=False))
        peers = [samples[peer] for peer in row.peers if peer in samples]
        if row.at_once != 32 or not peers:
            continue
        ratio = ours.mb_per_s / max(peer.mb_per_s for peer in peers)
        bar = {"tftp": 0.7 if row.windowsize == 1 else 1.0, "http": 0.95}[row.protocol]
        found.append(Verdict(f"{row.name}: MB/s / best peer", ratio, bar, at_least=True))
        theirs = peers[0].server_cpu
        if row.protocol == "http" and ours.server_cpu is not None and theirs:
            ratio = ours.server_cpu / theirs
            found.append(Verdict(f"{row.name}: CPU / nginx", ratio, 1.3, at_least=False))
    return found


def table(results: Results) -> str:
    """Return a Markdown table with a line for each row and server."""
    lines = [
        "| load | server | done | MB/s | server CPU s/GB | client CPU s/GB | MB/s / best peer |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row, samples in results.items():
        peers = [samples[peer].mb_per_s for peer in row.peers if peer in samples]
        for server, got in samples.items():
            ratio = f"{got.mb_per_s / max(peers):.2f}" if peers else "-"
            cpu = "-" if got.server_cpu is None else f"{got.server_cpu:.2f}"
            lines.append(
                f"| {row.name} | {server} | {got.done}/{row.in_all} | {got.mb_per_s:.0f} "
                f"| {cpu} | {got.client_cpu:.2f} | {ratio} |"
            )
    return "\n".join(lines)


def details(results: Results) -> dict[str, Any]:
    """Return all figures for the JSON report."""
    return {
        "rows": [
            {
                "name": row.name,
                **asdict(row),
                "servers": {name: asdict(got) for name, got in samples.items()},
            }
            for row, samples in results.items()
        ]
    }
