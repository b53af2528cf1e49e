"""Rules for all tests: tests that need root are skipped for other users."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or "vm" in item.path.parent.parts:
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))
