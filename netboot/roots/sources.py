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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.images.kernel import kernel_package
from netboot.images.packages import NO_MIRROR, Apt, Mirror, separate_apt, signed_by
from netboot.images.progress import Progress
from netboot.profile.reading import any_of

BASES = ("bookworm", "trixie")
FIRMWARE = "non-free-firmware"
LISTS_AGE = 6 * 3600  # seconds after which a build asks the mirrors for newer packages
STAMP = "asked"
KEPT, MOST_KEPT = "answer-", 16  # files with apt's answers
# A mirror of a server in a school may be slow, and the host's own proxy counts.
PROXY = r"(?im)^Acquire::https?::[^ ]*proxy[^ ]* .*|^Acquire::Check-[^ ]* .*"


@dataclass(frozen=True, slots=True)
class Source:
    """An apt for one base. ``file``: its sources.list. ``config``: settings for mmdebstrap's apt.

    ``complaint``: why its lists could not be refreshed, empty if they were. ``host``: the machine's
    own apt if it has the same base and architecture, which chooses the kernel that PCs boot.
    """

    apt: Apt
    base: str
    architecture: str
    file: Path
    config: str
    complaint: str = ""
    host: Apt | None = None

    def kernel(self, name: str) -> str:
        """Return the package of the kernel that PCs boot, for ``name`` such as linux-image-amd64.

        ``netboot build`` takes the version that the lists of this machine have, which may be older
        than the newest one. Drivers of another version would be of no use.
        """
        if self.host is None:
            return name
        host = self.host
        folders = {Path(row["Filename"]).parent for row in host.mirrors()}

        def ask() -> dict[str, str]:
            known = host.show([name]).get(name)
            return {"kernel": kernel_package(host, known).name if known else name}

        return self._remembered(folders, name, ask)["kernel"]

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """Return the versions that an image with ``packages`` would have. Raises OperatorError."""
        wanted = ["?essential", *packages]
        try:
            lists = {self.file.parent / "lists"}
            return self._remembered(lists, wanted, lambda: self.apt.would_install(wanted))
        except OperatorError as error:
            self.file.with_name(STAMP).unlink(missing_ok=True)  # so that the next build asks again
            if self.complaint:
                raise OperatorError(f"{error}; {self.complaint}", hint=error.hint) from None
            raise

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
    stamp.touch()  # also if it failed: an answer of a mirror that is away takes 10 s
    config = "\n".join(re.findall(PROXY, host.configuration())) + "\n"
    same = not foreign and any(_release(row, base) == row["Release"] for row in host.mirrors())
    own = host if same else None
    return Source(apt, base, architecture, state / "sources.list", config, complaint, own)


def _release(mirror: Mirror, base: str) -> str:
    """Return the mirror's release for another base: bookworm-security is trixie-security."""
    release = mirror["Release"]
    for own in BASES:
        if release == own or release.startswith((f"{own}-", f"{own}/")):
            return base + release.removeprefix(own)
    suffix = re.sub(r"^(old)*stable", "", release)  # sources.list may say "stable"
    return base + suffix if suffix != release else release
