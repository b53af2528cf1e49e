"""``netboot image``: the systems that PCs run, made, kept in versions and chosen."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.common import DEFAULT_ROOTS, JsonOption, RootsOption
from netboot.cli.verbs import App
from netboot.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netboot.roots.build import Made
    from netboot.roots.definition import Definition
    from netboot.roots.library import Library, Version

OWN_DEFINITIONS = Path("/etc/netboot/images")
SUFFIXES = (".yaml", ".yml")
FULL = "NAME[@VERSION]"

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="Names of images. Default: all.")
]
VersionArgument = Annotated[
    str,
    typer.Argument(
        metavar=FULL, help="An image, and a time or a digest of it, of which the beginning will do."
    ),
]

app = App(
    help="Make and manage root images: the systems that PCs run.",
    no_args_is_help=True,
)


@app.command(epilog="Example:  sudo netboot image build kiosk")
def build(
    definition: Annotated[
        str,
        typer.Argument(
            metavar="DEFINITION",
            help="kiosk, desktop, thin, none, the name of a file in /etc/netboot/images, or FILE.yaml.",
        ),
    ],
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Build an image. The next boots get it, and seats that run keep theirs.

    Packages come from the Debian mirrors that apt knows on this machine. A build with nothing new takes
    a second.
    """
    from netboot.profile import file
    from netboot.roots import definition as definitions

    path = find_definition(definition)
    try:
        text = file.read_text(path)
    except FileNotFoundError:
        raise OperatorError(f"{path}: there is no such definition") from None
    _report(_built(definitions.parse(text, path), roots, fresh=False), roots, as_json)


