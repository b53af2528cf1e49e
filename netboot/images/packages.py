"""Debian packages: found with apt-cache, downloaded and verified by apt, unpacked, not installed.

apt runs as any user. It writes its binary index and its downloads to our own cache folder; the
host's package system is only read. So the packages are those of the host's own release. Places that
differ between releases are alternatives in one row (boot/arch.py, drivers.py): the first that is
there is used.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import ENGLISH, cause, run
from netboot.images.progress import Progress

ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UPDATE_SECONDS = 10  # for a mirror to answer; a build succeeds without firmware
RELEASES, MACHINE = ("12", "13"), "x86_64"  # of Debian, and uname -m; tools/setup knows them too
MADE_FOR = f"images are made of packages of Debian {' and '.join(RELEASES)} on amd64"
NO_MIRROR = "this machine's apt knows no mirror of Debian"
MERGED = ("bin", "lib", "sbin")  # Debian 13's packages have these below usr/, Debian 12's do not

Mirror = dict[str, str]  # a package list that apt knows: fields of apt-get indextargets


@dataclass(frozen=True, slots=True)
class Package:
    """The version of a package that apt would install; ``depends`` is from its control file."""

    name: str
    version: str
    depends: str


class Apt:
    """apt, with its index in the folder ``state``.

    With ``config``, a file for APT_CONFIG, it is a separate apt with package lists of its own.
    """

    def __init__(self, state: Path, config: Path | None = None) -> None:
        state.mkdir(parents=True, exist_ok=True)
        # The index takes 0.8 s to make; Debian's container images do not keep it.
        options = {
            "Dir::Cache": str(state),
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",  # user _apt cannot write to our folders
        }
        self._options = [f"-o{key}={value}" for key, value in options.items()]
        self._environment: dict[str, str] = {}
        self._lists_are_ours = config is not None
        if config:
            self._environment["APT_CONFIG"] = str(config)

    def show(self, names: Iterable[str]) -> dict[str, Package]:
        """Return the packages of ``names`` that exist, by name."""
        text = self._run(["apt-cache", "show", "--no-all-versions", *names]).stdout
        packages = {}
        for paragraph in text.split("\n\n"):
            fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
            if "Package" in fields:
                package = Package(fields["Package"], fields["Version"], fields.get("Depends", ""))
                packages[package.name] = package
        return packages

    def need(self, names: Sequence[str], hint: str = "") -> dict[str, Package]:
        """Return the packages ``names``, by name. Raises OperatorError if one is unknown."""
        packages = self.show(names)
        if self._lists_are_ours and len(packages) < len(set(names)):
            self.update()  # the last one may have failed in the middle
            packages = self.show(names)
        for name in names:
            if name not in packages:
                raise OperatorError(
                    f"apt knows no package {name}",
                    hint=hint or "refresh its lists: sudo apt-get update",
                )
        return packages

    def need_one(self, names: Sequence[str]) -> Package:
        """Return the first of the packages ``names`` that exists. Raises OperatorError."""
        known = self.show(names)
        return (
            next((known[name] for name in names if name in known), None)
            or (self.need(names[-1:])[names[-1]])
        )

    def download(self, package: Package, folder: Path, progress: Progress) -> Path:
        """Download the .deb into ``folder``; apt verifies it. Raises OperatorError."""
        progress.step(f"downloading {package.name} {package.version}")
        reader, writer = os.pipe()
        command = ["apt-get", *self._options, f"-oAPT::Status-Fd={writer}", "-q", "download"]
        with subprocess.Popen(
            [*command, f"{package.name}={package.version}"],
            cwd=folder,
            env={**os.environ, **ENGLISH, **self._environment},
            pass_fds=[writer],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as apt:
            os.close(writer)
            with open(reader) as status:
                for line in status:  # dlstatus:NUMBER:PERCENT:TEXT
                    progress.advance(int(float(line.split(":")[2])), 100)
            _, complaint = apt.communicate()
        found = list(folder.glob(f"{package.name}_*.deb"))
        if apt.returncode or not found:
            raise OperatorError(
                f"{package.name} {package.version} could not be downloaded: {cause(apt.returncode, complaint)}",
                hint="refresh apt's lists: sudo apt-get update",
            )
        return found[0]

    def update(self) -> str:
        """Refresh the package lists. Return the error, empty if there was none."""
        done = self._run(["apt-get", "-q", "update"])
        return cause(done.returncode, done.stderr) if done.returncode else ""

    def targets(self) -> list[dict[str, str]]:
        """Return the package lists that apt knows (``apt-get indextargets``), fields by name."""
        done = self._run(["apt-get", "indextargets", "Created-By: Packages"])
        return [
            dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
            for paragraph in done.stdout.strip().split("\n\n")
            if paragraph
        ]

    def mirrors(self) -> list[dict[str, str]]:
        """Return the package lists of Debian's own mirrors, without other components than main."""
        # A repository of others may have neither field, and has none before its first update.
        return [
            row
            for row in self.targets()
            if (row.get("Origin"), row.get("Component")) == ("Debian", "main")
        ]

    def would_install(self, names: Sequence[str]) -> dict[str, str]:
        """Return the versions of all packages that apt would install for ``names``, by name.

        Raises OperatorError.
        """
        command = ["apt-get", "-s", "-y", "-oAPT::Install-Recommends=false", "install", *names]
        done = self._run(command)
        if done.returncode:
            raise OperatorError(
                f"apt cannot install the packages: {cause(done.returncode, done.stderr)}",
                hint="correct the names, or refresh the lists: sudo apt-get update",
            )
        found = re.findall(r"^Inst (\S+) \((\S+) ", done.stdout, re.MULTILINE)
        return dict(sorted(found))

    def architecture(self) -> str:
        """Return Debian's name of the architecture of these packages."""
        shell = self._run(["apt-config", "shell", "name", "APT::Architecture"]).stdout
        return shell.strip().partition("=")[2].strip("'")

    def configuration(self) -> str:
        """Return apt's whole configuration, in its own notation."""
        return self._run(["apt-config", "dump"]).stdout

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        return run(
            [program, *self._options, *arguments],
            hint=MADE_FOR,
            env=self._environment,
            check=False,
        )


