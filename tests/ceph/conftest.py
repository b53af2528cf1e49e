"""One Ceph cluster for all tests of this folder (tests/support/ceph.py)."""

from collections.abc import Iterator

import pytest

from netboot.pages.stores.rbd import CONF_VARIABLE
from tests import ROOT
from tests.support import ceph


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of them: the cluster takes 0.5 to 2 GB of memory."""
    for item in items:
        if item.path.is_relative_to(ceph.FOLDER):
            item.add_marker(pytest.mark.nightly)
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph.Cluster]:
    """Yield the cluster, which ``rbd:swap`` means in these tests."""
    if not ceph.is_installed():
        pytest.skip("Ceph is not installed: tools/setup ceph")
    made = ceph.Cluster(tmp_path_factory.mktemp("ceph"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONF_VARIABLE, str(made.conf))
        patch.setenv("PYTHONPATH", str(ROOT))  # workers are of this tree
        yield made
    made.stop()
