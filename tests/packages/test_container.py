"""The Containerfile, built with buildah and run with podman, in a network namespace of its own.

The base is a system of mmdebstrap, because a test asks no registry of images.
"""

import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.deploy import packaged
from tests import ROOT
from tools import chroots
from tools.deb.__main__ import SUFFIX, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.system,
    pytest.mark.nightly,
    pytest.mark.long,
    pytest.mark.timeout(3600),
]

RELEASE = "bookworm"
PROFILE = "interface: lan0\nswap: {size: 1x, capacity: 32MiB}\n"
# $1: podman's global options, $2: the options of each container.
IMAGES = f"apt-get update -q && netboot build --output {packaged.IMAGES}"
SERVE = """
ip link set lo up; ip link add lan0 type veth peer name end; ip link set end up
ip address add 10.99.0.1/24 dev lan0; ip link set lan0 up
podman $1 run --detach --name server --cap-add NET_RAW $2 netboot
podman $1 exec server netboot doctor --wait 120 || { podman $1 logs server; exit 1; }
podman $1 exec server cat /proc/1/status | grep -P '^Uid:\\t(?!0\\t)'
podman $1 stop --time 60 server
podman $1 rm server
"""


@pytest.fixture
def storage() -> Iterator[Path]:
    """Make a folder for podman, which takes no path of more than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="netboot-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def limits() -> str:
    """Return podman's options for the limits of this process: it may not raise them everywhere."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return f"--ulimit nofile={files}:{files} --ulimit nproc=4096:4096"


def _run(*words: str) -> str:
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_container_serves_a_room(tmp_path: Path, storage: Path, limits: str) -> None:
    made = build(RELEASE, tmp_path / "dist")
    options = f"--root {storage / 'root'} --runroot {storage / 'run'}"
    podman = ["podman", *options.split(), "--runtime", "runc"]
    with chroots.system(RELEASE, "ca-certificates") as root:
        _run("tar", "--exclude=./dev", "-C", str(root), "-cf", str(tmp_path / "base.tar"), ".")
    _run(*podman, "import", str(tmp_path / "base.tar"), "localhost/base")
    file = ROOT / "packaging/container/Containerfile"
    arguments = ["--build-arg=BASE=localhost/base", f"--build-arg=RELEASE={SUFFIX[RELEASE][3:]}"]
    command = ["build", "--isolation=chroot", "--tag=netboot", f"--file={file}", *arguments]
    _run("buildah", *options.split(), *command, str(made.parent))
    volumes = "--network host " + limits
    for name in ("/etc/netboot", "/var/lib/netboot", "/var/cache/netboot"):
        (folder := tmp_path / Path(name).parent.name).mkdir()
        volumes += f" --volume {folder}:{name}"
    (tmp_path / "etc/profile.yaml").write_text(PROFILE)
    try:
        _run(*podman, "run", "--rm", *volumes.split(), "netboot", "sh", "-c", IMAGES)
        serve = ["unshare", "--net", "sh", "-euc", SERVE, "sh"]
        told = _run(*serve, f"{options} --runtime runc", volumes)
        assert "a page written and read back" in told
    finally:
        subprocess.run([*podman, "rm", "--all", "--force"], check=False, capture_output=True)
        subprocess.run([*podman, "rmi", "--all", "--force"], check=False, capture_output=True)
