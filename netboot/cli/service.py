"""``netboot service``: the installed server of this machine. `fab deploy` calls it over SSH."""

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from netboot.deploy.service import Result

app = typer.Typer(
    help="The server installed on this machine: what 'fab deploy' calls on the far side.",
    no_args_is_help=True,
)


@app.command()
def activate(
    release: Annotated[str, typer.Argument(help="A folder of /opt/netboot/releases.")],
) -> None:
    """Serve a release; go back to the one before if the doctor finds it unwell."""
    from netboot.deploy import service

    _end(service.activate(release, _say))


@app.command()
def rollback() -> None:
    """Serve the release before this one."""
    from netboot.deploy import service

    _end(service.rollback(_say))


@app.command()
def status() -> None:
    """Print what is installed and runs, as JSON."""
    from netboot.deploy import service

    print(json.dumps(service.status()))


@app.command()
def uninstall(
    purge: Annotated[bool, typer.Option(help="Remove the profile in /etc/netboot too.")] = False,
) -> None:
    """Stop the server and remove it with its images, state and user."""
    from netboot.deploy import service

    _end(service.uninstall(keep_profile=not purge, say=_say))


@app.command()
def run() -> None:
    """Serve in the foreground as the unprivileged user: for another supervisor than systemd."""
    from netboot.deploy import layout

    command = [*layout.serve_command(), "--user", layout.USER]
    os.execvp(command[0], command)


def _say(line: str) -> None:
    # Who asked over SSH may have hung up meanwhile: that must not end it half way.
    with contextlib.suppress(OSError):
        print(f"netboot: {line}", file=sys.stderr, flush=True)


def _end(result: "Result") -> None:
    print(json.dumps(result.as_json()))
    sys.exit(0 if result.ok else 1)
