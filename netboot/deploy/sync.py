"""The copy of a boot server: its root images, boot files and profile, brought to another one.

All that is large goes to a place where nothing is served from, is compared with its digests there,
and is moved in with one rename. So the other server has all of an image or none of it, and what it
has by digest is not sent again.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netboot.deploy.layout import SERVICE
from netboot.deploy.peer import Peer
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, READABLE
from netboot.images import manifest
from netboot.images.manifest import MANIFEST_FILE
from netboot.images.progress import Progress
from netboot.roots.library import CURRENT, LOCK_FILE, MANIFEST_SUFFIX, Library, Version
from netboot.serve.seat_content import read_files
from netboot.serve.secret import SECRET_FILE, Secrets, load_secrets

ARRIVING = ".arriving"  # in a folder of root images: versions that are not whole yet
PART = ".part"  # of the folder of a build that is not whole yet
BUILD_PREFIX, KEY_DIGITS = "sync-", 12  # of the folder of a build
KEPT_BUILDS = 3
PROGRAM = 0o755

# $1: the folder of root images, $2: of builds, $3: the name of a build, then small files. Prints
# NAME/SHORT.json of each version, NAME/current=SHORT.json, build=whole, build=current, and sums.
_LOOK = """roots=$1 builds=$2 build=$3; shift 3
sha256sum "$@" 2>/dev/null || true
[ ! -e "$builds/$build/manifest.json" ] || echo build=whole
[ "$(readlink "$builds/current")" != "$build" ] || echo build=current
cd "$roots" 2>/dev/null || exit 0
for each in */*.json; do [ ! -e "$each" ] || echo "$each"; done
for each in */current; do [ ! -h "$each" ] || echo "$each=$(readlink "$each")"; done"""

# $1: the folder, $2: NAME, $3: SHORT, $4: the SHA-256 of the image. The manifest comes last.
_TAKE_VERSION = f"""cd "$1/{ARRIVING}/$2"
echo "$4  $3.img" | sha256sum --check --status ||
    {{ rm -f "$3".*; echo "$2: $3.img has arrived damaged, and was removed" >&2; exit 1; }}
sync "$3.img" "$3.tree" "$3.json"; mkdir -p "$1/$2"
exec 9>"$1/$2/{LOCK_FILE}"; flock 9
mv -f "$3.img" "$3.tree" "$1/$2/"; mv -f "$3.json" "$1/$2/"; sync "$1/$2" """

# $1: the folder of an image, $2: the name of a manifest.
_USE_VERSION = f"""cd "$1"; exec 9>{LOCK_FILE}; flock 9
ln -sfn "$2" .{CURRENT}.new; mv -fT .{CURRENT}.new {CURRENT}; sync ."""

# $1: the folder of builds, $2: the name of one. Input: the sums of its files.
_TAKE_BUILD = f"""cd "$1/$2{PART}"
sha256sum --check --status - ||
    {{ rm -rf "$1/$2{PART}"; echo "boot files have arrived damaged, and were removed" >&2; exit 1; }}
sync -f .; cd "$1"; rm -rf "$2"; mv -T "$2{PART}" "$2" """

# Afterwards the last builds are there, and no part of an older one.
_USE_BUILD = f"""cd "$1"; touch "$2"
ln -sfn "$2" .{CURRENT}.new; mv -fT .{CURRENT}.new {CURRENT}; sync .
rm -rf {BUILD_PREFIX}*{PART}; ls -dt {BUILD_PREFIX}* | tail -n +{KEPT_BUILDS + 1} | xargs -r rm -rf"""

# $1: the service. Prints a word if it was running, and reads its files again.
_RELOAD = """systemctl is-active --quiet "$1" 2>/dev/null || exit 0
systemctl reload "$1"; echo reloaded"""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of this server. They have the same places on the other one.

    ``images`` is the folder of a build; its place there is ``builds``. ``profile`` goes to the
    folder ``configuration``, and so do the definitions of root images that are in it here. ``files``
    are further ones of that folder (``seat_files``).
    """

    profile: Path
    images: Path
    roots: Path
    state: Path
    builds: Path
    configuration: Path
    files: tuple[Path, ...] = ()


