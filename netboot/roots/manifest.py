"""The manifest of one version of a root image: a JSON file beside it, which says what is in it. Pure.

``netboot image inspect`` prints it, and ``check``, ``serve`` and ``doctor`` refuse by it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from netboot.boot.plan import HashTree
from netboot.host.text import printable

VERSION = 1
SHORT_DIGITS = 16  # of the digest, where it is a name: of a file, an export, a version
TIME_FORMAT = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a root image.

    ``digest``: SHA-256 of the file, 64 hexadecimal digits. ``created``: seconds since 1970.
    ``size``: bytes. ``blocks`` and ``root_hash``: the image's hash tree (netboot.pages.verity).
    ``kernels``: the releases whose modules it has, such as 6.1.0-56-amd64. ``packages``: versions
    by name. ``ram_tried``: the smallest RAM in MiB that it was tried with, 0 for none.
    ``definition``: what it was built from; ``source``: where it was imported from. ``key``: the digest
    of all that a build depends on, by which a build with nothing new is known. ``nfs``: if its kernels
    have the driver of an NFS client; images of older releases of netboot do not say that they lack it.
    """

    name: str
    digest: str
    created: int
    format: str
    size: int
    blocks: int
    root_hash: str
    architecture: str = "amd64"
    init: str = "/sbin/init"
    kernels: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    ram_tried: int = 0
    definition: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    key: str = ""
    nfs: bool = True

    @property
    def short(self) -> str:
        """The digits of the digest that name this version."""
        return self.digest[:SHORT_DIGITS]

    @property
    def stamp(self) -> str:
        """The time of its making in UTC, which names it for people: 20261120-140900."""
        return datetime.fromtimestamp(self.created, UTC).strftime(TIME_FORMAT)

    @property
    def tree(self) -> HashTree:
        """The image's hash tree, as the kernel command line has it."""
        return HashTree(self.blocks, self.root_hash)


def has_screen(manifest: Manifest) -> bool:
    """Return whether the image has our screen, which reports its page. An imported one need not."""
    return not manifest.source and manifest.definition.get("screen") != "none"


def dump(manifest: Manifest) -> str:
    """Return the manifest as the text of its file."""
    return json.dumps({"version": VERSION, **asdict(manifest)}, indent=1, sort_keys=True) + "\n"


def parse(data: bytes) -> Manifest:
    """Return the manifest in the content of its file. Raises ValueError if it is none of ours."""
    content = json.loads(data)
    if not isinstance(content, dict) or content.pop("version", None) != VERSION:
        raise ValueError("another version of netboot made this manifest")
    wanted = Manifest.__dataclass_fields__
    for key in content.keys() - wanted.keys():  # of a newer release that reads ours as well
        del content[key]
    try:
        found = Manifest(**{**content, "kernels": tuple(content.get("kernels", ()))})
    except TypeError as error:
        raise ValueError(f"not a manifest of a root image: {error}") from None
    _check(found)
    return found


def _check(found: Any) -> None:
    """Check values, which may be of any type: they become paths and kernel arguments."""
    for name, digits in (("digest", found.digest), ("root_hash", found.root_hash)):
        if not (isinstance(digits, str) and len(digits) == 64 and _is_hex(digits)):
            raise ValueError(f"{name}: expected 64 hexadecimal digits")
    for name in ("created", "size", "blocks", "ram_tried"):
        value = getattr(found, name)
        if type(value) is not int or value < 0:
            raise ValueError(f"{name}: expected a number, found {printable(str(value))}")
    if type(found.nfs) is not bool:
        raise ValueError("nfs: expected true or false")
    words = (found.name, found.format, found.architecture, found.init, found.key, *found.kernels)
    if not all(isinstance(word, str) and printable(word) == word for word in words):
        raise ValueError("expected texts that can be printed")
    if not all(isinstance(each, Mapping) for each in (found.packages, found.definition)):
        raise ValueError("packages, definition: expected an object")


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)
