"""A room of PCs switched on at once behind one link: ``python -m bench.storm [--quick]``.

Sixty PCs of ``netboot storm`` on a link of 1 Gbit/s (tc tbf, in both directions) boot from the
whole of ``netboot serve``, with the governor of downloads and without. It prints a table and the
result of each bar, and writes JSON. The exit status is 1 if a bar is missed. It needs root and runs
in namespaces of its own.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench.machine import versions
from bench.pages import VETH, VETH_HOST, veth_pair
from bench.report import Verdict, in_network, medians, parser, publish, tell
from bench.servers import end
from netboot.cli.show import BuildProgress
from netboot.images import build as images
from netboot.lab import network
from netboot.profile import file as profile_file
from tests.support.command import SERVE

CLIENTS = 60
MBIT = 1000
BAR = 1.2  # times the time that the link alone takes
LINKS = ("nb-b0", "nb-b1")  # pages.veth_pair
QUEUE_BYTES = 8 << 20  # more than TCP has in flight, so no packet is lost
START_SECONDS = 60.0  # the machine may be busy


@dataclass(frozen=True, slots=True)
class Row:
    """A room whose PCs are switched on within ``over`` seconds. ``rate`` is the profile's."""

    over: float
    rate: str

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"{CLIENTS} PCs within {self.over:g} s, http.rate {self.rate}"


ROWS = (Row(1, "1Gbit"), Row(0, "1Gbit"), Row(1, "none"))


@dataclass(frozen=True, slots=True)
class Sample:
    """One storm, in seconds.

    ``seconds`` is the time until the last PC has swap. ``limit`` is the time that the link alone
    needs for the bytes that the server sent. ``download`` is the time of a PC's image downloads.
    """

    done: float
    seconds: float
    limit: float
    mb: float
    server_cpu: float
    own_cpu: float
    wait_max: float
    download_p50: float
    download_max: float

    @property
    def ratio(self) -> float:
        """``seconds`` in relation to ``limit``."""
        return self.seconds / self.limit


Results = Mapping[Row, Sample]


