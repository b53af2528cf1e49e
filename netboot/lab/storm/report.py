"""The result of a storm: times of each stage, failures, bytes, CPU. Pure; times in seconds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# In the order of a boot. Firmware, the server's mode and the profile decide which a PC has.
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
    """The result of one PC. ``seconds`` and ``received`` (bytes) are by stage.

    ``taken`` is the time from its power-on to its end, ``ended`` from the start of the storm.
    ``failure`` is the reason for which it failed in ``stage``, empty if it is done.
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
    """The results of a storm.

    ``server_cpu`` is CPU seconds of the server's processes, None if it does not say. ``own_cpu`` is
    ours: it shows whether the storm itself was the bottleneck.
    """

    outcomes: Sequence[Outcome]
    server_cpu: float | None
    own_cpu: float

    @property
    def ok(self) -> bool:
        """Return whether every PC is done."""
        return not any(outcome.failure for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """Return the time from the first power-on to the end of the last PC."""
        return max(outcome.ended for outcome in self.outcomes)

    @property
    def received(self) -> int:
        """Return the bytes of all files received by TFTP and HTTP."""
        return sum(sum(outcome.received.values()) for outcome in self.outcomes)

    def failures(self) -> dict[str, int]:
        """Return the number of failed PCs by stage and reason, the most frequent first."""
        found = Counter(f"{each.stage}: {each.failure}" for each in self.outcomes if each.failure)
        return dict(found.most_common())

    def stages(self) -> list[dict[str, Any]]:
        """Return a row for each stage that a PC reached, and one for the whole boot.

        A row has the numbers of done and failed PCs, percentiles in seconds, and bytes.
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
        """Return the report as JSON-ready values."""
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
    """Return the smallest value that at least ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
