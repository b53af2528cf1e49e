"""The verbs that examine a running server."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.common import (
    DEFAULT_PROFILE,
    DEFAULT_ROOTS,
    DEFAULT_STATE,
    MOST_SECONDS,
    JsonOption,
    ProfileOption,
    RootsOption,
    SetOption,
    StateOption,
    until_stopped,
)
from netboot.cli.feeds import LOCAL, feed_of, state_of
from netboot.cli.profile_path import find_profile
from netboot.cli.verbs import App
from netboot.errors import Exit, OperatorError
from netboot.profile import arguments, values

if TYPE_CHECKING:
    from netboot.boot.events import BootEvent
    from netboot.lab.watch import Watched

ServerOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The HTTP address of the server.")
]

app = App()


@app.command(epilog="Example:  netboot status --json | jq '.seats[].hostname'")
def status(
    server: ServerOption = LOCAL,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Show the seats of a running server, those in trouble first: state, swap, memory, last stage.

    A server on another machine tells the last stage alone, and with its secret only.
    """
    from netboot.cli import show
    from netboot.serve.http.status import fetch_histories, fetch_status

    address = arguments.parse_server(server)
    secret = secret_in(state)
    if as_json:
        print(json.dumps(fetch_histories(address, secret)))
        return
    table = _table(server, state)
    if table is None:
        print(show.status(fetch_status(address, secret)))
        return
    print(table)
    with contextlib.suppress(OperatorError):  # the feed has no areas that are kept
        for line in show.kept_areas(fetch_status(address, secret)):
            print(line)


def _table(server: str, state: Path) -> str | None:
    """Return the seats of this machine's server as a table; None if it has no feed, or another is asked."""
    found = feed_of(server, state)
    if found is None:
        return None
    from netboot.cli import status_table

    return status_table.fetch(found)


def secret_in(state: Path) -> bytes:
    """Return the secret in a state folder; empty if there is none that we may read."""
    from netboot.serve.secret import SECRET_FILE, load_secret

    try:
        return load_secret(state_of(state) / SECRET_FILE, make=False)
    except OperatorError:
        return b""


@app.command(epilog="Example:  netboot watch 00:1e:37:11:22:33 00:1e:37:11:22:44 --timeout 600")
def watch(
    seats: Annotated[list[str], typer.Argument(metavar="MAC", help="MAC addresses of the PCs.")],
    server: ServerOption = LOCAL,
    until: Annotated[
        list[str], typer.Option(metavar="STAGE", help="A stage that each PC must have reported.")
    ] = ["swap", "userland"],  # noqa: B006
    since: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Ignore events before this time (date +%s)."),
    ] = 0.0,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=MOST_SECONDS,
            metavar="SECONDS",
            help="A PC that is not done by then has failed.",
        ),
    ] = 300.0,
    console: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Serial console of a PC. If the PC fails, show the last lines."
        ),
    ] = None,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Watch PCs boot until each has its swap and userland. Exit status 1 if one fails."""
    from netboot.boot import stages
    from netboot.cli import checks, room_lines, show
    from netboot.lab.watch import watch

    server = arguments.parse_server(server)
    macs = [arguments.parse_word("MAC", values.MAC, seat) for seat in seats]
    stage = values.choice(stages.BY_NAME, "a stage such as swap or userland")
    until = [arguments.parse_word("--until", stage, name) for name in until]
    if console is not None:
        checks.check_folder("--console", console.absolute().parent)

    def tell(seat: "Watched", event: "BootEvent") -> None:
        if not as_json:
            print(room_lines.event_line(event, seat.hostname), flush=True)

    watched = watch(
        server, macs, until, since=since, secret=secret_in(state), seconds=timeout, tell=tell
    )
    if as_json:
        print(json.dumps([seat.as_json() for seat in watched]))
    else:
        print(show.watched(watched, console))
    sys.exit(Exit.DONE if all(seat.done for seat in watched) else Exit.FAILED)


@app.command(epilog="Example:  sudo netboot doctor --profile room.yaml")
def doctor(
    profile: ProfileOption = DEFAULT_PROFILE,
    settings: SetOption = [],  # noqa: B006
    image_folder: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="FOLDER", help="Compare the served images with this folder."
        ),
    ] = None,
    roots: RootsOption = DEFAULT_ROOTS,
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            max=MOST_SECONDS,
            metavar="SECONDS",
            help="Repeat the checks until all pass, for at most this time.",
        ),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Play a PC against the server of this machine, step by step, and look at the firewall.

    The PC's own packets do not come in by the network card, so the rules of the firewall are read,
    and tried in a copy in a network namespace of its own. Exit status 1 if a check fails.
    """
    from netboot.cli import checks, show
    from netboot.deploy.doctor import examine, look_around, read_roots
    from netboot.images import build as images
    from netboot.profile import file as profile_file
    from netboot.roots.library import Library

    if image_folder is not None:
        checks.check_manifest("--images", image_folder, find_profile(profile))
    manifest = None if image_folder is None else image_folder / images.MANIFEST_FILE
    room = profile_file.load(find_profile(profile), settings)
    findings = examine(room, manifest, wait) + look_around(room)
    findings += read_roots(room, Library(roots))
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        print(show.findings(findings))
    sys.exit(Exit.DONE if all(finding.ok for finding in findings) else Exit.FAILED)


