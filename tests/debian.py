"""Fresh minimal systems of Debian 12 and 13, each used as a newcomer does: ``make nightly-long``.

Each is a chroot with an ordinary user who may use sudo. The user clones this checkout, runs the
documented commands, and takes everything away again. Packages come from this machine's mirror, with
this machine's settings of apt and pip. Needs root, half an hour and 6 GB of disk.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import ROOT
from tools import chroots

# A machine has an init. Debian 13's apt lets nobody remove that one.
MINIMAL = "ca-certificates,git,make,sudo,python3,systemd-sysv"
USER = "teacher"
CLONE = f"/home/{USER}/netboot"
# What a package may have enabled or left: links of systemd and of init scripts, and the policy.
ENABLED = "find /etc/systemd /etc/rc[2-5].d -type l -name '[!K]*' | sort; ls /usr/sbin/policy-rc.d"
RUNNING = "grep -xE 'sshd|libvirtd|virtlogd' /proc/[0-9]*/comm"
PACKAGES = "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' | grep ^installed"
BUILD = ".venv/bin/netboot build -p profiles/lab.yaml -o build/images"

# The steps of a newcomer, and the checks between them: a name, and commands in the clone.
STEPS = (
    ("before", f"({ENABLED}) >~/enabled 2>/dev/null; {PACKAGES} >~/packages"),
    ("setup", "make setup"),
    ("setup again", "timeout 10 make setup"),
    ("demo", "make demo"),
    ("unit", "make unit"),
    ("all sets", f"tools/setup demo develop vagrant test && ! {RUNNING}"),
    ("no service", f"({ENABLED}) 2>/dev/null | diff ~/enabled -"),
    ("build", f"{BUILD} --set boot.architectures=amd64,arm64"),
    ("medium", ".venv/bin/netboot media -o build/netboot.iso"),
    ("remove", "yes | tools/setup --remove"),
    ("as before", f"{PACKAGES} | diff ~/packages - && test ! -e .venv -a ! -e /var/cache/netboot"),
)


@contextmanager
def system(release: str) -> Iterator[Path]:
    """Make a minimal system with a clone and a user; yield its folder, and remove it."""
    with chroots.system(release, MINIMAL) as root:
        (root / "etc/sudoers.d" / USER).write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        subprocess.run(["chroot", root, "useradd", "-m", "-s", "/bin/bash", USER], check=True)
        # Not by a path of the host: a chroot does not see it.
        clone = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), f"{root}{CLONE}"]
        subprocess.run(clone, check=True)
        subprocess.run(["chroot", root, "chown", "-R", f"{USER}:", CLONE], check=True)
        yield root


def step(root: Path, name: str, commands: str, log: Path) -> bool:
    """Run one step as the user, with its output in ``log``; return whether it succeeded."""
    words = chroots.entered(root, USER, f"cd {CLONE} && {commands}")
    began = time.monotonic()
    with log.open("w") as output:
        done = subprocess.run(
            words,
            env=chroots.ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    took = time.monotonic() - began
    ok = done.returncode == 0
    tell(f"  {name:<12} {'ok' if ok else 'FAILED':<7} {took:6.1f} s  {log}")
    for line in log.read_text(errors="replace").splitlines()[-3 if ok else -30 :]:
        tell(f"      | {line}")
    return ok


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def newcomer(release: str, logs: Path) -> bool:
    """Do all steps on a fresh system until one fails; return whether none did."""
    tell(f"{release}:")
    with system(release) as root:
        return all(
            step(root, name, commands, logs / f"{release}-{name.replace(' ', '-')}.log")
            for name, commands in STEPS
        )


def main() -> int:
    """Return 0 if each release passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", metavar="RELEASE", default=chroots.RELEASES)
    parser.add_argument("--logs", type=Path, default=ROOT / "lab-logs/debian")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the systems are removed
    wanted.logs.mkdir(parents=True, exist_ok=True)
    passed = [newcomer(release, wanted.logs) for release in wanted.releases]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
