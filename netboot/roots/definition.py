"""The definition of a root image: one short YAML file -> Definition, its mistakes as a profile's. Pure.

Each key has a default, so an empty file is a definition. The file's name is the image's name, and
paths in it are relative to its folder.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from netboot.errors import OperatorError
from netboot.profile import file, patterns, reading, rules, values
from netboot.profile.fields import NothingIsEmpty, Section, misplaced
from netboot.profile.processors import AMD64, I386
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.reading import OneOrMore, Text

NAME = "[a-z0-9][a-z0-9_.-]{0,39}"
PACKAGE = r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9][A-Za-z0-9.+~:-]*)?"
LOCALE = r"[A-Za-z]{2,8}(?:_[A-Za-z]{2})?(?:\.[A-Za-z0-9-]+)?(?:@[a-z0-9]+)?"
PATTERN = r"[A-Za-z0-9_*?][A-Za-z0-9_.*?/+-]*"  # of drivers' paths
# Not "..", not the root folder, and not Unicode's characters that do not print.
IN_IMAGE = r"(?!.*/\.\.(?:/|\s*$))(?!/(?:[./]*/)?\.?\s*$)/[^\x00-\x1f\x7f-\xa0\xad]+"
PACKAGE_NAME = r"[a-z0-9][a-z0-9+.-]+"
PATH = r"[^\x00-\x1f]+"
SUFFIXES = (".yaml", ".yml")


def _text(expected: str, pattern: str) -> Text[str]:
    def convert(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(text)
        return text

    return Text(expected, convert, patterns.text(pattern))


def _path_in_image(text: str) -> str:
    path = PurePosixPath(text)
    if (
        not path.is_absolute()
        or len(path.parts) < 2
        or ".." in path.parts
        or not text.isprintable()
    ):
        raise ValueError(text)
    return str(path)


def _path(text: str) -> str:
    return reading.matched(PATH, text)[0]


Name = Annotated[str, _text("a name such as kiosk or room-12", NAME)]
KERNEL = _text("a Debian package such as linux-image-amd64", PACKAGE_NAME)
Package = Annotated[str, _text("a Debian package such as hunspell-de-de", PACKAGE)]
Locale = Annotated[str, _text("a locale such as de_DE.UTF-8", LOCALE)]
Pattern = Annotated[
    str, _text("a folder or file of drivers such as drivers/media or *wifi*", PATTERN)
]
PathInImage = Annotated[
    str, Text("a path in the image such as /etc/motd", _path_in_image, patterns.text(IN_IMAGE))
]
OwnPath = Annotated[str, Text("the path of a file or folder", _path, patterns.text(PATH))]


# The rules of Definition._fitting, for editors.
RULES = rules.rules(
    (
        rules.has("architecture", {"enum": [I386.name]}),
        rules.may_have("base", {"not": {"const": "trixie"}}),
    ),
    (
        {"not": rules.has("screen", {"const": "desktop"})},
        rules.may_have("desktop", {"const": "icewm"}),
    ),
)


class Definition(Section):
    """The keys of a definition."""

    model_config = ConfigDict(json_schema_extra=RULES)

    name: Name | None = None
    """The image's name. Default: the name of this file, without `.yaml`."""
    base: Literal["bookworm", "trixie"] | None = None
    """The release of Debian: bookworm (12) or trixie (13). Default: the one of this machine."""
    architecture: Annotated[str, values.choice(PROCESSORS)] = AMD64.name
    """The processor of the PCs, by Debian's names: amd64, i386 or arm64. Default: amd64."""
    kernel: Annotated[str, KERNEL] | None = None
    """The Debian package of the kernel whose drivers the image has; it must be the profile's
    `boot.kernel`. Without this key: Debian's default kernel, such as linux-image-amd64.
    """
    screen: Literal["kiosk", "desktop", "thin", "none"] = "kiosk"
    """The purpose of the screen. kiosk: one browser and nothing else; desktop: a panel, windows and
    programs; thin: the screen of another computer, by VNC or RDP; none: a console. Default: kiosk.
    """
    desktop: Literal["icewm", "xfce"] = "icewm"
    """The programs of `screen: desktop`, by the RAM of a PC with network swap. icewm: a panel and
    a menu, on 256 MB; xfce: Xfce, on 512 MB. Default: icewm.
    """
    browser: Literal["netsurf", "surf", "firefox-esr", "chromium", "none"] = "surf"
    """The browser of kiosk and desktop, by the RAM of a PC with network swap: netsurf runs on
    128 MB, but no page with JavaScript; surf on 256 MB; firefox-esr on 384 MB; chromium on 512 MB.
    Default: surf.
    """
    packages: Annotated[tuple[Package, ...], OneOrMore()] = ()
    """More Debian packages. Default: none."""
    hardware: Annotated[
        tuple[Literal["amd", "intel", "nvidia", "realtek", "broadcom"], ...],
        OneOrMore(unique=True),
    ] = ("amd", "intel", "nvidia", "realtek")
    """The makers of graphics and network cards whose firmware the image has, from Debian's component
    non-free-firmware: amd, intel, nvidia, realtek, broadcom. `[]` leaves all of it out.
    Default: amd, intel, nvidia, realtek.
    """
    locales: Annotated[tuple[Locale, ...], OneOrMore(unique=True)] = ()
    """The languages that PCs may have, such as de_DE.UTF-8. Translations into other languages are
    left out. C.UTF-8, which is English, is always there. Default: none.
    """
    documentation: Annotated[bool, values.BOOLEAN] = False
    """Manual pages and the files below /usr/share/doc. Default: no."""
    drop_drivers: Annotated[tuple[Pattern, ...], OneOrMore()] = ()
    """Kernel drivers to leave out, beside those that no seat needs: folders or files below the
    kernel's folder, such as drivers/media or *wifi*. Default: none.
    """
    keep_drivers: Annotated[tuple[Pattern, ...], OneOrMore()] = ()
    """Kernel drivers to keep of those that are left out otherwise. Default: none."""
    files: Annotated[dict[PathInImage, OwnPath], NothingIsEmpty()] = Field(default={})
    """Files and folders to copy into the image: the path there, and the path here. Default: none."""
    hooks: Annotated[tuple[OwnPath, ...], OneOrMore()] = ()
    """Programs to run before the image is packed, in this order. Each gets the path of the image's
    root folder as its argument. Default: none.
    """
    format: Literal["erofs", "squashfs"] = "erofs"
    """The format of the image. erofs: PCs read it with the fewest requests; squashfs: the smallest
    file. Default: erofs.
    """

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        last = PROCESSORS[self.architecture].last_release
        if last == "12" and self.base == "trixie":
            raise misplaced(f"trixie has no kernel for {self.architecture}", "base")
        if self.desktop != "icewm" and self.screen != "desktop":
            raise misplaced(f"{self.desktop} needs 'screen: desktop'", "desktop")
        for key in ("hardware", "locales"):
            words = getattr(self, key)
            twice = next((word for word in words if words.count(word) > 1), "")
            if twice:
                raise misplaced(f"'{twice}' is there twice", key)
        return self

    @property
    def kernel_package(self) -> str:
        """The Debian package of the kernel."""
        return self.kernel or PROCESSORS[self.architecture].kernel

    def as_json(self) -> dict[str, Any]:
        """Return what the manifest keeps: all keys that are not the default."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse(text: str, path: Path) -> Definition:
    """Return the definition in ``text``, the content of the file ``path``, its name filled in.

    Paths in it become absolute. Raises OperatorError with one line for each mistake.
    """
    read = file.read_keys(text, str(path), "screen:")
    found = file.validated(read, Definition)
    folder = path.parent.absolute()
    changes: dict[str, Any] = {
        "files": {there: str(folder / here) for there, here in found.files.items()},
        "hooks": tuple(str(folder / here) for here in found.hooks),
        "name": found.name or named(path),
    }
    return found.model_copy(update=changes)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a definition as users write it, for editors."""
    return file.schema_of(Definition, "netboot root image")


def named(path: Path) -> str:
    """Return the name of the image that the file defines. Raises OperatorError."""
    try:
        return _text("", NAME).parse(path.stem)
    except reading.Unreadable:
        raise OperatorError(
            f"{path}: key 'name': '{path.stem}' cannot be an image's name: expected lower-case "
            "letters, digits, '-', '_' and '.'",
            hint="rename the file, or give the key 'name'",
        ) from None


def stored(content: Mapping[str, Any], image: str) -> Definition:
    """Return the definition that a manifest keeps. Raises OperatorError if it has none of ours."""
    try:
        if content:
            return Definition.model_validate(dict(content))
    except ValidationError:
        pass
    raise OperatorError(
        f"{image}: its manifest has no definition that this release can build",
        hint="it was imported, or made by another release: netboot image build FILE.yaml",
    )
