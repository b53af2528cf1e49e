"""Debian's releases: the name of another one at a mirror, and the apt that knows the newest one.

A mirror of Debian has all supported releases. Its index of each is signed by Debian's keys, which are
in the keyring of every release (apt-secure(8)); apt refuses what is not.
"""

import platform
import re
import time
from pathlib import Path

from netboot.images.packages import Apt, Mirror, separate_apt, signed_by
from netboot.images.progress import Progress
from netboot.profile.processors import AMD64

BASES = ("bookworm", "trixie")  # the oldest first
NEWEST = BASES[-1]
LISTS_AGE = 7 * 86400  # seconds; a release gets another iPXE a few times in its life, if ever
STAMP = "asked"


def own_release() -> str:
    """Return the name of this machine's release; empty if it has none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def release_of(mirror: Mirror, base: str) -> str:
    """Return the mirror's release for another base: bookworm-security is trixie-security."""
    release = mirror["Release"]
    for own in BASES:
        if release == own or release.startswith((f"{own}-", f"{own}/")):
            return base + release.removeprefix(own)
    suffix = re.sub(r"^(old)*stable", "", release)  # sources.list may say "stable"
    return base + suffix if suffix != release else release


def newest_apt(host: Apt, state: Path, progress: Progress) -> tuple[Apt | None, str]:
    """Return a separate apt for the newest release at the host's mirrors, None if the host's has it.

    Return also the error of refreshing its lists, empty if there was none. They are refreshed if
    they are older than LISTS_AGE.
    """
    if own_release() not in BASES[:-1]:
        return None, ""

    def line(mirror: Mirror) -> str:
        return f"deb {signed_by()}{mirror['Repo-URI']} {release_of(mirror, NEWEST)} main\n"

    stamp = state / STAMP
    fresh = not stamp.exists() or not 0 <= time.time() - stamp.stat().st_mtime < LISTS_AGE
    apt, complaint = separate_apt(
        host,
        state,
        line,
        {"APT::Architecture": AMD64.name, "APT::Architectures::": AMD64.name},
        f"looking for the boot loaders of Debian {NEWEST}",
        progress,
        fresh=fresh,
    )
    stamp.touch()  # also if it failed: an answer of a mirror that is away takes 10 s
    return apt, complaint
