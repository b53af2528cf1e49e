"""The verbs that look at a running server."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from netboot.command.common import (
    DEFAULT_PROFILE,
    JsonOption,
    ProfileOption,
    SetOption,
)

app = typer.Typer()


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
