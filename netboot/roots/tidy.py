"""Remove from a root folder what no seat reads, what differs between builds, and secrets.

The folder may be a stranger's: no symbolic link in it leads a removal out of it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import run
from netboot.images import resources
from netboot.roots import drivers

# Paths with stars. Of the build machine, of the build's moment, or of no use in an image that
# nobody writes: the kernel and its initramfs come from the boot server.
LEFTOVERS = (
    "boot/*",
    "vmlinuz*",
    "initrd.img*",
    "etc/apt/apt.conf.d/99mmdebstrap",  # what this build told apt and dpkg
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/resolv.conf",
    "etc/hostname",
    "etc/*-",
    "etc/.pwd.lock",
    "root/.bash_history",
    "root/.cache",
    "run/*",
    "tmp/*",
    "var/tmp/*",
    "var/backups/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/*",
    "var/cache/man/*",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/systemd/timesync/clock",
    "var/log/apt",
    "var/log/journal/*",
    "var/log/*.log*",
)
DOCUMENTATION = (
    "usr/share/man/*",
    "usr/share/info/*",
    "usr/share/help/*",
    "usr/share/gtk-doc/*",
    "usr/share/lintian/*",
    "usr/share/doc-base/*",
)
TRANSLATIONS = "usr/share/locale"
DOCS = "usr/share/doc"  # licences in it stay
# Paths that tools/strip-secrets writes to or removes.
TOUCHED = (
    "etc/shadow",
    "etc/ssh/key",
    "etc/ssl/private/key",
    "etc/systemd/system/unit",
    "var/lib/dbus/id",
    "var/lib/systemd/seed",
)
HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def strip_secrets(root: Path) -> tuple[str, ...]:
    """Remove secrets and return a line for each. Raises OperatorError."""
    if not (root / "etc").is_dir() or (root / "etc").is_symlink():
        raise OperatorError("there is no folder /etc: this is not the root of a system")
    for path in TOUCHED:
        if not is_inside(root, (root / path).parent):
            raise OperatorError(f"/{path.rpartition('/')[0]} is a link that leads out of the image")
    program = resources.folder("tools") / "strip-secrets"
    done = run(["sh", str(program), str(root)], problem="secrets cannot be removed")
    return tuple(line.removeprefix("strip-secrets: ") for line in done.stderr.splitlines())


def remove_leftovers(root: Path) -> None:
    """Remove what the image must not have of the build. Raises OSError."""
    remove(root, LEFTOVERS)
    hosts = root / "etc/hosts"
    if not os.path.lexists(hosts):
        hosts.write_text(HOSTS)
    # Without these systemd takes each boot for the first one, and makes its tables anew.
    for folder in ("etc", "var"):
        if is_inside(root, root / folder) and (root / folder).is_dir():
            (root / folder / ".updated").touch()


def remove_documentation(root: Path) -> None:
    """Remove manual pages and documents, but no licence. Raises OSError."""
    remove(root, DOCUMENTATION)
    for path in _matching(root, f"{DOCS}/*/*"):
        if path.name != "copyright":
            _remove_path(path)


def remove_translations(root: Path, locales: Iterable[str]) -> None:
    """Remove translations into languages other than those of ``locales``. Raises OSError."""
    kept = {name for each in locales for name in _languages(each)}
    for path in _matching(root, f"{TRANSLATIONS}/*"):
        if path.is_dir() and path.name not in kept:
            _remove_path(path)


def remove_drivers(root: Path, release: str, drop: Iterable[str], keep: Iterable[str]) -> int:
    """Remove drivers of the kernel ``release``; return how many. Raises OperatorError, OSError."""
    folder = root / "lib/modules" / release
    if not is_inside(root, folder):
        raise OperatorError("/lib/modules is a link that leads out of the image")
    table = folder / "modules.dep"
    removed = drivers.left_out(table.read_text(), drop, keep) if table.is_file() else ()
    for path in removed:
        if is_inside(root, (folder / path).parent):
            (folder / path).unlink(missing_ok=True)
    run(
        ["depmod", "-b", str(root), release],
        problem=f"the table of drivers of {release} cannot be made",
        package="kmod",
    )
    for where, folders, names in os.walk(folder / "kernel", topdown=False):
        if not folders and not names:
            with contextlib.suppress(OSError):
                os.rmdir(where)
    return len(removed)


def kernels(root: Path) -> tuple[str, ...]:
    """Return the releases of the kernels whose modules the folder has."""
    for name in ("lib/modules", "usr/lib/modules"):
        folder = root / name
        if folder.is_dir() and is_inside(root, folder):
            found = sorted(each.name for each in folder.iterdir() if (each / "kernel").is_dir())
            if found:
                return tuple(found)
    return ()


def remove(root: Path, patterns: Iterable[str]) -> None:
    """Remove files and folders by names with stars. Raises OSError."""
    for pattern in patterns:
        for path in _matching(root, pattern):
            _remove_path(path)


def has_driver(root: Path, driver: str) -> bool:
    """Return whether all kernels of the folder have a driver, such as fs/nfs/nfsv4, or are built with it."""
    folders = [root / "usr/lib/modules" / each for each in kernels(root)]
    if not all(folder.is_dir() for folder in folders):
        folders = [root / "lib/modules" / each for each in kernels(root)]
    return all(
        any(folder.glob(f"kernel/{driver}.ko*")) or _has_built_in(folder, driver)
        for folder in folders
    )


def _has_built_in(folder: Path, driver: str) -> bool:
    table = folder / "modules.builtin"
    return table.is_file() and f"kernel/{driver}.ko" in table.read_text().splitlines()


def _languages(locale: str) -> set[str]:
    """Return the folders of a locale: de_AT.UTF-8@euro has those of de, de_AT, de_AT@euro, ..."""
    name, _, modifier = locale.partition("@")
    name = name.partition(".")[0]
    found = {name, name.partition("_")[0]}
    return found | ({f"{each}@{modifier}" for each in found} if modifier else set())


def _matching(root: Path, pattern: str) -> Iterator[Path]:
    """Yield paths below ``root`` that are not reached by a link out of it."""
    for path in sorted(root.glob(pattern)):
        if is_inside(root, path.parent):
            yield path


def is_inside(root: Path, folder: Path) -> bool:
    """Return whether no link leads from ``folder`` out of the system."""
    real = os.path.realpath(folder)
    whole = os.path.realpath(root)
    return real == whole or real.startswith(f"{whole}/")


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
