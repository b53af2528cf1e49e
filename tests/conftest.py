"""Rules for all tests: how hypothesis searches, and that other users skip what needs root."""

import os

import pytest
from hypothesis import HealthCheck, settings

# No deadline for an example and none for making it: both measure how busy the machine is. If
# CI=true, hypothesis has loaded its own profile "ci" by now, and this profile inherits from it.
# "ci" tries the same examples in each run, so that only a change to the code can make CI fail.
# Developers' runs continue to search.
settings.register_profile("netboot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netboot")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or "vm" in item.path.parent.parts:
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))
