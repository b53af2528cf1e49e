"""The pages of a room: swap in its store, the files that PCs keep, and root images."""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from netboot.boot.plan import KEPT, image_export, verified_export
from netboot.errors import OperatorError
from netboot.pages import headroom
from netboot.pages.exports import Exports, LeasedExports
from netboot.pages.kept import KeptTable
from netboot.pages.kept_exports import KeptExports, WithKept, new_key
from netboot.pages.room_exports import ClassroomExports
from netboot.pages.shared_exports import Room as SharedRoom
from netboot.pages.shared_exports import SharedExports
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores import pool
from netboot.pages.stores import store as stores
from netboot.pages.stores.image import ImageFile, open_image
from netboot.pages.verity import verify_images
from netboot.pages.versions import Files, VersionExports
from netboot.profile.profile import Profile
from netboot.profile.stores import StoreSpec, parse_store
from netboot.serve.room import Room

log = logging.getLogger(__name__)

KEPT_FOLDER = "persist"  # of the areas in which PCs keep files


class RoomPages:
    """The store of a room and the exports over it, for its page server.

    ``now`` is in seconds since the epoch. ``running`` closes all at the end, and ``keep_running``
    runs a task until then. ``images`` are the root images by their exports (``open_images``).
    """

    def __init__(
        self,
        profile: Profile,
        state: Path,
        room: Room,
        now: Callable[[], float],
        running: contextlib.AsyncExitStack,
        keep_running: Callable[[Coroutine[Any, Any, None]], None],
        images: dict[str, ImageFile],
    ) -> None:
        self._profile = profile
        self._state = state
        self._room = room
        self._now = now
        self._running = running
        self._keep_running = keep_running
        name = pages_name(state)
        self._spec = headroom.affordable(parse_store(profile.swap.store), name)
        self._store, self._leased = store, leased = self._make_store(name)
        running.callback(leased.close)
        room.is_granted = leased.is_granted
        if store.directory is not None:
            for left in headroom.left_behind(store.directory, leased.files.places):
                log.warning("pages: %s", left)
            self._watch_room(self._spec, store.directory)
        running.push_async_callback(leased.files.keeper.stop)
        self.exports = self._with_kept(
            ClassroomExports(
                leased,
                StaticExports(store, {}, images),
                room.image_of,
                VersionExports(self._files_of),
                room.root_of,
                self._read,
            )
        )

    def _make_store(self, name: str) -> tuple[stores.PageStore, LeasedExports]:
        """Return the store, and the leases in it, which other servers share with layout ``any``."""
        room = self._room

        def ceiling(seat: str) -> int | None:
            return room.seats.of(seat).settings.swap.ceiling

        if self._profile.swap.layout != "any":
            store = stores.make_store(self._spec, name)
            self._running.callback(_close_store, store)
            return store, LeasedExports(store, room.table, self._now, ceiling, self._state)
        shared = pool.make_store(self._spec, name)
        self._running.callback(shared.close)
        mates = SharedRoom(
            room.keys.rooms,
            room.keys.swap_key,
            lambda seat: room.seats.of(seat).settings.swap.connections,
        )
        exports = SharedExports(shared, room.table, mates, self._now, ceiling, self._state)
        self._keep_running(exports.run())
        return shared, exports

    @property
    def folders(self) -> list[Path]:
        """The folders in which pages lie."""
        spec, directory = self._spec, self._store.directory
        folders = [] if directory is None else [directory]
        if spec.kind == "tiered" and spec.directory is not None:
            folders += [spec.directory / each.name for each in folders]
        return folders

    def flush(self) -> None:
        """Write what the next program needs to know of the leases."""
        self._leased.files.keeper.flush()
        if self._room.leases.kept is not None:
            self._room.leases.kept.keeper.flush()

    def _with_kept(self, others: Exports) -> Exports:
        """Add the areas in which PCs keep files, if a profile gives some now or gave some before."""
        folder = self._state / KEPT_FOLDER
        if not (self._profile.keeps or folder.exists()):
            return others
        kept = KeptExports(folder, KeptTable(0, new_key), self._now)
        self._running.callback(kept.close)
        self._running.push_async_callback(kept.keeper.stop)
        self._room.leases.kept = kept
        return WithKept(kept, others, KEPT)

    def _watch_room(self, spec: StoreSpec, directory: Path) -> None:
        """Grant no more than the server can hold, from now on; warn if that is too little."""
        swap, table = self._profile.swap, self._room.table
        promise = headroom.Promise(spec, swap.capacity, swap.overcommit)

        def look() -> headroom.Holding:
            holding = headroom.look(promise, directory, table.granted_bytes)
            table.capacity_bytes = holding.granted
            return holding

        with contextlib.suppress(OSError):  # the task tells it
            look()
        self._keep_running(headroom.watch(look))

    def _files_of(self, name: str, short: str) -> Files | None:
        version = self._room.shelf.version(name, short)
        return None if version is None else Files(version.image, version.tree)

    def _read(self, reader: str, name: str, export: str) -> None:
        self._room.reads(reader, name, VersionExports.short_of(export))


def open_images(profile: Profile, state: Path, room: Room) -> dict[str, ImageFile]:
    """Open the root images, and return them by their exports. Warn of one that is missing.

    Makes the hash tree of an image that is new or changed (see ``verify_images``), and gives the
    trees to ``room``. Without trees no image is served: PCs would boot what they cannot verify.
    """
    opened: dict[str, ImageFile] = {}
    for path in sorted(profile.images):
        try:
            opened[path] = open_image(Path(path))
        except OperatorError as error:
            log.warning("%s; PCs with this root do not boot", error)
    exports = {image_export(path): pages for path, pages in opened.items()}
    # Also with root.verify: no, because PCs that verify may have booted before.
    try:
        verified = verify_images(opened, state / "trees")
    except OperatorError as error:
        log.warning("%s; %s; PCs with a root image do not boot", error, error.hint)
        return {}
    room.trees = {path: each.tree for path, each in verified.items()}
    return exports | {verified_export(path): each.pages for path, each in verified.items()}


def pages_name(state: Path) -> str:
    """Return the name under which the server with this state folder keeps its pages."""
    digest = hashlib.blake2b(os.fsencode(state.resolve()), digest_size=8).hexdigest()
    return f"room-{digest}"


def _close_store(store: stores.PageStore) -> None:
    """Leave the pages of seats to the next server of this room. Remove a store without pages."""
    kept, directory = len(store.names()), store.directory
    store.close()
    if directory is None:
        return
    if not kept:
        shutil.rmtree(directory, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        log.warning(
            "pages: %d MiB of swap stay in %s for the next start; if no PC needs its swap, free "
            "them: rm -r %s",
            headroom.in_mib(directory),
            directory,
            directory,
        )
