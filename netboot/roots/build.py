"""``netboot image build``: a definition -> a version in the library.

A build depends on the definition, on what a recipe makes of it, on the files that it copies, on the
versions of packages and programs. The digest of all that is the version's key. If the library has a
version with this key, that version becomes current, and nothing is built.
"""

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from netboot.errors import OperatorError
from netboot.host.programs import check_installed, run
from netboot.images import resources
from netboot.images.part import digest
from netboot.images.progress import Progress
from netboot.pages.stores.image import BLOCK_BYTES, open_image
from netboot.pages.verity import make_tree
from netboot.roots import sources, tidy
from netboot.roots.definition import Definition
from netboot.roots.dressing import ENVIRONMENT, dress, files_below
from netboot.roots.format import PACKERS, pack
from netboot.roots.library import Library, Version
from netboot.roots.manifest import Manifest
from netboot.roots.recipes import Recipe, recipe
from netboot.roots.running import follow
from netboot.roots.scratch import scratch
from netboot.roots.sources import Source

ENGINE = 1  # counted up if other code makes another image of the same definition
INITS = ("sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd")
LITTLE_ROOM = 64 << 20  # bytes; with less the disk is full
# Lines of mmdebstrap that tell a failure: names of packages have the word "error" in them too.
FAILURES = r"^E: |^Err:|^dpkg: error|No space left|cannot copy extracted|^ *trying to overwrite"


@dataclass(frozen=True, slots=True)
class Made:
    """The result of a build or import. ``new`` is False if the library had it. ``told``: remarks."""

    version: Version
    new: bool
    told: tuple[str, ...] = ()


def build(
    definition: Definition,
    library: Library,
    cache: Path,
    progress: Progress,
    *,
    fresh: bool = False,
) -> Made:
    """Make the definition's image the current version. With ``fresh`` ask for newer packages first.

    Raises OperatorError and OSError; the library is as before then.
    """
    check_root()
    packer = PACKERS[definition.format]
    program = packer.command(Path(), Path())[0]
    check_installed({"mmdebstrap": "mmdebstrap", program: packer.package, "depmod": "kmod"})
    base = definition.base or sources.own_base()
    wanted = recipe(definition, base)
    progress.step("looking for packages")
    source = sources.source(
        base, definition.architecture, cache, progress, firmware=bool(wanted.firmware), fresh=fresh
    )
    packages = [definition.kernel_package, *wanted.packages, *wanted.firmware]
    versions = source.versions(packages)
    key = _key(definition, wanted, base, versions)
    assert definition.name is not None
    for version in library.versions(definition.name):
        if version.manifest.key == key and version.image.stat().st_size == version.manifest.size:
            if library.current(definition.name) != version:
                library.use(version)
            return Made(version, new=False)
    with scratch(library.folder) as folder:
        root = folder / "root"
        _install(root, source, packages, len(versions), folder, progress)
        progress.step("adding files and settings")
        dress(root, definition, wanted)
        told = _reduce(root, definition, wanted, progress)
        made = Manifest(
            name=definition.name,
            digest="",
            created=int(time.time()),
            format=definition.format,
            size=0,
            blocks=0,
            root_hash="",
            architecture=definition.architecture,
            definition=definition.as_json(),
            key=key,
        )
        return Made(add(root, made, folder, library, progress), new=True, told=told)


def check_root() -> None:
    """Raise OperatorError if this user may not give files to root."""
    if os.geteuid() != 0:
        raise OperatorError("not root: the files of an image belong to root", hint="use sudo")


