"""The verbs that serve: a room, or pages alone."""

import importlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli import draining
from netboot.cli.common import (
    DEFAULT_PROFILE,
    DEFAULT_ROOTS,
    DEFAULT_STATE,
    ImagesOption,
    JsonOption,
    ProfileOption,
    RootsOption,
    SetOption,
    last_build,
    until_stopped,
)
from netboot.cli.ending import as_mistake
from netboot.cli.profile_path import find_profile
from netboot.cli.telling import (
    LogLevelOption,
    QuietOption,
    Telling,
    VerboseOption,
    level_of,
    log_to_errors,
)
from netboot.cli.verbs import App
from netboot.errors import Exit, OperatorError
from netboot.host.journald import Priority
from netboot.pages.check_verb import CHECK_VERB, WORDS
from netboot.profile import arguments

if TYPE_CHECKING:
    from netboot.serve.services import Services

app = App()
verb = App(invoke_without_command=True)
app.add_typer(verb, name="pages")
verb.add_typer(draining.app)


@app.command(
    epilog="Examples:  sudo netboot serve --profile lab.yaml  |  "
    "sudo netboot serve -p lab.yaml --set interface=eth1 --json"
)
def serve(
    profile: ProfileOption = DEFAULT_PROFILE,
    settings: SetOption = [],  # noqa: B006 # typer copies it
    image_folder: ImagesOption = None,
    state: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            envvar="NETBOOT_STATE",
            show_envvar=False,
            help="Where leases and the server's secret are kept.",
        ),
    ] = DEFAULT_STATE,
    initrd: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="A further initrd for every PC. Files below /userland go to the PC's root.",
        ),
    ] = [],  # noqa: B006
    roots: RootsOption = DEFAULT_ROOTS,
    swap_only: Annotated[
        bool,
        typer.Option(
            "--swap-only",
            help="Serve leases and pages alone, as a further server of swap.servers. The --state "
            "folder must hold the secret of the server that boots the PCs.",
        ),
    ] = False,
    user: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="If started by root: run as this user, with no rights beyond low ports and raw "
            "sockets. Default: netboot, if there is such a user and the files are that user's or "
            "readable; else root. 'root' keeps root.",
        ),
    ] = "",
    log_level: LogLevelOption = "",
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve a room until Ctrl-C: DHCP or proxyDHCP, TFTP, HTTP and network swap.

    On SIGHUP the server replaces its own program. Seats keep their swap and notice nothing.
    """
    import asyncio

    from netboot.boot.events import Journal
    from netboot.cli import checks, panel_child, panel_command, room_lines
    from netboot.cli.beginning import (
        become_default,
        built_or_last,
        check_files,
        has_pages,
        root_files,
    )
    from netboot.cli.user import become, go_first
    from netboot.host import notify
    from netboot.profile import file as profile_file
    from netboot.profile.stores import parse_store

    level = level_of(log_level, verbose=verbose, quiet=quiet)
    checks.check_state(state)
    if user:
        become(user, state)
    path = find_profile(profile)
    room_profile = profile_file.load(path, settings)
    checks.check_store(f"{path}: key 'swap.store'", parse_store(room_profile.swap.store), state)
    if WORDS in os.environ:  # of a server that is to replace its program, and would lose all
        check_files(path, None if swap_only else room_profile, image_folder, initrd)
        images = None if swap_only else image_folder or state
        if not swap_only:
            checks.check_roots(room_profile, roots, image_folder or last_build())
        _services()(room_profile, images, state, Journal(), initrds=initrd, roots=roots).check()
        return
    doubts = [*room_profile.doubts, *checks.unfit_sizes(room_profile)]
    doubts += checks.doubts_of_readers(path, room_profile)
    waited_for = has_pages(room_profile, state)
    try:
        check_files(path, None if swap_only else room_profile, image_folder, initrd)
    except OperatorError as error:
        if not waited_for:
            raise
        doubts.append(str(error))
    folder = None
    if not swap_only:
        folder = image_folder or built_or_last(room_profile, state, waited_for=waited_for)
        try:
            checks.check_roots(room_profile, roots, folder)
        except OperatorError as error:
            if not waited_for:
                raise
            doubts += str(error).splitlines()
        doubts += checks.doubts_of_logins(room_profile, roots)
    stays = ""
    if not user:
        build = folder is not None and image_folder is None
        read = [path, *initrd, *root_files(room_profile, roots)]
        stays = become_default(room_profile, folder, state, read, build=build)
    go_first()
    journal = Journal(room_profile.clients)
    has_no_child = swap_only or panel_command.has_unit(state)
    panel = "" if has_no_child else panel_command.panel_of(room_profile, state)
    beside = None
    if isinstance(panel, panel_command.Panel):
        beside = panel_child.PanelProcess(panel, state)
    else:
        panel_child.end_former()
        doubts += [panel] if panel else []
    services = _services()(
        room_profile,
        folder,
        state,
        journal,
        initrds=initrd,
        roots=roots,
        panel_group=panel_command.group_of(panel),
    )
    telling = Telling(room_profile, level, as_json=as_json)
    if stays:
        logging.getLogger(__name__).warning("serving as root: %s", stays)
    for doubt in doubts:
        logging.getLogger(__name__).warning("%s: %s", path, doubt)

    journal.subscribe(telling.tell)

    async def run() -> None:
        hung_up = asyncio.Event()
        try:
            # Before anybody knows that it is ready: without a handler the signal ends the process.
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
            await services.start()
            telling.ready(services.description())
            notify.ready()
            left = services.description().get("named_by") == "lan"
            notify.keep_status(lambda: room_lines.standing(services.standing(), left=left))
            if beside is not None:
                beside.start()
            while await hung_up.wait():
                hung_up.clear()
                await asyncio.to_thread(telling.drain)
                if beside is None:
                    await services.upgrade()
                    continue
                beside.hand_on()
                await services.upgrade()
                beside.keep()
        finally:
            await asyncio.gather(services.stop(), *(() if beside is None else (beside.stop(),)))
            telling.drain()

    until_stopped(run())


def _services() -> "type[Services]":
    """Import what serves, more than half of a start. Before that, root may become another user."""
    from netboot.host import certificates

    with certificates.unread():  # our HTTP has no TLS
        from netboot.serve.services import Services
    return Services


@verb.callback(
    epilog="Example:  netboot pages --listen 127.0.0.1:10809 --export scratch=1GiB  "
    "(then: nbdinfo nbd://127.0.0.1:10809/scratch)"
)
def pages(
    context: typer.Context,
    export: Annotated[
        list[str], typer.Option(metavar="NAME=SIZE", help="An export, such as scratch=1GiB.")
    ] = [],  # noqa: B006
    image: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE",
            help="A read-only export of a file or block device, such as root=/srv/root.img. "
            "Any number of clients may share it.",
        ),
    ] = [],  # noqa: B006
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The address to serve on.")
    ] = "127.0.0.1:10809",
    store: Annotated[
        str,
        typer.Option(
            metavar="STORE",
            help="Where pages are kept: memory, disk:DIR, tiered:DIR,memory=SIZE, "
            "rbd:POOL[,namespace=NAME], or null.",
        ),
    ] = "memory",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Number of worker processes. Default: one for each CPU, up to 8.",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Keep the pages under this name when stopped. Without a name they are kept only "
            "if the server is killed.",
        ),
    ] = "",
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade",
            help="Have the server that runs with this --listen, --store and --name replace its "
            "program, as SIGHUP does. Its clients notice nothing.",
        ),
    ] = False,
    log_level: LogLevelOption = "",
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve pages alone until Ctrl-C: an NBD server for the given exports.

    Its verbs take a page server of a room out of service, and back.
    """
    if context.invoked_subcommand is not None:
        return
    from netboot.cli.user import go_first

    go_first()  # before the other imports: they take longer than the rest of the start
    from netboot.cli import checks
    from netboot.pages.static import serve_static, upgrade_static
    from netboot.pages.stores.image import open_image
    from netboot.profile.stores import parse_store

    level = level_of(log_level, verbose=verbose, quiet=quiet)
    address = arguments.parse_endpoint(listen)
    checks.check_store("--store", parse_store(store))
    if upgrade:
        print(f"upgraded: process {upgrade_static(address, store, name)}")
        return
    exports = arguments.parse_exports(export)
    read_only = arguments.parse_images(image)
    if not (exports or read_only):
        problem = "nothing to serve; give an --export or an --image"
        raise OperatorError(problem, hint="netboot pages --help")
    if WORDS in os.environ:
        for path in read_only.values():
            open_image(path).close()
        return
    log_to_errors(level)

    def ready(line: str) -> None:
        if level >= Priority.INFO:
            print(line, flush=True)

    work = serve_static(address, exports, store, ready, name, read_only, workers)
    until_stopped(work)


@app.command(CHECK_VERB, hidden=True)
def can_serve() -> None:
    """Do all that a start does before it serves, and exit.

    A running server calls this before it upgrades itself. The environment has its command line.
    """
    for module in ("netboot.pages.static", "netboot.pages.worker.worker", "netboot.serve.services"):
        importlib.import_module(module)
    try:
        if words := json.loads(os.environ.get(WORDS, "[]")):
            app(words)
    except (OperatorError, OSError) as error:
        mistake = as_mistake(error) if isinstance(error, OSError) else error
        print("; ".join(str(mistake).splitlines()), file=sys.stderr)
        sys.exit(Exit.FAILED)  # the status of a mistake says that there is no such verb
