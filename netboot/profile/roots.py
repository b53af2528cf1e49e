"""Kinds of root file system, one row each; ``initramfs/root/<kind>`` is the client's half."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RootKind:
    """A way for a client to get its root file system.

    With an ``image`` it needs a file on the server. With ``users`` not everybody at the PC is root.
    """

    name: str
    image: bool = False
    users: bool = False


ROOT_KINDS = (
    RootKind("ram"),  # busybox in a tmpfs, whose pages can be swapped out
    RootKind(
        "nbd", image=True, users=True
    ),  # an image that all share, over NBD, under a tmpfs for changes
)

BY_NAME = {row.name: row for row in ROOT_KINDS}
