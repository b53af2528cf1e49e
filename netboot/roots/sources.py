"""Where the packages of a root image come from: the Debian mirrors of this machine's apt.

Another release, architecture or component of the same mirrors will do: a separate apt knows their
packages, without a change to the machine's own.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.images.packages import NO_MIRROR, Apt, Mirror, separate_apt, signed_by
from netboot.images.progress import Progress
from netboot.profile.reading import any_of

BASES = ("bookworm", "trixie")
FIRMWARE = "non-free-firmware"
LISTS_AGE = 6 * 3600  # seconds after which a build asks the mirrors for newer packages
STAMP = "asked"
KEPT, MOST_KEPT = "versions-", 8  # files with apt's answers, one for each set of packages
# A mirror of a server in a school may be slow, and the host's own proxy counts.
PROXY = r"(?im)^Acquire::https?::[^ ]*proxy[^ ]* .*|^Acquire::Check-[^ ]* .*"


@dataclass(frozen=True, slots=True)
class Source:
    """An apt for one base. ``file``: its sources.list. ``config``: settings for mmdebstrap's apt.

    ``complaint``: why its lists could not be refreshed, empty if they were.
    """

    apt: Apt
    base: str
    architecture: str
    file: Path
    config: str
    complaint: str = ""

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """Return the versions that an image with ``packages`` would have. Raises OperatorError.

        apt needs 1 to 2 s to find out, so the answer is kept until its lists change.
        """
        wanted = ["?essential", *packages]
        kept = self.file.with_name(f"{KEPT}{self._question(wanted)}.json")
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(kept.read_bytes())
            if isinstance(found, dict) and found:
                os.utime(kept)  # the time of its last use
                return found
        try:
            found = self.apt.would_install(wanted)
        except OperatorError as error:
            if self.complaint:
                raise OperatorError(f"{error}; {self.complaint}", hint=error.hint) from None
            raise
        replace_file(kept, json.dumps(found))
        answers = kept.parent.glob(f"{KEPT}*.json")
        for old in sorted(answers, key=lambda path: path.stat().st_mtime)[:-MOST_KEPT]:
            old.unlink()
        return found

    def _question(self, wanted: Sequence[str]) -> str:
        """Return a name of what apt is asked and of the lists that it knows."""
        lists = (self.file.parent / "lists").glob("*_*")
        state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in lists]
        return hashlib.sha256(repr((wanted, sorted(state))).encode()).hexdigest()[:32]


def own_base() -> str:
    """Return the release of this machine. Raises OperatorError if images cannot have it."""
    try:
        name = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        name = ""
    if name not in BASES:
        bases = any_of(dict.fromkeys(BASES))
        raise OperatorError(
            f"this machine is no Debian {bases}: a definition must say which one it wants",
            hint=f"add 'base: {BASES[0]}' to the definition",
        )
    return name


def source(
    base: str,
    architecture: str,
    cache: Path,
    progress: Progress,
    *,
    firmware: bool,
    fresh: bool,
) -> Source:
    """Return the source of ``base`` for ``architecture``, with ``firmware`` also of that component.

    Its lists are asked for again if ``fresh``, or if that was more than LISTS_AGE ago. Raises
    OperatorError if this machine knows no mirror.
    """
    state = cache / "roots" / f"{base}-{architecture}{'-firmware' if firmware else ''}"
    state.mkdir(parents=True, exist_ok=True)
    stamp = state / STAMP
    aged = not stamp.exists() or not 0 <= time.time() - stamp.stat().st_mtime < LISTS_AGE
    components = f"main {FIRMWARE}" if firmware else "main"

    def line(mirror: Mirror) -> str:
        return f"deb {signed_by()}{mirror['Repo-URI']} {_release(mirror, base)} {components}\n"

    host = Apt(cache / "roots" / "host")
    foreign = architecture != host.architecture()
    settings = {"APT::Architecture": architecture, "APT::Architectures::": architecture}
    apt, complaint = separate_apt(
        host,
        state,
        line,
        settings if foreign else {},
        f"asking the mirrors for packages of {base}",
        progress,
        fresh=fresh or aged,
    )
    if complaint == NO_MIRROR:
        raise OperatorError(NO_MIRROR, hint="sudo apt-get update")
    if not complaint:
        stamp.touch()
    config = "\n".join(re.findall(PROXY, host.configuration())) + "\n"
    return Source(apt, base, architecture, state / "sources.list", config, complaint)


def _release(mirror: Mirror, base: str) -> str:
    """Return the mirror's release for another base: bookworm-security is trixie-security."""
    release = mirror["Release"]
    for own in BASES:
        if release == own or release.startswith((f"{own}-", f"{own}/")):
            return base + release.removeprefix(own)
    suffix = re.sub(r"^(old)*stable", "", release)  # sources.list may say "stable"
    return base + suffix if suffix != release else release
