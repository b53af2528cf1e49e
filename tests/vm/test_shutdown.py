"""A systemd userland whose root and swap are on the network ends quickly with its swap in use."""

from pathlib import Path

from tests.vm.conftest import report_of

MEMORY = 192  # MB
BAR_SECONDS = 20.0


def test_a_systemd_userland_survives_a_crash_and_ends_with_swap_in_use(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    _, report = report_of("tests.vm.shutdown", root_image, tmp_path, images, MEMORY)
    assert report["failure"] == "", report
    assert [seat["order"] for seat in report["seats"]] == ["reboot", "poweroff"]
    machine_ids = set()
    for number, seat in enumerate(report["seats"], start=1):
        assert seat["seconds"] < BAR_SECONDS, seat
        events = {stage: data for _, stage, _, data in seat["stages"]}
        loaded = events["load:written"]
        assert loaded["swapped_kib"] > MEMORY << 10
        assert loaded["hostname"] == f"pc-77000{number}"
        assert loaded["init_swap_max"] == 0
        assert loaded["port_is"] == "unmanaged", "by systemd-networkd"
        assert (loaded["pupil"], loaded["pupil_sees"]) == (65534, 0), "a user reads a secret"
        assert loaded["token_length"] == 32
        assert loaded["pupil_attaches"] == "4 no such export, or wrong token"
        # The lease of a minute was renewed, by a process that systemd left alone.
        times = {stage: seconds for seconds, stage, _, _ in seat["stages"]}
        assert times["load:ended"] - times["address:held"] > 60
        assert "address:expired" not in events
        machine_ids.add(loaded["machine_id"])
        attached_again = [d["device"] for _, s, _, d in seat["stages"] if s == "agent:reattached"]
        assert sorted(attached_again) == ["/dev/dm-0", "/dev/dm-1"], "verified, encrypted"
        console = (tmp_path / f"pc{number}.console").read_text(errors="replace")
        for trouble in ("Out of memory", "oom-kill", "Kernel panic", "I/O error", "FAILED"):
            assert trouble not in console, trouble
    assert len(machine_ids) == 2
