"""Versions of root images with files that agree with their manifests."""

import contextlib
import hashlib
from typing import Any

from netboot.pages.stores.image import open_image
from netboot.pages.verity import make_tree
from netboot.roots.library import Library, Version
from netboot.roots.manifest import Manifest

KERNEL = "6.1.0-56-amd64"
CREATED = 1_795_000_000


def make_version(
    library: Library,
    name: str = "kiosk",
    content: bytes = b"old",
    *,
    kernels: tuple[str, ...] = (KERNEL,),
    init: str = "/sbin/init",
    **more: Any,
) -> Version:
    """Add a version whose image repeats ``content``, and let the next boots get it.

    ``more`` are further fields of its manifest.
    """
    library.folder.mkdir(parents=True, exist_ok=True)
    image, tree = library.folder / "image", library.folder / "tree"
    data = (content * 4096)[: 3 * 4096]
    image.write_bytes(data)
    with contextlib.closing(open_image(image)) as pages:
        hashes, blocks = make_tree(pages), pages.blocks
    tree.write_bytes(hashes)
    made = Manifest(
        name,
        hashlib.sha256(data).hexdigest(),
        CREATED + len(library.versions(name)),
        "squashfs",
        len(data),
        blocks,
        hashlib.sha256(hashes[:4096]).hexdigest(),
        kernels=kernels,
        init=init,
        **more,
    )
    return library.add(made, image, tree)
