"""The model of a room: what grows with what, and how it is held against measured rooms."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench.scale import held, model, seats
from bench.scale.model import Costs, Point, Room, need
from netboot.errors import OperatorError
from tests import ROOT

ROOM, COSTS = Room(), Costs()


def test_ten_times_the_seats_need_ten_times_the_pages() -> None:
    small, large = need(ROOM, COSTS), need(replace(ROOM, seats=10 * ROOM.seats), COSTS)
    assert large.stored_gib == pytest.approx(10 * small.stored_gib)
    assert large.wire_gbit == pytest.approx(10 * small.wire_gbit)
    base = COSTS.attach_base
    assert large.attach - base == pytest.approx(10 * (small.attach - base))


def test_a_thousand_mirrored_seats_are_those_of_the_paper() -> None:
    found = need(ROOM, COSTS)
    assert found.stored_gib == pytest.approx(1403, rel=0.01)
    assert found.wire_gbit == pytest.approx(31, rel=0.01)
    assert found.servers * ROOM.server_gib * ROOM.used > found.stored_gib


def test_a_mirror_can_lose_a_server_and_a_single_copy_has_no_resync() -> None:
    mirrored = need(replace(ROOM, seats=10), COSTS)
    single = need(replace(ROOM, seats=10, copies=1), COSTS)
    assert (mirrored.servers, single.servers) == (2, 1)
    assert (mirrored.lost, single.lost) == (10, 10)
    assert mirrored.resync > single.resync == 0


def test_one_seat_copies_at_its_own_pace_and_many_at_that_of_the_link() -> None:
    one = need(replace(ROOM, seats=1), COSTS)
    assert one.resync == pytest.approx(2 * model.GIB / 30e6)
    assert need(ROOM, COSTS).resync > one.resync


def test_the_model_may_be_off_by_a_fifth() -> None:
    near, far = model.verdicts([Point("a", 10.0, 11.9), Point("b", 10.0, 7.9)])
    assert near.met
    assert not far.met


def test_it_prints_a_table_or_one_line_about_a_bad_option() -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bench.scale.model", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    lines = run().stdout.splitlines()
    assert lines[0] == "| seats | 100 | 1,000 | 10,000 |"
    assert len({line.count("|") for line in lines}) == 1
    refused = run("--copies", "3")
    assert refused.returncode == 2
    assert "--copies: expected more than 0, copies 1 or 2" in refused.stderr


def test_two_small_rooms_tell_what_a_large_one_takes() -> None:
    none = seats.Sample(**{each.name: 0.0 for each in fields(seats.Sample)})
    small = [
        replace(none, attached=100, attach_cpu=0.3),
        replace(none, attached=200, attach_cpu=0.5),
    ]
    attaching, booting = held.points(
        small, {"attached": 1000, "attach_cpu": 2.2}, {"done": 1000, "mb": 6000.0, "seconds": 50.0}
    )
    assert attaching.measured == 2.2
    assert attaching.modelled == pytest.approx(2.1)
    assert (booting.measured, booting.modelled) == (50.0, 48.0)


def test_a_room_that_was_not_measured_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"scale-seats\.json: no such file") as caught:
        held.read(tmp_path)
    assert caught.value.text().endswith("measure it: python -m bench.scale.seats")
