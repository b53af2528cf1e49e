"""Rules for all tests: how hypothesis searches, which skip, and which run at the same time."""

import os

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

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


class ByCpu(LoadScopeScheduling):  # type: ignore[misc]
    """A scheduler of pytest-xdist for two processes: virtual PCs, and all other tests.

    A test of either kind keeps a CPU busy for most of its time.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "vm" if nodeid.startswith("tests/vm/") else "other"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByCpu:
    return ByCpu(config, log)
