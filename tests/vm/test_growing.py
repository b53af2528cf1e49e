"""Further swap areas: attached in time, each survives its server, given back with all memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import Outcome, report_of
from tests.vm.growing import AREA_BYTES


def test_swap_grows_under_load_and_shrinks_after_it(images: Path, tmp_path: Path) -> None:
    _, report = report_of("tests.vm.growing", tmp_path, images)
    assert report["failure"] == "", report
    found: dict[str, list[dict[str, Any]]] = {}
    for event in report["events"]:
        found.setdefault(event["stage"], []).append(event["data"])
    grown = found["agent:grown"]
    assert [each["area"] for each in grown] == [2, 3]
    assert all(each["left"] > 0 for each in grown), "in time"
    assert all(each["size"] == AREA_BYTES for each in grown)
    (verified,) = found["load:verified"]
    assert verified["wrong"] == 0
    assert len(found["agent:lost"]) == len(found["agent:reattached"]) == 3
    assert [each["area"] for each in found["agent:returned"]] == [3, 2]
    assert report["stored"]["full"] > AREA_BYTES
    assert report["stored"]["empty"] < AREA_BYTES


@pytest.mark.nightly
def test_a_full_server_is_told_once_and_the_pc_goes_on_with_what_it_has(
    lab: Callable[..., Outcome],
) -> None:
    size = "250MiB"  # a load of twice the RAM leaves less than a quarter of it free
    options = (f"swap.size={size}", f"swap.capacity={size}", "swap.grow=1")
    settings = (word for option in options for word in ("--set", option))
    outcome = lab("--memory", "128", "--load", "2", *settings)
    assert outcome.status == 0, outcome.report
    refusals = [e for e in outcome.seats[0]["stages"] if e["stage"] == "agent:refused"]
    said = "no lease: no room: 250 MiB asked, 0.0 MiB of 250 MiB left"
    assert [each["message"] for each in refusals] == [f"area 2: {said}"]
    assert outcome.console().count(said) == 1


@pytest.mark.nightly
def test_a_further_area_is_on_the_other_server_if_the_first_one_is_full(
    lab: Callable[..., Outcome],
) -> None:
    options = ("swap.size=96MiB", "swap.capacity=100MiB", "swap.grow=1")
    settings = (word for option in options for word in ("--set", option))
    outcome = lab("--memory", "128", "--load", "1.2", "--servers", "2", *settings)
    assert outcome.status == 0, outcome.report
    stages = outcome.seats[0]["stages"]
    assert "agent:grown" in [each["stage"] for each in stages]
    attached = [each["message"] for each in stages if each["stage"] == "agent:attached"]
    servers = {message.split(",")[0].rsplit(" ", 1)[1] for message in attached}
    assert len(attached) == len(servers) == 2, attached


@pytest.mark.nightly
def test_a_mirror_grows_and_each_of_its_areas_outlives_a_server(
    images: Path, tmp_path: Path
) -> None:
    _, report = report_of("tests.vm.mirror_growing", tmp_path, images)
    assert report["failure"] == "", report
    found: dict[str, list[dict[str, Any]]] = {}
    for event in report["events"]:
        found.setdefault(event["stage"], []).append(event["data"])
    (grown,) = found["agent:grown"]
    assert (grown["device"], grown["size"]) == ("/dev/md1", AREA_BYTES)
    assert grown["left"] > 0, "in time"
    # The first server was away first, and came back while pages were read.
    for stage in ("agent:degraded", "agent:resynced"):
        devices = [each["device"] for each in found[stage]]
        assert sorted(devices[:2]) == ["/dev/md0", "/dev/md1"], stage
    assert len(found["agent:degraded"]) == 4, "then the second one"
    (verified,) = found["load:verified"]
    assert verified["wrong"] == 0
    (returned,) = found["agent:returned"]
    assert returned["device"] == "/dev/md1"
    assert report["stored"]["full"] > AREA_BYTES
    assert report["stored"]["empty"] < AREA_BYTES
