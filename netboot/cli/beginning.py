"""The steps of ``netboot serve`` before it serves: its files, its images, its user."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netboot.cli.common import IMAGES, built
from netboot.cli.ending import as_mistake
from netboot.cli.user import default_user
from netboot.errors import OperatorError
from netboot.pages.stores.folder import SUFFIX, find_kept
from netboot.pages.upgrade import LISTENERS

if TYPE_CHECKING:
    from netboot.profile.profile import Profile


def check_files(
    source: Path, profile: "Profile | None", images: Path | None, initrds: Sequence[Path]
) -> None:
    """Check the files that PCs are to boot from. Raises OperatorError.

    ``profile`` is None if another server boots the PCs.
    """
    from netboot.cli import checks

    if profile is not None:
        checks.check_paths(source, profile)
    if images is not None:
        processors = () if profile is None else profile.boot.architectures
        checks.check_images("--images", images, source, processors)
    checks.check_initrds(initrds)


def root_files(profile: "Profile", roots: Path) -> list[Path]:
    """Return the files of the root images that the profile's PCs boot now."""
    from netboot.roots.library import Library

    found = map(Library(roots).current, sorted(profile.image_names))
    return [path for each in found if each is not None for path in (each.image, each.tree)]


def built_or_last(profile: "Profile", state: Path, *, waited_for: bool) -> Path:
    """Build the images and return their folder.

    Raises OperatorError; but if PCs wait for our pages, these come first. A build that fails is a
    warning then, and PCs boot from the one before, if there is one.
    """
    from netboot.images.cache import default_cache

    try:
        return built(profile, waits=not waited_for)
    except (OperatorError, OSError) as error:
        if not waited_for:
            raise
        mistake = as_mistake(error) if isinstance(error, OSError) else error
    print(f"netboot: no new images: {mistake}; serving those of the last build", file=sys.stderr)
    try:
        return default_cache() / IMAGES
    except OperatorError:  # no cache
        return state / IMAGES


def has_pages(profile: "Profile", state: Path) -> bool:
    """Return True if this server (after SIGHUP), or the one before it, has pages of PCs."""
    if LISTENERS in os.environ:
        return True
    user = default_user()  # that root is about to become
    owners = (os.geteuid(), *(() if user is None else (user.pw_uid,)))
    folders = (folder for owner in owners for folder in _kept_folders(profile, state, owner))
    return any(next(folder.glob(f"*{SUFFIX}"), None) is not None for folder in folders)


def _kept_folders(profile: "Profile", state: Path, owner: int) -> list[Path]:
    """Return the folders of a user with pages of the server that has this state folder."""
    from netboot.pages.stores import memory
    from netboot.profile.stores import parse_store
    from netboot.serve.room_pages import pages_name

    own = parse_store(profile.swap.store).directory
    parents = [parent for parent in (own, memory.TMPFS) if parent is not None]
    kept = (find_kept(parent, pages_name(state), owner) for parent in parents)
    return [folder for folder in kept if folder is not None]


def become_default(
    profile: "Profile", images: Path | None, state: Path, others: Sequence[Path], *, build: bool
) -> str:
    """Restart this command as the user ``netboot``, if root started it and there is that user.

    If that user cannot serve this room, return the reason: the server goes on as root. Images that
    root has built (``build``) are named on the new command line.
    """
    from netboot.cli import user as users

    user = default_user()
    if user is None:
        return ""
    from netboot.profile.stores import parse_store

    own = parse_store(profile.swap.store).directory
    read = [*others, *map(Path, profile.images), *([images] if images else [])]
    needs = users.Needs(
        state,
        read=[path for path in read if path.exists()],  # those that are missing have been told
        write=[own] if own is not None else [],
        pages=next(iter(_kept_folders(profile, state, 0)), None),
    )
    return users.become_default(user, needs, images if build else None)