def add(
    root: Path, manifest: Manifest, folder: Path, library: Library, progress: Progress
) -> Version:
    """Pack ``root`` and add it to the library; ``manifest`` lacks what the files tell.

    ``folder`` is for temporary files, on the library's file system. Raises OperatorError, OSError.
    """
    init = next((name for name in INITS if os.path.lexists(root / name)), "")
    kernels = tidy.kernels(root)
    if not init:
        raise OperatorError("the system has no init: there is no /sbin/init", hint=_needs("init"))
    if not kernels:
        raise OperatorError(
            "the system has no drivers: /lib/modules is empty", hint=_needs("kernel")
        )
    packages = installed(root)
    image, tree = folder / "image", folder / "tree"
    pack(root, image, manifest.format, progress)
    return add_image(
        image,
        tree,
        replace(manifest, init=f"/{init}", kernels=kernels, packages=packages),
        library,
        progress,
    )


def _needs(what: str) -> str:
    package = {"init": "systemd-sysv", "kernel": "linux-image-amd64"}[what]
    return f"install Debian's package {package} in it"


def add_image(
    image: Path, tree: Path, manifest: Manifest, library: Library, progress: Progress
) -> Version:
    """Add an image with its hash tree to the library. Raises OperatorError, OSError."""
    progress.step("hashing the image")
    pages = open_image(image)
    try:
        content, blocks = make_tree(pages), pages.blocks
    finally:
        pages.close()
    tree.write_bytes(content)
    done = replace(
        manifest,
        digest=digest(image),
        size=image.stat().st_size,
        blocks=blocks,
        root_hash=hashlib.sha256(content[:BLOCK_BYTES]).hexdigest(),
    )
    same = library.with_digest(done.name, done.short)
    if same is not None:  # of other ingredients, such as a newer list of packages
        was = same.manifest
        done = replace(done, created=was.created, ram_tried=was.ram_tried)
    return library.add(done, image, tree)


def installed(root: Path) -> dict[str, str]:
    """Return the versions of the Debian packages of a system, by name; empty for another one."""
    status = root / "var/lib/dpkg/status"
    if not status.is_file() or status.is_symlink():
        return {}
    found: dict[str, str] = {}
    for paragraph in status.read_text(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return dict(sorted(found.items()))


def _install(
    root: Path,
    source: Source,
    packages: list[str],
    count: int,
    folder: Path,
    progress: Progress,
) -> None:
    """Install packages and what they need into ``root``. Raises OperatorError."""
    config = folder / "apt.conf"
    config.write_text(source.config)
    command = ["mmdebstrap", "--verbose", "--mode=root", "--variant=essential"]
    command += [f"--architectures={source.architecture}", f"--aptopt={config}"]
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


def _reduce(
    root: Path, definition: Definition, wanted: Recipe, progress: Progress
) -> tuple[str, ...]:
    """Remove what the image must not or need not have; return what was secret."""
    progress.step("leaving out what no seat needs")
    for release in tidy.kernels(root):
        tidy.remove_drivers(root, release, wanted.drop, wanted.keep)
    if not definition.documentation:
        tidy.remove_documentation(root)
    tidy.remove_translations(root, definition.locales)
    told = tidy.strip_secrets(root)
    tidy.remove_leftovers(root)
    return told


def _key(definition: Definition, wanted: Recipe, base: str, versions: dict[str, str]) -> str:
    """Return the digest of all that the image depends on. Raises OperatorError, OSError."""
    rootfs = resources.folder("rootfs")
    ours = [rootfs / tree for tree in wanted.trees]
    ours += [resources.folder("tools") / "strip-secrets"]
    theirs = [Path(each) for each in (*definition.files.values(), *definition.hooks)]
    tools = ["mmdebstrap", PACKERS[definition.format].package]
    ingredients: dict[str, Any] = {
        "engine": ENGINE,
        "base": base,
        "definition": definition.as_json(),
        "recipe": asdict(wanted),
        "packages": versions,
        "tools": run(["dpkg-query", "-W", *tools], check=False).stdout,
        "files": [_contents(path) for path in (*ours, *theirs)],
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def _contents(folder: Path) -> dict[str, str]:
    """Return the digests of the files below a folder; none for a missing one."""
    found = {}
    for path in files_below(folder):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.exists():
            mode = path.stat().st_mode & 0o111
            found[f"{path.relative_to(folder)} {mode:o}"] = digest(path)
    return found
