"""Where the packages of a root image come from: the Debian mirrors of this machine's apt.

Another release, architecture or component of the same mirrors will do: a separate apt knows their
packages, without a change to the machine's own. The kernel is always one of this machine's release,
because PCs boot such a one.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.images.kernel import kernel_package
from netboot.images.packages import (
    NO_MIRROR,
    Apt,
    Mirror,
    foreign_apt,
    separate_apt,
    signed_by,
)
from netboot.images.progress import Progress
from netboot.images.releases import BASES, own_release, release_of
from netboot.profile.reading import any_of

PREFERRED = "APT::Default-Release"
FIRMWARE = "non-free-firmware"
LISTS_AGE = 6 * 3600  # seconds after which a build asks the mirrors for newer packages
STAMP = "asked"
KEPT, MOST_KEPT = "answer-", 16  # files with apt's answers
# A mirror of a server in a school may be slow, and the host's own proxy counts.
PROXY = r"(?im)^Acquire::https?::[^ ]*proxy[^ ]* .*|^Acquire::Check-[^ ]* .*"


@dataclass(frozen=True, slots=True)
class Source:
    """An apt for one base. ``file``: its sources.list. ``config``: settings for mmdebstrap's apt.

    ``complaint``: why its lists could not be refreshed, empty if they were. ``kernels``: the apt that
    chooses the kernel which PCs boot, None if that kernel cannot be installed in this base.
    """

    apt: Apt
    base: str
    architecture: str
    file: Path
    config: str
    complaint: str = ""
    kernels: Apt | None = None

    def kernel(self, name: str) -> str:
        """Return the package of the kernel that PCs boot, for ``name`` such as linux-image-amd64.

        ``netboot build`` takes the version that the lists of this machine have, which may be older
        than the newest one. Drivers of another version would be of no use.
        """
        if self.kernels is None:
            return name
        kernels = self.kernels
        folders = {Path(row["Filename"]).parent for row in kernels.mirrors()}

        def ask() -> dict[str, str]:
            known = kernels.show([name]).get(name)
            return {"kernel": kernel_package(kernels, known).name if known else name}

        return self._remembered(folders, name, ask)["kernel"]

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """Return the versions that an image with ``packages`` would have. Raises OperatorError."""
        wanted = ["?essential", *packages]
        try:
            lists = {self.file.parent / "lists"}
            return self._remembered(lists, wanted, lambda: self.apt.would_install(wanted))
        except OperatorError as error:
            self.forget()
            if self.complaint:
                raise OperatorError(f"{error}; {self.complaint}", hint=error.hint) from None
            raise

    def forget(self) -> None:
        """Let the next build ask the mirrors for newer lists. Raises OSError."""
        self.file.with_name(STAMP).unlink(missing_ok=True)

    def _remembered(
        self, folders: Iterable[Path], question: object, ask: Callable[[], dict[str, str]]
    ) -> dict[str, str]:
        """Return the answer of apt, which is kept until the package lists in ``folders`` change.

        apt needs 1 to 2 s for each.
        """
        lists = [path for folder in folders for path in folder.glob("*_*")]
        state = sorted((str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in lists)
        name = hashlib.sha256(repr((question, state)).encode()).hexdigest()[:32]
        kept = self.file.with_name(f"{KEPT}{name}.json")
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(kept.read_bytes())
            if isinstance(found, dict) and found:
                os.utime(kept)  # the time of its last use
                return found
        found = ask()
        replace_file(kept, json.dumps(found))
        answers = kept.parent.glob(f"{KEPT}*.json")
        for old in sorted(answers, key=lambda path: path.stat().st_mtime)[:-MOST_KEPT]:
            old.unlink()
        return found


def own_base() -> str:
    """Return the release of this machine. Raises OperatorError if images cannot have it."""
    name = own_release()
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

    host = Apt(cache / "roots" / "host")
    foreign = architecture != host.architecture()
    own = _release_of_kernels(base)
    releases = dict.fromkeys((base, own or base))

    def lines(mirror: Mirror) -> str:
        start = f"deb {signed_by()}{mirror['Repo-URI']}"
        return "".join(f"{start} {release_of(mirror, each)} {components}\n" for each in releases)

    settings = {"APT::Architecture": architecture, "APT::Architectures::": architecture}
    if len(releases) > 1:
        settings |= {PREFERRED: f"/^{base}/"}
    apt, complaint = separate_apt(
        host,
        state,
        lines,
        settings if foreign or len(releases) > 1 else {},
        f"asking the mirrors for packages of {base}",
        progress,
        fresh=fresh or aged,
    )
    if complaint == NO_MIRROR:
        raise OperatorError(NO_MIRROR, hint="sudo apt-get update")
    stamp.touch()  # also if it failed: an answer of a mirror that is away takes 10 s
    config = "\n".join(re.findall(PROXY, host.configuration())) + "\n"
    if PREFERRED in settings:
        config += f'{PREFERRED} "{settings[PREFERRED]}";\n'
    kernels = host
    if foreign:  # the lists by which the boot images of these PCs are made (images/part.py)
        folder = cache / f"apt-{architecture}"
        kernels, _ = foreign_apt(host, architecture, folder, progress)
    return Source(
        apt, base, architecture, state / "sources.list", config, complaint, kernels if own else None
    )


def _release_of_kernels(base: str) -> str:
    """Return the release whose kernels the PCs boot; empty if ``base`` cannot have them.

    That is the release of this machine. A newer base can have an older kernel; an older one lacks
    what a newer kernel's package needs.
    """
    with contextlib.suppress(OperatorError):
        own = own_base()
        if BASES.index(own) <= BASES.index(base):
            return own
    return ""