def median_of(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure on its own, but the lowest number of PCs with swap."""
    return Sample(**{**medians(samples), "done": min(each.done for each in samples)})


def parse(report: Mapping[str, Any], sent_bytes: int) -> Sample:
    """Return a sample from the report of ``netboot storm --json`` and the bytes sent to the PCs."""
    rows = {row["stage"]: row for row in report["stages"]}
    return Sample(
        done=report["clients"] - report["failed"],
        seconds=report["seconds"],
        limit=sent_bytes * 8 / (MBIT * 1e6),
        mb=report["bytes"] / 1e6,
        server_cpu=report["server_cpu_seconds"],
        own_cpu=report["own_cpu_seconds"],
        wait_max=rows["wait"]["max"] if "wait" in rows else 0.0,
        download_p50=rows["images"]["p50"],
        download_max=rows["images"]["max"],
    )


def verdicts(results: Results) -> list[Verdict]:
    """Return the bars: with the governor, which is on by default, and for all PCs."""
    found = []
    for row, got in results.items():
        if row.rate != "none":
            found.append(Verdict(f"{row.name}: seconds / wire", got.ratio, BAR, at_least=False))
            found.append(Verdict(f"{row.name}: with swap", got.done, CLIENTS, at_least=True))
    return found


def table(results: Results) -> str:
    """Return a Markdown table with a line for each row."""
    titles = "with swap | all s | wire s | / wire | MB | server CPU s | longest wait s | download"
    lines = [
        f"| room | {titles} p50 s | max s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.name} | {got.done:.0f}/{CLIENTS} | {got.seconds:.2f} | {got.limit:.2f} "
        f"| {got.ratio:.2f} | {got.mb:.0f} | {got.server_cpu:.2f} | {got.wait_max:.1f} "
        f"| {got.download_p50:.2f} | {got.download_max:.2f} |"
        for row, got in results.items()
    ]
    return "\n".join(lines)


def sample(row: Row, built: Path) -> Sample:
    """Return one storm on a newly started server."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, veth_pair():
        for namespace, link in zip(VETH, LINKS, strict=True):
            run_in(namespace, *shaping(link))
        pool = f"{VETH_HOST.rpartition('.')[0]}.50-{VETH_HOST.rpartition('.')[0]}.200"
        profile = (
            f"interface: {LINKS[0]}\ndhcp: {{mode: full, range: {pool}}}\n"
            f"http: {{rate: {row.rate}}}\n"
        )
        with serving(profile, built, Path(name), VETH[0]):
            before = sent_bytes(LINKS[0], VETH[0])
            words = f"storm --json --clients {CLIENTS} --over {row.over} --limit 120"
            words += f" --interface {LINKS[1]} --server {VETH_HOST}"
            done = run_in(VETH[1], sys.executable, "-m", "netboot", *words.split(), check=False)
            return parse(json.loads(done), sent_bytes(LINKS[0], VETH[0]) - before)


def shaping(link: str) -> list[str]:
    """Return the command that gives one end of a cable the rate of the link."""
    words = f"tc qdisc add dev {link} root tbf rate {MBIT}mbit burst 128kb limit {QUEUE_BYTES}"
    return words.split()


def run_in(namespace: str, *words: str, check: bool = True) -> str:
    """Run a command in a network namespace, or in this one if it is empty. Return its output."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    command = [*inside, *words]
    return subprocess.run(command, check=check, stdout=subprocess.PIPE, text=True).stdout


def sent_bytes(link: str, namespace: str) -> int:
    """Return the bytes sent to the PCs, with all headers.

    tc counts the headers of the segments into which the kernel will cut a large packet (GSO).
    """
    shown = run_in(namespace, "tc", "-s", "qdisc", "show", "dev", link)
    match = re.search(r"Sent (\d+) bytes", shown)
    assert match is not None, shown
    return int(match[1])


@contextlib.contextmanager
def serving(profile: str, built: Path, folder: Path, namespace: str) -> Iterator[None]:
    """Serve the text of a profile; ``built`` are its images, and ``folder`` gets its state."""
    (path := folder / "room.yaml").write_text(profile)
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    words = [
        *inside,
        sys.executable,
        "-m",
        *SERVE,
        "--user",
        "root",
    ]
    words += ["--profile", str(path)]
    words += ["--images", str(built), "--state", str(folder / "state")]
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(words, stdout=output, stderr=output) as process,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS
            while b'"ready"' not in log.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"our server did not start: {log.read_text()}")
                time.sleep(0.05)
            yield
        finally:
            end(process)


def run(repetitions: int, built: Path, folder: Path) -> int:
    """Measure, print, write ``storm.json``; return the number of missed bars."""
    samples: dict[Row, list[Sample]] = {row: [] for row in ROWS}
    for number in range(repetitions):
        for row, found in samples.items():
            found.append(sample(row, built))
            tell(f"{number + 1} {row.name}: {found[-1].seconds:.2f} s, {found[-1].ratio:.2f}")
    results = {row: median_of(found) for row, found in samples.items()}
    about = {"versions": versions({"tc": ("tc", "-V")}), "repetitions": repetitions}
    rows = [{"name": row.name, **asdict(got), "ratio": got.ratio} for row, got in results.items()]
    return publish(
        folder,
        "storm",
        verdicts(results),
        tables=[table(results)],
        details={"rows": rows},
        about=about,
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser("storm", __doc__, "once each instead of five times").parse_args()
    network.check_root()
    with tempfile.TemporaryDirectory() as name:
        built = Path(name)
        profile = profile_file.load(Path("profiles/lab.yaml"), [])
        with BuildProgress() as progress:
            images.build(profile, built, images.default_cache(), progress)
        in_network(lambda: run(1 if given.quick else 5, built, given.output.resolve()))


if __name__ == "__main__":
    main()
