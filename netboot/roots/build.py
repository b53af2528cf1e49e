"""``netboot image build``: a definition -> a version in the library.

A build depends on the definition, on what a recipe makes of it, on the files that it copies, on the
versions of packages and programs. The digest of all that is the version's key. If the library has a
version with this key, that version becomes current, and nothing is built.
"""

import hashlib
import json
import os
import re
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
from netboot.roots import sources, stubs, tidy
from netboot.roots.caches import renew_caches
from netboot.roots.definition import Definition
from netboot.roots.dressing import dress, files_below
from netboot.roots.foreign import check_runs
from netboot.roots.format import PACKERS, pack
from netboot.roots.installing import install
from netboot.roots.library import Library, Version
from netboot.roots.manifest import Manifest
from netboot.roots.recipes import Recipe, recipe
from netboot.roots.scratch import scratch
from netboot.roots.sources import Source

ENGINE = 3  # counted up if other code makes another image of the same definition
NFS_DRIVER = "fs/nfs/nfsv4"
INITS = ("sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd")


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
    check_runs(definition.architecture)
    base = definition.base or sources.own_base()
    wanted = recipe(definition, base)
    light = stubs.programs(definition.architecture) if wanted.light else {}
    check_installed(
        {"mmdebstrap": "mmdebstrap", program: packer.package, "depmod": "kmod", **light}
    )
    progress.step("looking for packages")
    source = sources.source(
        base, definition.architecture, cache, progress, firmware=bool(wanted.firmware), fresh=fresh
    )
    packages, versions, remarks = _packages(definition, wanted, source)
    key = _key(definition, wanted, base, versions)
    assert definition.name is not None
    for version in library.versions(definition.name):
        if version.manifest.key == key and version.image.stat().st_size == version.manifest.size:
            if library.current(definition.name) != version:
                library.use(version)
            return Made(version, new=False, told=remarks)
    with scratch(library.folder) as folder:
        root = folder / "root"
        install(root, source, packages, len(versions), folder, progress)
        progress.step("adding files and settings")
        dress(root, definition, wanted)
        if wanted.light:
            stubs.make_stubs(root, definition.architecture)
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
        return Made(add(root, made, folder, library, progress), new=True, told=(*remarks, *told))


def _packages(
    definition: Definition, wanted: Recipe, source: Source
) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
    """Return what to install, the versions of all that comes with it, and remarks.

    Raises OperatorError.
    """
    remarks = (
        (f"older lists of packages were used: {source.complaint}",) if source.complaint else ()
    )
    others = [*wanted.packages, *wanted.firmware]
    kernel = source.kernel(definition.kernel_package)
    try:
        return [kernel, *others], source.versions([kernel, *others]), remarks
    except OperatorError:
        if kernel == definition.kernel_package:
            raise
    packages = [definition.kernel_package, *others]
    versions = source.versions(packages)
    gone = (
        f"{kernel} is on no mirror any more; for boot images with the newer kernel of this image: "
    )
    return packages, versions, (*remarks, f"{gone}sudo apt-get update")


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
    packages, nfs = installed(root), tidy.has_driver(root, NFS_DRIVER)
    image, tree = folder / "image", folder / "tree"
    pack(root, image, manifest.format, progress)
    return add_image(
        image,
        tree,
        replace(manifest, init=f"/{init}", kernels=kernels, packages=packages, nfs=nfs),
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
    renew_caches(root)
    return told


def _key(definition: Definition, wanted: Recipe, base: str, versions: dict[str, str]) -> str:
    """Return the digest of all that the image depends on. Raises OperatorError, OSError."""
    rootfs = resources.folder("rootfs")
    ours = [rootfs / tree for tree in wanted.trees]
    ours += [resources.folder("tools") / "strip-secrets"]
    theirs = [Path(each) for each in (*definition.files.values(), *definition.hooks)]
    tools = ["mmdebstrap", PACKERS[definition.format].package, "gcc"]
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