def firmware_apt(host: Apt, state: Path, progress: Progress) -> tuple[Apt, str]:
    """Return a separate apt for the host's Debian mirrors with the component non-free-firmware.

    See ``foreign_apt``.
    """
    return _apart(host, state, "non-free-firmware", {}, "looking for firmware packages", progress)


def foreign_apt(host: Apt, architecture: str, state: Path, progress: Progress) -> tuple[Apt, str]:
    """Return a separate apt for the host's Debian mirrors with another architecture.

    Return also the error of refreshing its lists, empty if there was none. They are refreshed if
    the host's lists are newer.
    """
    settings = {"APT::Architecture": architecture, "APT::Architectures::": architecture}
    text = f"looking for packages of {architecture}"
    return _apart(host, state, "main", settings, text, progress)


def _apart(
    host: Apt, state: Path, component: str, more: dict[str, str], text: str, progress: Progress
) -> tuple[Apt, str]:
    def line(mirror: Mirror) -> str:
        return f"deb {signed_by()}{mirror['Repo-URI']} {mirror['Release']} {component}\n"

    return separate_apt(host, state, line, more, text, progress)


def signed_by() -> str:
    """Return the option of a line in sources.list that names Debian's keys, if they are here."""
    return f"[signed-by={ARCHIVE_KEYRING}] " if ARCHIVE_KEYRING.exists() else ""


def separate_apt(
    host: Apt,
    state: Path,
    line: Callable[[Mirror], str],
    more: dict[str, str],
    text: str,
    progress: Progress,
    *,
    fresh: bool = False,
) -> tuple[Apt, str]:
    """Return a separate apt: ``line`` gives its source for a mirror of the host's, ``more`` settings.

    Return also the error of refreshing its lists, empty if there was none. They are refreshed if
    the host's lists are newer, if the sources are not those of the last time, or if ``fresh``; the
    display then gets the step ``text``.
    """
    lists, config = state / "lists", state / "apt.conf"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    mirrors = host.mirrors()
    file, sources = state / "sources.list", "".join(dict.fromkeys(map(line, mirrors)))
    fresh = fresh or not file.exists() or file.read_text() != sources
    file.write_text(sources)
    settings = {
        "Dir::Etc::sourcelist": str(file),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::State::lists": str(lists),
        "Dir::State::status": "/dev/null",
        "APT::Update::Error-Mode": "any",  # by default an unreachable mirror is no error
        "Acquire::Languages": "none",
        "Acquire::Retries": "0",
        "Acquire::http::Timeout": str(UPDATE_SECONDS),
        "Acquire::https::Timeout": str(UPDATE_SECONDS),
        **more,
    }
    # The host's own settings (a proxy, for example), without its hooks for an update.
    kept = [line for line in host.configuration().splitlines() if "Invoke" not in line]
    kept += ["#clear APT::Architectures;"] if more else []
    kept += [f'{key} "{value}";' for key, value in settings.items()]
    config.write_text("\n".join(kept) + "\n")
    apart = Apt(state / "cache", config)
    if not mirrors:
        return apart, NO_MIRROR
    if not fresh and not any(_stale(Path(row["Filename"]).parent, lists) for row in mirrors):
        return apart, ""
    progress.step(text)
    return apart, apart.update()


def _stale(host: Path, ours: Path) -> bool:
    """Return True if ``host`` has a newer version of a release that both folders list.

    apt gives a list the time at which the mirror changed it, so no clock is involved.
    """
    releases = list(ours.glob("*InRelease"))
    return not releases or any(
        (host / path.name).exists() and (host / path.name).stat().st_mtime > path.stat().st_mtime
        for path in releases
    )


def unpack(deb: Path, folder: Path) -> None:
    """Unpack a package's files into ``folder``, with all of MERGED below usr/. Raises OperatorError."""
    run(["dpkg-deb", "-x", str(deb), str(folder)], problem=f"{deb.name} cannot be unpacked")
    for name in MERGED:
        path, merged = folder / name, folder / "usr" / name
        if path.is_dir() and merged.exists():
            shutil.copytree(path, merged, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(path)
        elif path.is_dir():
            merged.parent.mkdir(exist_ok=True)
            path.rename(merged)


def file_of(package: str, folder: Path, *places: str) -> Path:
    """Return the first of ``places`` that the unpacked ``package`` has. Raises OperatorError."""
    for place in places:
        if (folder / place).exists():
            return folder / place
    raise OperatorError(
        f"Debian's package {package} has no file {' or '.join(places)}",
        hint=f"{MADE_FOR}; this is {system()}",
    )


def system() -> str:
    """Return this system, such as ``Debian GNU/Linux 12 (bookworm) on x86_64``."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        name = "an unknown system"
    return f"{name} on {platform.machine()}"


def is_supported() -> bool:
    """Return True on a release of Debian in RELEASES and a processor of MACHINE."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    is_debian = release["ID"] == "debian" and release.get("VERSION_ID") in RELEASES
    return is_debian and platform.machine() == MACHINE
