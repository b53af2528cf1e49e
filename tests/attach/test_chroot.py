"""The package of nbd-attach in a clean system of each release: examined, installed, used, purged."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import chroots, nbd_attach

pytestmark = [
    pytest.mark.root,
    pytest.mark.system,
    pytest.mark.nightly,
    pytest.mark.long,
    pytest.mark.timeout(1800),
]

NEEDED = "ca-certificates,lintian,systemd-sysv,nbdkit,iproute2"
STEPS = """
lintian --fail-on error --allow-root /root/*.deb
apt-get -q -y install /root/*.deb
systemd-analyze verify --man=no /usr/lib/systemd/system/nbd-attach@.service
ip link set lo up
nbdkit -i 127.0.0.1 memory 1M
nbd-attach --check 127.0.0.1/ | grep 'size=1048576 .* generation=none'
nbd-attach --status
echo EXPORT=127.0.0.1/ >/etc/nbd-attach.d/own.conf
apt-get -q -y purge nbd-attach
test ! -e /usr/sbin/nbd-attach
test -e /etc/nbd-attach.d/own.conf
"""


@pytest.mark.parametrize("release", chroots.RELEASES)
def test_the_package_is_installed_and_purged(release: str, tmp_path: Path) -> None:
    deb = nbd_attach.package(nbd_attach.program(tmp_path), tmp_path)
    with chroots.system(release, NEEDED) as root:
        shutil.copy(deb, root / "root")
        words = chroots.entered(root, "root", f"set -eux\n{STEPS}", network=False)
        done = subprocess.run(words, env=chroots.ENVIRONMENT, check=False)
    assert done.returncode == 0
