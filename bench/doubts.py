"""Rows of the page benchmark that failed, or that cannot be true. Pure.

A generator whose connections were not all at work shows more than a server can do, or less. Three laws
hold for each row: a closed loop has ``depth`` requests in flight on each connection (Little's law: the
rate times the mean latency); nobody uses more CPU than there is; and on one CPU more connections do the
same work for each request. A server that waits with one connection may do more with many: qsd waits 44 ms
after each batch of writes. So the law is about the CPU, not about the rate.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bench.rows import Results, Row, Sample

# nbd_load waits until a quarter of the depth was answered before it sends again. A short run also
# counts requests that began before it.
IN_FLIGHT = (0.7, 1.25)
CPU_SHARE = 1.15  # the server's time comes in ticks of 10 ms
GAIN = 2.0  # of many connections for each second of CPU; larger batches gave 1.4 at most


@dataclass(frozen=True, slots=True)
class Doubt:
    """A figure that is not to be believed, and the reason."""

    row: str
    server: str
    why: str


def doubts(results: Results, cpus: int) -> list[Doubt]:
    """Return the rows of these results that cannot be true on a machine of ``cpus`` CPUs."""
    return [
        Doubt(row.name, server, why)
        for row, samples in results.items()
        for server, got in samples.items()
        for why in _reasons(row, got, _alone(results, row, server), cpus)
    ]


def fio_doubts(results: Results) -> list[Doubt]:
    """Return the figures of fio, beside the others, that cannot be true."""
    return [
        Doubt(row.name, server, f"fio: {why}")
        for row, samples in results.items()
        for server, got in samples.items()
        if got.fio_iops is not None and got.fio_mean_us is not None
        for why in _in_flight(row, got.fio_iops, got.fio_mean_us)
    ]


def believed(results: Results, found: Iterable[Doubt]) -> dict[Row, Mapping[str, Sample]]:
    """Return the results without those in doubt, which decide no bar."""
    doubted = {(each.row, each.server) for each in found}
    return {
        row: {name: got for name, got in samples.items() if (row.name, name) not in doubted}
        for row, samples in results.items()
    }


def table(found: Iterable[Doubt]) -> str:
    """Return a Markdown table of the rows in doubt; one sentence if there is none."""
    lines = [f"| {each.row} | {each.server} | {each.why} |" for each in found]
    if not lines:
        return "Every row can be true."
    return "\n".join(["| not to be believed | server | why |", "|---|---|---|", *lines])


def _alone(results: Results, row: Row, server: str) -> Sample | None:
    return results.get(replace(row, connections=1), {}).get(server)


def _reasons(row: Row, got: Sample, alone: Sample | None, cpus: int) -> Iterator[str]:
    yield from _in_flight(row, got.iops, got.mean_us)
    there = 1 if row.form == "pinned" else cpus
    used = _cpu(got)
    if used > there * CPU_SHARE:
        yield f"{used:.2f} s of CPU in a second, with {there} of them"
    if row.form == "pinned" and alone is not None:
        gain = got.iops / alone.iops * min(_cpu(alone), 1.0)
        if gain > GAIN:
            yield f"{gain:.1f} times its own rate for each second of CPU with one connection, on one CPU"


def _cpu(got: Sample) -> float:
    """Return the CPU seconds that server and generator use in a second."""
    return (got.cpu_us + got.load_us) * got.iops / 1e6


def _in_flight(row: Row, iops: float, mean_us: float) -> Iterator[str]:
    wanted, found = row.depth * row.connections, iops * mean_us / 1e6
    least, most = IN_FLIGHT
    if not least * wanted <= found <= most * wanted:
        yield f"{found:.1f} requests were in flight, and {wanted} were meant to be"
