"""The figures that a storm's report makes of its PCs' outcomes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from netboot.lab.storm.report import Outcome, Report, percentile

FINE = Outcome(
    "a", "swap", "", 2.0, 2.5, {"dhcp": 0.5, "swap": 1.5}, {"loader": 100, "images": 900}
)
LOST = Outcome("b", "dhcp", "no OFFER", 60.0, 61.0)


def test_a_row_for_each_stage_that_was_come_to_and_one_for_all() -> None:
    rows = {row["stage"]: row for row in Report([FINE, LOST], 1.0, 0.5).stages()}
    assert list(rows) == ["dhcp", "swap", "all"]
    assert (rows["dhcp"]["done"], rows["dhcp"]["failed"], rows["dhcp"]["max"]) == (1, 1, 0.5)
    assert (rows["all"]["done"], rows["all"]["failed"], rows["all"]["p50"]) == (1, 1, 2.0)
    assert rows["all"]["bytes"] == 1000


def test_failures_are_counted_by_stage_and_reason() -> None:
    report = Report([LOST, FINE, LOST], None, 0.5)
    assert report.failures() == {"dhcp: no OFFER": 2} and not report.ok
    assert Report([FINE], None, 0.5).ok
    assert report.seconds == 61.0
    json.dumps(report.as_json(), allow_nan=False)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([], 0.5) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_no_more_than_the_rest_is_above_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found is not None
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