@app.command(epilog="Example:  sudo netboot image update kiosk")
def update(
    names: NamesArgument = None,
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Build images again by the definitions that they were built from, with the newest packages."""
    from netboot.roots import definition as definitions

    wanted = [_library(roots).find(name) for name in names or _built_names(roots)]
    if not wanted:
        raise OperatorError(f"no image in {roots} was built here", hint="netboot image list")
    for version in wanted:
        stored = definitions.stored(version.manifest.definition, version.label)
        _report(_built(stored, roots, fresh=True), roots, as_json)


@app.command("import", epilog="Example:  sudo netboot image import room /srv/room.tar")
def import_image(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The image's name.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a tar archive, a squashfs, EROFS or ext4 image, or oci:FILE.",
        ),
    ],
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Make an image of a system that podman, mkosi, debootstrap or a virtual machine made.

    It must have an init and the drivers of the kernel that PCs boot. Its secrets are removed.
    """
    from netboot.cli.show import BuildProgress
    from netboot.roots.importing import import_system

    _end_as_interrupted()
    with BuildProgress() as progress:
        made = import_system(name, source, _library(roots), progress)
    _report(made, roots, as_json)


@app.command("list", epilog="Example:  netboot image list")
def list_images(
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """List all versions of all images, and mark those that the next boots get."""
    from netboot.cli import image_lines

    found, uses = _library(roots), _uses(roots)
    rows = [
        (version, version == found.current(name))
        for name in found.names()
        for version in found.versions(name)
    ]
    if as_json:
        print(json.dumps([image_lines.as_json(v, current=c, uses=uses) for v, c in rows]))
    elif rows:
        print(image_lines.table(rows, uses))
    else:
        print(f"no images in {roots}; make one: sudo netboot image build kiosk")


@app.command(epilog="Example:  netboot image inspect kiosk@20261120")
def inspect(
    version: VersionArgument,
    packages: Annotated[
        bool, typer.Option("--packages", help="List all packages with their versions.")
    ] = False,
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Show all about a version, and which packages differ from the version before it."""
    from netboot.cli import image_lines

    kept, uses = _library(roots), _uses(roots)
    found = kept.find(version)
    current = kept.current(found.manifest.name) == found
    if as_json:
        print(json.dumps(image_lines.as_json(found, current=current, uses=uses)))
    elif packages:
        print("\n".join(f"{name} {at}" for name, at in sorted(found.manifest.packages.items())))
    else:
        created = found.manifest.created
        older = [v for v in kept.versions(found.manifest.name) if v.manifest.created < created]
        before = older[0] if older else None
        print(image_lines.details(found, before, current=current, uses=uses))


@app.command(epilog="Example:  sudo netboot image use kiosk@20261120")
def use(
    version: VersionArgument,
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Let the next boots get another version. Seats that run keep theirs."""
    from netboot.cli import image_lines

    kept = _library(roots)
    if "@" not in version:
        listed = ", ".join(each.label for each in kept.versions(version)) or FULL
        raise OperatorError(f"{version}: a version is missing", hint=f"expected one of {listed}")
    found = kept.find(version)
    kept.use(found)
    if as_json:
        print(json.dumps(image_lines.as_json(found, current=True, uses=None)))
    else:
        print(f"{image_lines.line(found)}\nthe next boots get it")


@app.command(epilog="Example:  sudo netboot image prune")
def prune(
    names: NamesArgument = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Remove versions also if it is unknown whether seats run them."
        ),
    ] = False,
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Remove the versions that the next boots do not get and that no seat runs."""

    kept, uses = _library(roots), _uses(roots)
    old = [
        version
        for name in names or kept.names()
        for version in kept.versions(kept.find(name).manifest.name)
        if version != kept.current(version.manifest.name)
    ]
    if old and uses is None and not force:
        raise OperatorError(
            f"no server has told yet which versions its seats run; to be removed: {_labels(old)}",
            hint="if no seat runs them: sudo netboot image prune --force",
        )
    unused = [version for version in old if not (uses or {}).get(version.manifest.short)]
    for version in unused:
        kept.remove(version)
    if as_json:
        print(json.dumps({"removed": [version.label for version in unused]}))
    else:
        print(f"removed: {_labels(unused)}" if unused else "nothing to remove")


def _uses(roots: Path) -> "Mapping[str, Sequence[str]] | None":
    """Return the seats that run each version; None if no server has kept a record.

    A server that ``fab`` installed has its state in a folder beside the images.
    """
    from netboot.roots.uses import read_uses

    return read_uses(roots.parent, roots.parent / "state")


def find_definition(word: str) -> Path:
    """Return the file of a definition: a file, or a name of one of ours. Raises OperatorError."""
    from netboot.images import resources
    from netboot.profile import reading

    if "/" in word or word.endswith(SUFFIXES):
        return Path(word)
    folders = (OWN_DEFINITIONS, resources.folder("profiles") / "images")
    known = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.yaml")}
    if word in known:
        return known[word]
    guess = reading.nearest(word, known)
    hint = f"did you mean '{guess}'?" if guess else "a file needs its ending: room.yaml"
    expected = reading.any_of({**known, "FILE.yaml": None})
    raise OperatorError(f"there is no definition '{word}': expected {expected}", hint=hint)


def _library(folder: Path) -> "Library":
    from netboot.roots.library import Library

    return Library(folder)


def _labels(versions: "list[Version]") -> str:
    return ", ".join(version.label for version in versions)


def _built_names(folder: Path) -> list[str]:
    """Return the names of the images that were built, not imported."""
    found = _library(folder)
    return [name for name in found.names() if found.find(name).manifest.definition]


def _built(definition: "Definition", folder: Path, *, fresh: bool) -> "Made":
    from netboot.cli.show import BuildProgress
    from netboot.images.cache import default_cache
    from netboot.roots.build import build as build_image

    _end_as_interrupted()
    with BuildProgress() as progress:
        return build_image(definition, _library(folder), default_cache(), progress, fresh=fresh)


def _end_as_interrupted() -> None:
    """Let a build that is told to end, or loses its terminal, clean up as after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _report(made: "Made", folder: Path, as_json: bool) -> None:
    from netboot.cli import image_lines

    for line in made.told:
        print(f"netboot: {line}", file=sys.stderr)
    if as_json:
        found = image_lines.as_json(made.version, current=True, uses=None)
        print(json.dumps({**found, "new": made.new}))
        return
    print(image_lines.line(made.version))
    print(
        "the next boots get it" if made.new else "nothing is new; the next boots get this version"
    )
