"""Install Debian's packages into an empty folder, with mmdebstrap."""

import re
import shlex
import shutil
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images.progress import Progress
from netboot.roots.dressing import ENVIRONMENT
from netboot.roots.running import follow
from netboot.roots.sources import Source

LITTLE_ROOM = 64 << 20  # bytes; with less the disk is full
# Lines of mmdebstrap that tell a failure: names of packages have the word "error" in them too.
FAILURES = r"^E: |^Err:|^dpkg: error|No space left|cannot copy extracted|^ *trying to overwrite"


def install(
    root: Path,
    source: Source,
    packages: list[str],
    count: int,
    folder: Path,
    progress: Progress,
) -> None:
    """Install packages and what they need into ``root``. Raises OperatorError.

    With the lists of ``source``: the image has the versions that its key was made of, and a mirror
    whose lists cannot be read now is no obstacle.
    """
    config = folder / "apt.conf"
    config.write_text(source.config)
    command = ["mmdebstrap", "--verbose", "--mode=root", "--variant=essential"]
    command += [f"--architectures={source.architecture}", f"--aptopt={config}"]
    # A build that a power cut breaks off is begun anew, so nothing of it has to be on disk at once.
    command += ["--dpkgopt=force-unsafe-io"]
    lists = source.file.with_name("lists")
    copy = f'cp {shlex.quote(str(lists))}/*_* "$1/var/lib/apt/lists/"'
    command += ["--skip=update", f"--setup-hook={copy}"]
    command += [f"--include={','.join(packages)}", source.base, str(root), str(source.file)]
    # The boot server makes the initramfs; Debian's would take minutes.
    environment = {**ENVIRONMENT, "INITRD": "No", "TMPDIR": str(folder)}
    installing = Installing(progress, count)
    try:
        follow(
            command,
            installing.hear,
            problem="the packages cannot be installed",
            package="mmdebstrap",
            env=environment,
            errors=FAILURES,
        )
    except OperatorError:
        source.forget()  # a package that the lists have may be on no mirror any more
        if shutil.disk_usage(folder).free < LITTLE_ROOM:
            raise OperatorError(f"{folder.parent} is full", hint="free some space there") from None
        raise


class Installing:
    """Progress of mmdebstrap by its output: packages that were downloaded, unpacked, set up."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress, self._count = progress, max(count, 1)
        self._rest, self._step = b"", ""
        self._fetched, self._done = 0, 0

    def hear(self, chunk: bytes) -> None:
        """Report what a chunk of output says."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if re.match(rb"Get:\d+ .* \[", line) and b" Packages [" not in line:
                self._fetched += 1
                self._tell("downloading packages", self._fetched, self._count)
            elif line.startswith((b"Unpacking ", b"Setting up ")):
                self._done += 1
                self._tell("installing packages", self._done, 2 * self._count)

    def _tell(self, step: str, done: int, total: int) -> None:
        if step != self._step:
            self._step = step
            self._progress.step(step)
        self._progress.advance(min(done, total), total)