@dataclass(slots=True)
class Report:
    """The result: what the other server has now that it did not have before.

    ``reloaded``: its service has read its files again. Else a running server needs a SIGHUP.
    ``left_out``: what the profile names and the other server has of its own, one line each.
    """

    host: str
    sent_bytes: int = 0
    versions: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    boot_files: str = ""
    files: list[str] = field(default_factory=list)
    secret: bool = False
    reloaded: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return True if the other server had all of it."""
        return not (self.versions or self.uses or self.boot_files or self.files or self.secret)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


def sync(source: Source, peer: Peer, progress: Progress, *, secret: bool = False) -> Report:
    """Copy what ``peer`` lacks, the ``secret`` only if that is asked for. Raises OperatorError.

    After an interruption the next call goes on from there.
    """
    report = Report(peer.host)
    build, small = _Build.of(source.images), _small_files(source)
    progress.step(f"looking at {peer.host}")
    words = (str(source.roots), str(source.builds), build.name, *map(str, small))
    there = set(peer.run(_LOOK, *words).splitlines())
    _send_versions(source.roots, there, peer, progress, report)
    _send_build(source, build, there, peer, progress, report)
    for place, (content, mode) in small.items():
        if f"{hashlib.sha256(content).hexdigest()}  {place}" not in there:
            peer.put(place, content, mode)
            report.files.append(str(place))
    if secret:
        progress.step("the secret")
        report.secret = _send_secret(source.state, peer)
    if report.boot_files or report.files:
        report.reloaded = peer.run(_RELOAD, SERVICE) != ""
    return report


def _send_versions(
    roots: Path, there: Collection[str], peer: Peer, progress: Progress, report: Report
) -> None:
    """Send the versions of all root images, those of the next boots first."""
    library = Library(roots)
    current = {name: library.current(name) for name in library.names()}
    first = [each for each in current.values() if each is not None]
    others = [each for name in current for each in library.versions(name) if each not in first]
    missing = [each for each in (*first, *others) if _manifest(each) not in there]
    for number, version in enumerate(missing, 1):
        name, short = version.manifest.name, version.manifest.short
        mebibytes = version.manifest.size >> 20
        progress.step(f"{version.label}, {number} of {len(missing)}, {mebibytes} MiB")
        target = roots / ARRIVING / name
        files = [version.image.name, version.tree.name, f"{short}{MANIFEST_SUFFIX}"]
        report.sent_bytes += peer.send(files, version.folder, target, progress.advance)
        peer.run(_TAKE_VERSION, str(roots), name, short, version.manifest.digest)
        report.versions.append(version.label)
    if missing:  # also parts of versions that are not here any more
        peer.run('rm -rf "$1"', str(roots / ARRIVING))
    for version in first:
        name, file = version.manifest.name, Path(_manifest(version)).name
        if f"{name}/{CURRENT}={file}" not in there:
            peer.run(_USE_VERSION, str(roots / name), file)
            report.uses.append(version.label)


def _manifest(version: Version) -> str:
    return f"{version.manifest.name}/{version.manifest.short}{MANIFEST_SUFFIX}"


@dataclass(frozen=True, slots=True)
class _Build:
    """The boot files of a folder, and the name of their folder on another server."""

    name: str
    files: tuple[manifest.File, ...]

    @classmethod
    def of(cls, images: Path) -> "_Build":
        """Read the manifest of a build. Raises OperatorError."""
        try:
            files = manifest.read(images / MANIFEST_FILE).files
            digest = hashlib.sha256((images / MANIFEST_FILE).read_bytes()).hexdigest()
        except (OSError, ValueError):
            raise OperatorError(
                f"{images} has no boot files", hint="netboot build, or --images FOLDER"
            ) from None
        return cls(BUILD_PREFIX + digest[:KEY_DIGITS], files)


def _send_build(
    source: Source,
    build: _Build,
    there: Collection[str],
    peer: Peer,
    progress: Progress,
    report: Report,
) -> None:
    """Send the boot files, and have the next boots there get them."""
    if "build=current" in there and "build=whole" in there:
        return
    take = ""
    if "build=whole" not in there:
        progress.step(f"boot files, {sum(file.size for file in build.files) >> 20} MiB")
        report.sent_bytes += peer.send(
            [*(file.name for file in build.files), MANIFEST_FILE],
            source.images,
            source.builds / f"{build.name}{PART}",
            progress.advance,
            like=CURRENT,
        )
        take = _TAKE_BUILD
    sums = "".join(f"{file.sha256}  {file.name}\n" for file in build.files).encode()
    peer.run(f"{take}\n{_USE_BUILD}", str(source.builds), build.name, data=sums)
    report.boot_files = str(source.builds / build.name)


def _small_files(source: Source) -> dict[Path, tuple[bytes, int]]:
    """Return content and mode of small files by their places on the other server.

    The profile comes last: a server that reads it finds what it names.
    """
    folder = source.configuration / "images"
    found = {path: (path.read_bytes(), READABLE) for path in sorted(folder.glob("*.yaml"))}
    for path in source.files:
        mode = PROGRAM if path.stat().st_mode & stat.S_IXUSR else READABLE
        found[path] = path.read_bytes(), mode
    place = source.configuration / source.profile.name
    return {**found, place: (source.profile.read_bytes(), READABLE)}


def seat_files(
    named: Iterable[tuple[str, str]], configuration: Path
) -> tuple[tuple[Path, ...], list[str]]:
    """Return the files of `seat.files` that are copied, and a line for each other one.

    ``named`` are place on the PC and path here. Only those in the folder ``configuration`` are
    copied: elsewhere, such as in /etc, the other server has files of its own. They are refused as a
    server refuses them. A file that others may not read stays here, because it would be readable
    there.
    """
    taken: list[Path] = []
    left_out: list[str] = []
    for place, name in named:
        path = Path(os.path.normpath(name))
        if not path.is_relative_to(configuration):
            left_out.append(f"{name}, which seat.files names; files in {configuration} are copied")
            continue
        refused = read_files({place: name})[1]
        if refused:
            left_out += refused
        elif not path.stat().st_mode & stat.S_IROTH:
            left_out.append(
                f"{name}: others may not read it here; copy it by hand, or chmod o+r it"
            )
        else:
            taken.append(path)
    return tuple(dict.fromkeys(taken)), left_out


def _send_secret(state: Path, peer: Peer) -> bool:
    """Give the other server the secret. Return False if it had it.

    Its own clock counts for the previous one: the two clocks need not agree.
    """
    found = load_secrets(state / SECRET_FILE, make=False)
    content = Secrets(found.current, found.previous, found.left).serialize()
    return peer.put(state / SECRET_FILE, content, PRIVATE)
