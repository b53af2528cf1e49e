"""``netboot pages``: a page server on its own, with a fixed table of exports."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from netboot.pages import upgrade
from netboot.pages.server import Address, PageServer
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores import memory
from netboot.pages.stores.folder import KEPT_PREFIX, beside, find_kept
from netboot.pages.stores.store import make_store
from netboot.profile.stores import BY_NAME, parse_store


def name_of(listen: Address, name: str) -> str:
    """Return the name under which a server keeps its pages: ``name``, or else its address.

    By this name the server finds its pages after a crash. The result is empty if the kernel chooses
    the port: then no pages are kept.
    """
    host, port = listen
    return name or (f"{host.replace(':', '-').lstrip('-')}-{port}" if port else "")


def upgrade_static(listen: Address, store_text: str, name: str = "") -> int:
    """Make the server that was started with these options replace its program.

    Returns its process id. Raises OperatorError if no such server runs.
    """
    spec = parse_store(store_text)
    # The directory of a tiered store is the one of its memory tier.
    parent = spec.directory if spec.kind == "disk" and spec.directory else memory.TMPFS
    kept = name_of(listen, name)
    if BY_NAME[spec.kind].remote:
        kept = beside(kept, spec.kind)
    found = find_kept(parent, kept, os.geteuid())
    return upgrade.ask(found or parent / f"{KEPT_PREFIX}{kept}")


async def serve_static(
    listen: Address,
    exports: Mapping[str, int],
    store_text: str,
    ready: Callable[[str], None],
    name: str = "",
    images: Mapping[str, Path] | None = None,
    workers: int | None = None,
) -> None:
    """Serve ``exports`` (name: size in bytes) from a store, and ``images``, until cancelled.

    Calls ``ready`` with one line, ``listening on HOST:PORT``, as soon as clients can connect. Pages
    outlive the server if it is killed. If it is stopped, they are wiped unless they have a
    ``name``. On SIGHUP the program is replaced and the clients notice nothing. Raises OperatorError
    if the address, the store or an image cannot be used.
    """
    kept_as = name_of(listen, name)
    store = make_store(parse_store(store_text), kept_as)
    with contextlib.ExitStack() as at_end:
        if kept_as and not name and store.directory is not None:
            at_end.callback(shutil.rmtree, store.directory, ignore_errors=True)
        at_end.callback(store.close)
        found = StaticExports(store, exports, images)
        server = PageServer(found, listen=[listen], workers=workers)
        await server.start(upgrade.inherited())
        hung_up = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
        try:
            host, port = server.addresses[0]
            ready(f"listening on {f'[{host}]' if ':' in host else host}:{port}")
            await server.settled()
            if kept_as and store.directory is not None:
                upgrade.announce(store.directory)
            await _upgraded(server, hung_up, possible=bool(kept_as and store.directory))
        finally:
            await server.stop()
            if not name:
                for pages in store.names():
                    store.remove(pages)


async def _upgraded(server: PageServer, hung_up: asyncio.Event, *, possible: bool) -> None:
    """Wait for SIGHUP and replace the program. Never returns."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        if possible and await upgrade.check():
            upgrade.reexecute(await server.leave())
