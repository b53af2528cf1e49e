"""Fresh minimal systems of Debian in folders, from this machine's mirror. Needs mmdebstrap and root."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from netboot.images.packages import ARCHIVE_KEYRING

RELEASES = ("bookworm", "trixie")  # Debian 12 and 13
HOST_FILES = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
MACHINE_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check", "Acquire::Retries")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# In namespaces of its own, so that its mounts and processes end with it.
ENTER = """
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount -t sysfs sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/dev/shm"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
chmod 1777 "$1/tmp" "$1/dev/shm"
hostname localhost
exec chroot "$1" su - "$2" -c "$3"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child")


def apt_config() -> str:
    """Return this machine's own settings for downloads, in apt's notation."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return "".join(f"{s}\n" for s in dump.stdout.splitlines() if s.startswith(MACHINE_SETTINGS))


def mirror() -> str:
    """Return the mirror of Debian from which this machine installs."""
    wanted = ("Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


@contextmanager
def system(release: str, packages: str) -> Iterator[Path]:
    """Make a minimal system with ``packages``, with commas; yield its folder, and remove it."""
    with tempfile.TemporaryDirectory(prefix=f"netboot-{release}-") as scratch:
        Path(scratch).chmod(0o755)
        root, config = Path(scratch, "root"), Path(scratch, "apt.conf")
        config.write_text(apt_config())
        options = ["--quiet", "--variant=minbase", f"--include={packages}", f"--aptopt={config}"]
        source = f"deb [signed-by={ARCHIVE_KEYRING}] {mirror()} {release} main"
        subprocess.run(["mmdebstrap", *options, release, str(root), source], check=True)
        for name in HOST_FILES:
            if Path("/", name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path("/", name), root / name)
        shutil.copytree("/etc/apt/auth.conf.d", root / "etc/apt/auth.conf.d", dirs_exist_ok=True)
        pip = [f"export {key}={shlex.quote(it)}" for key, it in os.environ.items() if "PIP_" in key]
        (root / "etc/profile.d/pip.sh").write_text("\n".join([*pip, ""]))
        yield root


def entered(root: Path, user: str, commands: str, *, network: bool = True) -> Sequence[str]:
    """Return the command that runs ``commands`` of sh in a system as ``user``.

    Its environment has to be ENVIRONMENT. Without ``network`` it has a loopback interface alone.
    """
    namespaces = NAMESPACES if network else (*NAMESPACES, "--net")
    inside = f"PATH={PATH} && {commands}"
    return [*namespaces, "sh", "-euc", ENTER, "-", str(root), user, inside]


ENVIRONMENT: Mapping[str, str] = {"PATH": PATH, "TERM": "dumb", "LANG": "C.UTF-8"}
