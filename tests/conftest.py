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
    items.sort(key=lambda item: rank_of(item.nodeid))
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or "vm" in item.path.parent.parts:
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))


# Tests with one or two PCs and no bar of seconds. They may run beside other PCs, each file in whichever
# process is free, so that all processes end at about the same time.
FEW_PCS = tuple(
    f"tests/vm/test_{name}.py"
    for name in (
        *("menu", "nbd_attach", "versions", "kept", "screen", "filled"),
        *("own_dhcp", "seat", "left", "changed_image"),
    )
)
# The kinds of tests that run beside each other, the longest first: virtual PCs, most others, a browser,
# databases, and what fills up.
KINDS = ("tests/vm/", "", "tests/panel/page/", "tests/panel/history/", *FEW_PCS)
# It holds stalls to 5 s, and so runs while the other process has no virtual PC yet.
WITH_BARS = "tests/vm/test_torture.py"
DISK_PCS = "tests/deploy/test_disk.py"  # virtual PCs too


def kind_of(nodeid: str) -> str:
    """Return the one of KINDS that a test is of; an empty text for most."""
    if nodeid.startswith(DISK_PCS):
        return KINDS[0]
    kinds = [kind for kind in KINDS if nodeid.startswith(kind)]
    return max(kinds, key=len)


def rank_of(nodeid: str) -> tuple[int, bool]:
    """Return the place of a test in the order of all tests, which is stable."""
    return KINDS.index(kind_of(nodeid)), not nodeid.startswith(WITH_BARS)


class ByKind(LoadScopeScheduling):  # type: ignore[misc]
    """A scheduler of pytest-xdist for two processes or three: each takes the next kind of tests that is left.

    A virtual PC keeps a CPU busy for most of its time.
    """

    def _split_scope(self, nodeid: str) -> str:
        return kind_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByKind:
    config.option.loadscopereorder = (
        False  # it would begin with the most tests, and end with virtual PCs
    )
    return ByKind(config, log)