@app.command(
    epilog="Examples:  sudo netboot storm --clients 60  |  sudo netboot storm --clients 30 "
    "--interface eth1 --server 10.0.0.1 --arch uefi-x64 --over 10 --json"
)
def storm(
    clients: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Number of PCs.")] = 60,
    interface: Annotated[
        str, typer.Option(metavar="NAME", help="The network interface that leads to the server.")
    ] = "auto",
    server: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The server. Default: this machine.")
    ] = "",
    arch: Annotated[
        str,
        typer.Option(
            metavar="ARCH",
            help="The PCs' kind: bios, uefi-x64, uefi-arm64-http, ... or a code of DHCP option 93.",
        ),
    ] = "bios",
    card: Annotated[
        str,
        typer.Option(
            metavar="VENDOR:DEVICE",
            help="PCI ids of their network cards (lspci -n), which decide what drivers they get.",
        ),
    ] = "8086:100e",
    over: Annotated[
        float,
        typer.Option(
            min=0, max=3600, metavar="SECONDS", help="Switch the PCs on within this time."
        ),
    ] = 1.0,
    limit: Annotated[
        float,
        typer.Option(min=1, max=3600, metavar="SECONDS", help="End the storm after this time."),
    ] = 300.0,
    addresses: Annotated[
        str,
        typer.Option(
            metavar="FIRST-LAST",
            help="Addresses of this machine from which the PCs ask, one each. Default: if the "
            "server is this machine, 127.83.0.1 and up; else they share one.",
        ),
    ] = "",
    dhcp: Annotated[
        bool,
        typer.Option(
            "--dhcp/--no-dhcp",
            help="Whether they ask the server by DHCP, which it does not answer with dhcp.mode none.",
        ),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Play a room of PCs against a running server, from power-on to swap: DHCP, TFTP, HTTP, NBD.

    Print how long each stage takes. Exit status 1 if a PC fails.

    This is safe beside PCs in use. It asks that server alone, with MAC addresses of a range of its
    own (02:6e:62:73:...). At its end or on Ctrl-C it gives back all addresses and swap.
    """
    from netboot.boot import arch as architectures
    from netboot.cli import show
    from netboot.host.descriptors import raise_limit
    from netboot.host.interfaces import find_one
    from netboot.lab.storm import sources
    from netboot.lab.storm.play import Storm, play
    from netboot.lab.storm.report import Report
    from netboot.profile.fields import RANGE

    given = arguments.parse_word("--addresses", RANGE, addresses) if addresses else None
    raise_limit()  # a PC that runs has two connections
    found = find_one(interface)
    address = (
        arguments.parse_word("--server", values.HOST_ADDRESS, server) if server else found.address
    )
    wanted = Storm(
        interface=found,
        server=address,
        clients=clients,
        arch=architectures.parse(arch),
        card=arguments.parse_word("--card", values.CARD, card),
        over=over,
        limit=limit,
        sources=sources.choose(clients, given, address),
        dhcp=dhcp,
    )
    reports: list[Report] = []

    async def run() -> None:
        reports.append(await play(wanted, lambda done: progress.advance(done, clients)))

    print(show.storm_begins(wanted), file=sys.stderr)
    with show.BuildProgress() as progress:
        progress.step("PCs with swap, or failed")
        until_stopped(run(), Exit.INTERRUPTED)
    (report,) = reports
    print(json.dumps(report.as_json(), indent=2) if as_json else show.storm(wanted, report))
    sys.exit(Exit.DONE if report.ok else Exit.FAILED)
