"""``netboot sync``: a second boot server gets what the first one has."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.common import (
    DEFAULT_PROFILE,
    DEFAULT_ROOTS,
    DEFAULT_STATE,
    JsonOption,
    ProfileOption,
    RootsOption,
    StateOption,
    last_build,
)
from netboot.cli.feeds import state_of
from netboot.cli.profile_path import find_profile
from netboot.cli.verbs import App
from netboot.errors import OperatorError

if TYPE_CHECKING:
    from netboot.deploy.sync import Report
    from netboot.profile.profile import Profile

app = App()


@app.command(
    epilog="Examples:  sudo netboot sync root@10.0.0.2 --profile room.yaml  |  "
    "sudo netboot sync root@10.0.0.2 --profile room.yaml --secret  |  "
    "sudo netboot sync boot2 --ssh '/usr/bin/ssh -p 2222' --json"
)
def sync(
    host: Annotated[str, typer.Argument(metavar="HOST", help="The other server, as SSH knows it.")],
    profile: ProfileOption = DEFAULT_PROFILE,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="FOLDER",
            help="The boot files, as 'netboot build' wrote them. Default: those of an installed "
            "server, else the last build.",
        ),
    ] = None,
    roots: RootsOption = DEFAULT_ROOTS,
    state: StateOption = DEFAULT_STATE,
    secret: Annotated[
        bool, typer.Option("--secret", help="Copy the server's secret too. Else it stays here.")
    ] = False,
    ssh: Annotated[
        str, typer.Option("--ssh", metavar="COMMAND", help="The command that connects.")
    ] = "ssh",
    as_json: JsonOption = False,
) -> None:
    """Copy root images, their definitions, boot files and the profile to another server over SSH.

    Nothing that the other server has by its digest is sent again. After an interruption the same
    command goes on from there. PCs get all of an image or none of it. Needs rsync on both machines.
    Of the files in `seat.files` those in /etc/netboot are copied; the others are named.
    """
    from netboot.cli import show
    from netboot.deploy import layout
    from netboot.deploy.peer import Peer
    from netboot.deploy.sync import Source, seat_files
    from netboot.deploy.sync import sync as copy
    from netboot.profile import file as profile_file

    path = find_profile(profile)
    room = profile_file.load(path)  # a profile with mistakes is not spread
    files, left_out = seat_files(room.seat_files, layout.CONFIGURATION)
    installed = layout.IMAGES / "current"
    build = images or (installed if installed.exists() else last_build())
    if build is None:
        raise OperatorError("there are no boot files", hint="netboot build, or --images FOLDER")
    source = Source(path, build, roots, state_of(state), layout.IMAGES, layout.CONFIGURATION, files)
    with show.BuildProgress() as progress:
        report = copy(source, Peer(host, shlex.split(ssh)), progress, secret=secret)
    report.left_out = [f"{each}, which the profile names" for each in _left_out(room)] + left_out
    for each in report.left_out:
        print(f"netboot: not copied: {each}", file=sys.stderr)
    print(json.dumps(report.as_json()) if as_json else _told(report))


def _left_out(profile: "Profile") -> list[str]:
    """Return the paths in a profile that its servers have of their own."""
    named = [
        profile.boot.kernel or "",
        str(profile.boot.raspberry_pi or ""),
        profile.boot.loader_files or "",
    ]
    return sorted({*profile.images, *(each for each in named if each.startswith("/"))})


def _told(report: "Report") -> str:
    """Return what the other server has now, a line for each part."""
    if report.is_empty:
        return f"{report.host} has all of it"
    lines = [f"{each}: sent" for each in report.versions]
    lines += [f"{each}: for the next boots" for each in report.uses]
    lines += [f"{report.boot_files}: the boot files"] if report.boot_files else []
    lines += [f"{each}: written" for each in report.files]
    lines += ["the secret: written; a running server uses it now"] if report.secret else []
    if report.reloaded:
        lines.append("its service has read them")
    elif report.boot_files or report.files:
        lines.append("a server that runs there reads them at its next start, or on SIGHUP")
    return "\n".join([*lines, f"{report.host}: {report.sent_bytes / 1e6:.1f} MB sent"])
