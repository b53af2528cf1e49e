"""``make deb``: build the Debian package for each release, in a fresh system of it, without a network.

Packages of Debian and wheels of PyPI are downloaded before, the wheels by the hashes of
requirements.lock. lintian examines the package: an error ends the build.
"""

import argparse
import hashlib
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import netboot
from netboot.cli.ending import finish
from netboot.deploy import bundle, layout
from netboot.errors import FailedError
from tools import chroots

# The Python of each release, and what its version of the package ends with: it sorts by release.
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
SUFFIX = {"bookworm": "-1+deb12", "trixie": "-1+deb13"}
NEEDED = "ca-certificates,debhelper,dh-python,lintian,python3,python3-venv"
TREE = "/build/netboot-classroom"
COPIED = ("README.md", "CHANGELOG.md", "LICENSE", "docs", "tools")
CHANGELOG = """\
{package} ({version}) {release}; urgency=medium

  * Built from a clone. CHANGELOG.md lists the changes.

 -- {maintainer}  {date}
"""
# -d: build-essential is missing; nothing is compiled.
BUILD = f"""cd {TREE}
dpkg-buildpackage --build=binary --no-sign -d && lintian --fail-on error ../*.deb
"""


def build(release: str, output: Path) -> Path:
    """Build the package for ``release`` and return it, in ``output``. Raises OperatorError."""
    work = bundle.WORK
    work.mkdir(parents=True, exist_ok=True)
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
    target = bundle.Target(PYTHON[release], machine.stdout.strip())
    wheels, own = bundle.dependencies(target, work), bundle.wheel(work)
    with chroots.system(release, NEEDED) as root:
        _fill(Path(f"{root}{TREE}"), release, wheels, own)
        words = chroots.entered(root, "root", BUILD, network=False)
        done = subprocess.run(words, env=chroots.ENVIRONMENT, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise FailedError(f"the package for {release}: its build failed; see the lines above")
        (made,) = Path(f"{root}{TREE}").parent.glob("*.deb")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, output))


def _fill(tree: Path, release: str, wheels: Path, own: Path) -> None:
    """Make the source tree of the package."""
    for name in COPIED:
        source, target = bundle.CHECKOUT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=bundle.LEFT_OUT)
        else:
            shutil.copyfile(source, target)
    shutil.copytree(bundle.CHECKOUT / "packaging/debian", tree / "debian")
    shutil.copytree(wheels, tree / "wheels")
    shutil.copyfile(own, tree / "wheels" / own.name)
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    lock = (bundle.CHECKOUT / "requirements.lock").read_text()
    line = f"{layout.PACKAGE}=={netboot.__version__} --hash=sha256:{digest}\n"
    (tree / "requirements.txt").write_text(line + lock)
    (tree / "debian/changelog").write_text(changelog(release, datetime.now(UTC)))


def changelog(release: str, now: datetime) -> str:
    """Return debian/changelog, which has the version."""
    control = (bundle.CHECKOUT / "packaging/debian/control").read_text()
    return CHANGELOG.format(
        package=layout.PACKAGE,
        version=netboot.__version__ + SUFFIX[release],
        release=release,
        maintainer=control.partition("Maintainer: ")[2].partition("\n")[0],
        date=format_datetime(now),
    )


def main() -> None:
    """Build the packages that the command line names, and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", metavar="RELEASE", default=chroots.RELEASES)
    parser.add_argument("--output", type=Path, default=bundle.CHECKOUT / "dist")
    wanted = parser.parse_args()
    for release in wanted.releases:
        if release not in PYTHON:
            parser.error(f"RELEASE: expected {' or '.join(PYTHON)}, found '{release}'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the systems are removed
    for release in wanted.releases:
        sys.stdout.write(f"{build(release, wanted.output)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(finish(main))
