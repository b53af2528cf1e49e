"""A killed agent took its key along; the next one still gets swap, with a token that is dead."""

from pathlib import Path

from tests.vm.conftest import report_of


def test_the_agent_after_a_killed_one_gets_a_fresh_lease(images: Path, tmp_path: Path) -> None:
    _, report = report_of("tests.vm.left", tmp_path, images)
    assert report["failure"] == "", report
    events = {event["stage"]: event for event in report["events"]}
    left = events["left:attached"]
    assert left["message"].startswith("device=/dev/nbd"), left
    assert left["data"]["token_length"] == 32
    assert left["data"]["said"] == "no such export, or wrong token"
    assert "pages:in-use" not in events, "the kernel had the old connections no more"
