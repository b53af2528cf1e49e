"""``netboot backup`` and ``netboot restore``: a server's secret, state and profile in one file."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from netboot.cli.common import (
    DEFAULT_PROFILE,
    DEFAULT_STATE,
    JsonOption,
    ProfileOption,
    StateOption,
)
from netboot.cli.feeds import state_of
from netboot.cli.profile_path import INSTALLED, USUAL, find_profile
from netboot.cli.verbs import App

app = App()


@app.command(
    epilog="Examples:  sudo netboot backup  |  "
    "sudo netboot backup --output /media/stick/room.tar.gz --json"
)
def backup(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("backup.tar.gz"),
    profile: ProfileOption = DEFAULT_PROFILE,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Write the server's secret, state and profile to one file, which its owner alone can read.

    The server may run. Files that PCs keep, root images and the panel's history are not in it.
    """
    from netboot.cli import checks
    from netboot.deploy import backup as backups
    from netboot.host.files import PRIVATE, replace_file

    checks.check_output("--output", output, folder=False)
    found = backups.take(find_profile(profile), state_of(state))
    content = found.serialize()
    replace_file(output, content, mode=PRIVATE, durable=True)
    if as_json:
        row = {"file": str(output), "size": len(content), "files": list(found.files)}
        print(json.dumps(row))
    else:
        print(f"{output}: {len(content)} bytes: {backups.told(list(found.files))}")
        print(f"netboot: keep {output} secret: it opens the room", file=sys.stderr)


@app.command(
    epilog="Examples:  sudo netboot restore backup.tar.gz  |  "
    "sudo netboot restore room.tar.gz --replace --json"
)
def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that 'netboot backup' wrote.")
    ],
    profile: Annotated[
        Path,
        typer.Option("--profile", "-p", metavar="FILE", help="Where the profile is written."),
    ] = INSTALLED / USUAL,
    state: StateOption = DEFAULT_STATE,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace other content that is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a backup's secret, state and profile to this machine, for a server that does not run.

    All of it is checked before anything is written. PCs keep their swap if the store still has it.
    """
    from netboot.cli import checks
    from netboot.deploy import backup as backups

    checks.check_file("FILE", file)
    found = backups.read(file)
    folder = state_of(state)
    changed = backups.restore(found, folder, profile, replace=replace)
    if as_json:
        row = {"release": found.release, "made": found.made, "files": list(found.files)}
        print(json.dumps({**row, "written": [str(path) for path in changed]}))
        return
    for path in changed:
        print(f"{path}: written")
    print(
        f"restored: {backups.told(list(found.files))} of netboot {found.release}; start the server"
    )
