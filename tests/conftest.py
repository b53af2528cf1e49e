"""Rules for all tests: how hypothesis searches, and that other users skip what needs root."""

import os

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, nothing of the code: no deadline, no limit
# for making examples. The rest comes from hypothesis: its profile "ci", which it takes itself where
# CI=true, tries the same examples every time. There a failure is to come from the change, not from
# luck; developers' runs go on to search.
settings.register_profile("netboot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netboot")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or "vm" in item.path.parent.parts:
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))
