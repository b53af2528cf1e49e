"""Swap that comes and goes is told as a summary, once a minute for as long as it lasts."""

from netboot.boot.client import PROBE_MAC
from netboot.boot.events import OF_SWAP, BootEvent, Journal
from netboot.boot.flapping import PERIOD_SECONDS, ROUNDS, Flapping
from netboot.boot.limits import JOURNAL_EVENTS_OF_SWAP
from netboot.boot.plan import swap_export
from netboot.boot.stages import BY_NAME

MAC = "00:1e:37:11:22:33"


def lost(mac: str = MAC, connections: int = 0, area: int = 1) -> BootEvent:
    data = {"export": swap_export(mac, area), "connections": connections}
    return BootEvent(0.0, mac, "pages:detach", "seat: timed out", data)


class Told(list[tuple[str, str, bool]]):
    def __call__(self, mac: str, message: str, goes_on: bool) -> None:
        self.append((mac, message, goes_on))


def test_rounds_of_3_5_seconds_are_one_summary_a_minute() -> None:
    """Swap 1.4: lost and attached again 18 times in 60 s, four lines each time."""
    flapping, told = Flapping(), Told()
    now = 0.0
    for half_seconds in range(240):
        now = half_seconds / 2
        if half_seconds % 7 == 0:
            flapping.record(lost(connections=1), now)
            flapping.record(lost(), now)
        flapping.summaries(now, told)
    assert [goes_on for _, _, goes_on in told] == [True, True]
    mac, message, _ = told[1]
    assert mac == MAC
    assert (
        message == "swap lost and attached again 17 times in 60 s; the last time: seat: timed out"
    )
    assert flapping.is_flapping(MAC)
    flapping.summaries(now + PERIOD_SECONDS + 1, told)
    assert not told[-1][2] and not flapping.is_flapping(MAC)
    flapping.summaries(now + 2 * PERIOD_SECONDS + 1, told)
    assert len(told) == 3 and not flapping._seats


def test_a_few_faults_of_the_server_are_no_flapping() -> None:
    flapping, told = Flapping(), Told()
    for number in range(ROUNDS - 1):
        flapping.record(lost(), float(number))
        flapping.summaries(float(number), told)
    for second in range(100):
        flapping.summaries(float(second), told)
    assert not told and not flapping._seats


def test_played_pcs_and_further_areas_do_not_count() -> None:
    flapping, told = Flapping(), Told()
    for number in range(3 * ROUNDS):
        flapping.record(lost(PROBE_MAC), float(number))
        flapping.record(lost(area=2), float(number))
    flapping.summaries(20.0, told)
    assert not told


def test_the_rounds_do_not_push_the_boot_out_of_the_history() -> None:
    journal = Journal((MAC,))
    journal.record(BootEvent(0.0, MAC, "swap", "512 MiB"))
    for number in range(500):
        for stage in sorted(OF_SWAP):
            journal.record(BootEvent(float(number), MAC, stage, "again"))
    stages = [event.stage for event in journal.history(MAC)]
    assert stages[0] == "swap" and len(stages) == 1 + (JOURNAL_EVENTS_OF_SWAP.per_address or 0)
    assert all(stage in BY_NAME for stage in (*OF_SWAP, "pages:flapping"))
