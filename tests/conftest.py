"""What holds for all tests: which are unit tests, and that root's are skipped for other users."""

import os

import pytest

# Tests that start servers, strangers' programs or builds. What is in none of these, and needs
# neither root nor QEMU, is a unit test: `make unit`, a few seconds.
SYSTEM_FOLDERS = {"interop", "fuzz"}
SYSTEM_MODULES = {
    "test_cli",
    "test_images_build",
    "test_linters",
    "test_nbd_stateful",
    "test_pages_disk",
    "test_pages_image",
    "test_pages_server",
    "test_pages_stores",
    "test_pages_tiered",
    "test_pages_upgrade",
    "test_tftp",
    "test_tftp_fetch",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in SYSTEM_FOLDERS or item.path.stem in SYSTEM_MODULES:
            item.add_marker(pytest.mark.system)
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or "vm" in item.path.parent.parts:
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))
