"""The command's verbs. Only this and deploy.command print or exit.

Each verb imports what it needs: a page server that was killed is back in a third of the time.
"""

import asyncio
import contextlib
import functools
import json
import os
import pwd
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from netboot import values
from netboot.deploy import command as service
from netboot.errors import OperatorError

if TYPE_CHECKING:
    from netboot.events import BootEvent
    from netboot.lab.rig import Lesson, SeatReport
    from netboot.profile import Profile

INTERRUPTED = 130  # what a shell makes of SIGINT
# Of what serves a room: whoever wants to attach waits for it, while workers may take all the CPU
# there is. A server that was killed under load is back in half the time (docs/architecture.md).
FIRST = -10
DEFAULT_PROFILE = Path("profiles/lab.yaml")

app = typer.Typer(
    help="Boots a room of diskless PCs over PXE, TFTP and HTTP, with network swap before userland.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(service.app, name="service")

ProfileOption = Annotated[
    Path, typer.Option("--profile", "-p", help="The room's profile, a YAML file.")
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in dhcp.mode=full."),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="Folder made by 'netboot build'; without it, they are built."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def main() -> NoReturn:
    """Runs the command. An operator's mistake is one line for each, and exit status 2."""
    try:
        app(standalone_mode=True)
    except OperatorError as error:
        print(f"{error}" + (f"\n  hint: {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


@app.command(
    epilog="Examples:  sudo netboot serve --profile profiles/lab.yaml  |  "
    "sudo netboot serve -p lab.yaml --set interface=eth1 --json"
)
def serve(
    profile: ProfileOption = DEFAULT_PROFILE,
    settings: SetOption = [],  # noqa: B006 # typer copies it
    image_folder: ImagesOption = None,
    state: Annotated[
        Path, typer.Option(help="Where leases and the server's secret are kept.")
    ] = Path("/var/lib/netboot"),
    initrd: Annotated[
        list[Path],
        typer.Option(help="One more initrd for every PC: files below /userland go to its root."),
    ] = [],  # noqa: B006
    swap_only: Annotated[
        bool,
        typer.Option(
            "--swap-only",
            help="A further server of swap.servers: leases and pages, nothing to boot from. Needs "
            "the secret of the server that boots the PCs in its --state folder.",
        ),
    ] = False,
    user: Annotated[
        str,
        typer.Option(
            help="Started by root: run as this user, who may only open ports and hear frames besides."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Serve a room: DHCP or proxyDHCP, TFTP, HTTP and network swap, until Ctrl-C.

    On SIGHUP it replaces its own program; seats keep their swap and notice nothing.
    """
    from netboot import notify, profile_file, show
    from netboot.events import Journal
    from netboot.services import Services

    if user and os.geteuid() == 0:
        _become(user, state)
    room_profile = profile_file.load(profile, settings)
    # What boots nobody needs no images.
    folder = image_folder or (Path(os.devnull) if swap_only else _built(room_profile, None))
    _go_first()
    journal = Journal()
    services = Services(room_profile, folder, state, journal, initrds=initrd, swap_only=swap_only)

    def tell(event: "BootEvent") -> None:
        if as_json:
            print(json.dumps(event.as_json()), flush=True)
        else:
            print(show.event_line(event, room_profile.hostname(event.seat)), flush=True)

    journal.subscribe(tell)

    async def run() -> None:
        try:
            await services.start()
            ready = services.description()
            print(json.dumps({"ready": ready}) if as_json else show.ready(ready), flush=True)
            hung_up = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
            notify.ready()
            while await hung_up.wait():
                hung_up.clear()
                await services.upgrade()
        finally:
            await services.stop()

    _until_stopped(run())


@app.command(epilog="Example:  netboot build --profile profiles/lab.yaml --output images")
def build(
    profile: ProfileOption = DEFAULT_PROFILE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; default: the cache.")
    ] = None,
    settings: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Build the boot images: Debian's kernel, an initramfs with our swap agent, boot loaders."""
    from netboot import profile_file, show
    from netboot.images import build as images

    folder = _built(profile_file.load(profile, settings), output)
    manifest = json.loads((folder / images.MANIFEST_FILE).read_text())
    print(json.dumps(manifest) if as_json else show.manifest(folder, manifest))


@app.command(epilog="Example:  netboot check --profile profiles/lab.yaml")
def check(profile: ProfileOption = DEFAULT_PROFILE, settings: SetOption = []) -> None:  # noqa: B006
    """Check a profile: each mistake is one line, exit status 2."""
    from netboot import profile_file
    from netboot.pages.image import open_image

    loaded = profile_file.load(profile, settings)
    for image in sorted(loaded.images):
        open_image(Path(image)).close()
    print(f"{profile}: fine ({len(loaded.clients)} clients, {len(loaded.groups)} groups)")


@app.command(epilog="Example:  netboot schema > netboot.schema.json")
def schema() -> None:
    """Print the profile's JSON Schema, for editors."""
    from netboot import profile_file

    print(json.dumps(profile_file.schema(), indent=2))


@app.command(
    epilog="Example:  netboot plan --profile profiles/lab.yaml --mac 52:54:00:77:00:01 --arch bios"
)
def plan(
    mac: Annotated[str, typer.Option(help="The PC's MAC address.")],
    arch: Annotated[str, typer.Option(help="bios, uefi-x64 or uefi-x64-http.")] = "bios",
    profile: ProfileOption = DEFAULT_PROFILE,
    server: Annotated[
        str, typer.Option(help="Our address, as the PC sees it. Default: one beside dhcp.range.")
    ] = "",
    settings: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Print exactly what one PC would be answered and sent; nothing is sent."""
    from netboot import profile_file, show
    from netboot.dryrun import rehearse

    seat = values.parse_word("--mac", values.MAC, mac)
    address = values.parse_word("--server", values.ADDRESS, server) if server else None
    rehearsal = rehearse(profile_file.load(profile, settings), seat, arch, address)
    print(json.dumps(rehearsal.as_json(), indent=2) if as_json else show.rehearsal(rehearsal))


@app.command(
    epilog="Example:  netboot pages --listen 127.0.0.1:10809 --export scratch=1GiB  "
    "(then: nbdinfo nbd://127.0.0.1:10809/scratch)"
)
def pages(
    export: Annotated[
        list[str], typer.Option(metavar="NAME=SIZE", help="An export, as a=1GiB.")
    ] = [],  # noqa: B006
    image: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE",
            help="A read-only export of a file or block device, as root=/srv/root.img; "
            "any number of clients may share it.",
        ),
    ] = [],  # noqa: B006
    listen: Annotated[str, typer.Option(metavar="HOST:PORT")] = "127.0.0.1:10809",
    store: Annotated[
        str,
        typer.Option(
            metavar="STORE",
            help="Where pages are kept: memory, disk:DIR, tiered:DIR,memory=SIZE, or null.",
        ),
    ] = "memory",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Worker processes; default: one for each CPU, up to 8."),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            help="Keep the pages under this name when stopped. Without it they are kept only "
            "if the server is killed."
        ),
    ] = "",
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade",
            help="Have the server that runs with this --listen, --store and --name replace its "
            "program (as SIGHUP does); its clients notice nothing.",
        ),
    ] = False,
) -> None:
    """Serve pages alone: an NBD server for the given exports, until Ctrl-C."""
    _go_first()  # before the imports: they take longer than the rest of the start
    from netboot.pages.static import serve_static, upgrade_static

    address = values.parse_endpoint(listen)
    if upgrade:
        print(f"upgraded: process {upgrade_static(address, store, name)}")
        return
    exports = values.parse_exports(export)
    read_only = values.parse_images(image)
    ready = functools.partial(print, flush=True)
    work = serve_static(address, exports, store, ready, name, read_only, workers)
    _until_stopped(work)


@app.command(epilog="Example:  netboot status --json | jq '.seats[].hostname'")
def status(
    server: Annotated[str, typer.Option(help="The server's HTTP address.")] = "127.0.0.1:8080",
    as_json: JsonOption = False,
) -> None:
    """Show the seats of a running server: the last stage of each, and when."""
    from netboot import show
    from netboot.http import fetch_status

    report = fetch_status(server)
    print(json.dumps(report) if as_json else show.status(report))


@app.command(epilog="Example:  sudo netboot doctor --profile room.yaml")
def doctor(
    profile: ProfileOption = DEFAULT_PROFILE,
    settings: SetOption = [],  # noqa: B006
    image_folder: Annotated[
        Path | None, typer.Option("--images", help="Compare what is served with this folder.")
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="Ask again for so long until all is well.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Play a PC against this machine's server, step by step; exit status 1 if one fails."""
    from netboot import profile_file, show
    from netboot.doctor import examine
    from netboot.images import build as images

    manifest = None if image_folder is None else image_folder / images.MANIFEST_FILE
    findings = examine(profile_file.load(profile, settings), manifest, wait)
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        print(show.findings(findings))
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@app.command(
    epilog="Examples:  sudo netboot lab --clients 4 --dhcp proxy --until userland  |  "
    "sudo netboot lab --memory 256 --load 2"
)
def lab(
    profile: ProfileOption = DEFAULT_PROFILE,
    clients: Annotated[int, typer.Option(min=1, max=120, help="How many PCs.")] = 1,
    memory: Annotated[int, typer.Option(min=64, metavar="MB", help="RAM of each.")] = 256,
    firmware: Annotated[Literal["bios", "uefi", "uefi-http"], typer.Option()] = "bios",
    dhcp: Annotated[
        Literal["proxy", "full"],
        typer.Option(help="proxy: dnsmasq plays the LAN's own DHCP server."),
    ] = "full",
    until: Annotated[Literal["swap", "userland"], typer.Option(help="When a PC is done.")] = (
        "userland"
    ),
    servers: Annotated[
        int,
        typer.Option(min=1, max=8, help="Page servers: more than one are its swap.servers."),
    ] = 1,
    load: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="Then fill FACTOR times its RAM and verify it."),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder for serial consoles and logs; default: a new one.")
    ] = None,
    capture: Annotated[bool, typer.Option(help="Keep every frame in a pcap file per PC.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS")] = 300.0,
    settings: SetOption = [],  # noqa: B006
    image_folder: ImagesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Boot a virtual classroom: PCs in QEMU on a network of their own, from this server."""
    from netboot import profile_file
    from netboot.images import build as images
    from netboot.lab import machine, network
    from netboot.lab.rig import Lesson

    if servers > 1:
        settings = [*settings, network.servers_setting(servers)]
    room_profile = profile_file.load(profile, settings)
    network.check_root()
    machine.check_programs(firmware)
    folder = logs or Path(tempfile.mkdtemp(prefix="netboot-lab-"))
    folder.mkdir(parents=True, exist_ok=True)
    image_folder = image_folder or _built(room_profile, None)
    lesson = Lesson(
        profile=profile.resolve(),
        settings=tuple(settings),
        images=image_folder.resolve(),
        folder=folder.resolve(),
        clients=clients,
        memory=memory,
        firmware=firmware,
        dhcp=dhcp,
        until=until,
        load=load,
        capture=capture,
        timeout=timeout,
        arguments=room_profile.boot.arguments,
        initrds=() if load is None else (images.build_load_image(images.default_cache()),),
        servers=servers,
    )
    network.run_isolated(lambda: _lesson(lesson, as_json))


def _lesson(lesson: "Lesson", as_json: bool) -> int:
    from netboot import show
    from netboot.lab.rig import Classroom

    def tell(report: "SeatReport", event: "BootEvent") -> None:
        if not as_json:
            print(show.timeline_line(report, event), flush=True)

    classroom = Classroom(lesson, tell)
    _until_stopped(classroom.run(), INTERRUPTED)
    _hand_over(lesson.folder)
    if as_json:
        print(json.dumps(classroom.as_json(), indent=2))
    else:
        print(show.lesson(classroom))
    return 0 if classroom.ok else 1


def _hand_over(folder: Path) -> None:
    """Gives what sudo made to the user who called it, who could not even delete it else."""
    owner = os.environ.get("SUDO_UID")
    if owner is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, int(owner), -1, follow_symlinks=False)


def _built(profile: "Profile", output: Path | None) -> Path:
    from netboot import show
    from netboot.images import build as images

    cache = images.default_cache()
    target = output or cache / "images"
    with show.BuildProgress() as progress:
        built = images.build(profile, target, cache, progress)
    for warning in built.warnings:
        print(f"netboot: {warning}", file=sys.stderr)
    return target


def _become(user: str, state: Path) -> NoReturn:
    """Starts this command anew as ``user``. The state folder is made for that user if need be."""
    from netboot.privileges import command_as

    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        hint = f"sudo useradd --system --user-group {user}"
        raise OperatorError(f"--user: there is no user {user!a}", hint=hint) from None
    if not state.exists():
        state.mkdir(mode=0o700, parents=True)
        os.chown(state, owner.pw_uid, owner.pw_gid)
    command = command_as(user, [sys.executable, *sys.orig_argv[1:]])
    os.execvp(command[0], command)


def _go_first() -> None:
    """Has this process go before others on this machine, if its user may ask for that."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)


def _until_stopped(work: Coroutine[Any, Any, Any], status: int = 0) -> None:
    """Runs ``work``; SIGINT and SIGTERM cancel it, and what it started is stopped in order.

    ``status`` is the exit status then: 0 for what serves until it is stopped.
    """

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await work

    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        sys.exit(status)
