"""What a storm came to: times of each stage, failures, bytes, CPU. Pure; times in seconds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# In the order of a boot; a PC has those that its firmware, the server's mode and the profile give.
STAGES = (
    "dhcp",
    "4011",
    "loader",
    "ipxe dhcp",
    "ipxe 4011",
    "script",
    "wait",
    "images",
    "swap",
)
SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


@dataclass(slots=True)
class Outcome:
    """How far one PC came. ``seconds`` and ``received`` (bytes) by stage; ``taken``: from its
    power-on to its end, ``ended``: from the storm's begin. ``failure`` says in which ``stage`` it
    ended, and why; empty if all went well.
    """

    mac: str
    stage: str = ""
    failure: str = ""
    taken: float = 0.0
    ended: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """``server_cpu``: CPU seconds of the server's processes, None if it does not tell; ``own_cpu``:
    ours, for who doubts that the server was the bottleneck.
    """

    outcomes: Sequence[Outcome]
    server_cpu: float | None
    own_cpu: float

    @property
    def ok(self) -> bool:
        """Whether every PC came through."""
        return not any(outcome.failure for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """From the first power-on until the last PC had its end."""
        return max(outcome.ended for outcome in self.outcomes)

    @property
    def received(self) -> int:
        """Bytes of all files that came over TFTP and HTTP."""
        return sum(sum(outcome.received.values()) for outcome in self.outcomes)

    def failures(self) -> dict[str, int]:
        """How many PCs failed, for each stage and reason, the most frequent first."""
        found = Counter(f"{each.stage}: {each.failure}" for each in self.outcomes if each.failure)
        return dict(found.most_common())

    def stages(self) -> list[dict[str, Any]]:
        """A row for each stage that a PC came to, and one for all of it: how many came through,
        how many failed there, percentiles in seconds, bytes.
        """
        rows = []
        for name in STAGES:
            times = [each.seconds[name] for each in self.outcomes if name in each.seconds]
            failed = sum(1 for each in self.outcomes if each.failure and each.stage == name)
            if times or failed:
                size = sum(each.received.get(name, 0) for each in self.outcomes)
                rows.append(_row(name, times, failed, size))
        times = [each.taken for each in self.outcomes if not each.failure]
        rows.append(_row("all", times, len(self.outcomes) - len(times), self.received))
        return rows

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "clients": len(self.outcomes),
            "failed": sum(1 for each in self.outcomes if each.failure),
            "failures": self.failures(),
            "seconds": self.seconds,
            "bytes": self.received,
            "server_cpu_seconds": self.server_cpu,
            "own_cpu_seconds": self.own_cpu,
            "stages": self.stages(),
        }


def _row(name: str, times: Sequence[float], failed: int, size: int) -> dict[str, Any]:
    shares = {title: percentile(times, share) for title, share in SHARES}
    return {"stage": name, "done": len(times), "failed": failed, **shares, "bytes": size}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
