"""Debian's releases: the name of another one at a mirror, and the apt that knows it.

A mirror of Debian has all supported releases. Its index of each is signed by Debian's keys, which are
in the keyring of every release (apt-secure(8)); apt refuses what is not.
"""

import platform
import re
import time
from pathlib import Path

from netboot.images.packages import Apt, Mirror, separate_apt, signed_by
from netboot.images.progress import Progress
from netboot.profile.processors import AMD64, RELEASES, Processor

BASES = RELEASES
NEWEST = BASES[-1]
LISTS_AGE = 7 * 86400  # seconds; a release gets another iPXE a few times in its life, if ever
KERNEL_LISTS_AGE = 86400  # a mirror soon removes the kernel before the newest one
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
    text = f"looking for the boot loaders of Debian {NEWEST}"
    return _apt_of(host, NEWEST, AMD64, state, LISTS_AGE, text, progress)


def kernel_apt(
    host: Apt, release: str, processor: Processor, state: Path, progress: Progress
) -> tuple[Apt, str]:
    """Return a separate apt for another release at the host's mirrors, for its kernels.

    Return also the error of refreshing its lists, empty if there was none. They are refreshed if
    they are older than KERNEL_LISTS_AGE.
    """
    text = f"looking for kernels of Debian {release}"
    return _apt_of(host, release, processor, state, KERNEL_LISTS_AGE, text, progress)


def _apt_of(
    host: Apt,
    release: str,
    processor: Processor,
    state: Path,
    age: float,
    text: str,
    progress: Progress,
) -> tuple[Apt, str]:
    def line(mirror: Mirror) -> str:
        return f"deb {signed_by()}{mirror['Repo-URI']} {release_of(mirror, release)} main\n"

    stamp = state / STAMP
    fresh = not stamp.exists() or not 0 <= time.time() - stamp.stat().st_mtime < age
    settings = {"APT::Architecture": processor.name, "APT::Architectures::": processor.name}
    apt, complaint = separate_apt(host, state, line, settings, text, progress, fresh=fresh)
    stamp.touch()  # also if it failed: an answer of a mirror that is away takes 10 s
    return apt, complaint
