"""A PC that ends without a goodbye gets its swap again; another one with its address does not."""

from pathlib import Path

from tests.vm.conftest import report_of
from tests.vm.reboots import UUIDS

SWAP_SECONDS = 10.0  # from the question for a lease until swap is on


def test_a_pc_that_says_no_goodbye_gets_its_swap_and_a_twin_does_not(
    images: Path, tmp_path: Path
) -> None:
    status, report = report_of("tests.vm.reboots", images, tmp_path)
    assert status == 0, report
    twin = report.pop("twin")
    ((message, data),) = twin["warnings"]
    assert "another PC with this address is running" in message
    assert data["address"] == data["running"][0], "they share the IP address too"
    ((message, data),) = twin["told"]
    assert {data["machine"], data["before"]} == set(UUIDS)
    assert all(uuid in message for uuid in UUIDS) and "card 8086:100e" in message
    assert twin["lost"] == [] and twin["swaps"] == 0, twin
    assert set(report) == {"reset", "cut", "unplug"}
    for fault, found in report.items():
        assert found["swap"] < SWAP_SECONDS and not found["refused"], (fault, found)
