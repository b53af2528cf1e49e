"""Kinds of root file system, one row each; ``initramfs/root/<hook>`` is the client's half."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RootKind:
    """A way for a client to get its root file system. ``hook`` is the initramfs's name of it.

    With an ``image`` it reads one on the server: a file of any path, or with ``named`` the current
    version of a root image (netboot.roots). With ``users`` not everybody at the PC is root.
    """

    name: str
    hook: str
    image: bool = False
    named: bool = False
    users: bool = False


ROOT_KINDS = (
    RootKind("ram", "ram"),  # busybox in a tmpfs, whose pages can be swapped out
    # An image that all share, over NBD, under a tmpfs for changes.
    RootKind("nbd", "nbd", image=True, users=True),
    RootKind("image", "nbd", image=True, named=True, users=True),
)

BY_NAME = {row.name: row for row in ROOT_KINDS}


def is_path(image: str) -> bool:
    """Return whether ``root.image`` is a path; else it is the name of a root image."""
    return image.startswith("/")
