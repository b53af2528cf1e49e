"""``netboot service``: the installed server of this machine. `fab deploy` calls it over SSH."""

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.verbs import App
from netboot.errors import Exit, OperatorError

if TYPE_CHECKING:
    from netboot.deploy.service import Result

app = App(
    help="Manage the server installed on this machine. 'fab deploy' calls this over SSH.",
    no_args_is_help=True,
)


@app.command()
def activate(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="A folder of /opt/netboot/releases.")
    ],
) -> None:
    """Serve a release. Go back to the previous one if the doctor finds a fault."""
    from netboot.deploy import service

    _end(service.activate(release, _say))


@app.command()
def rollback() -> None:
    """Serve the previous release."""
    from netboot.deploy import service

    _end(service.rollback(_say))


@app.command()
def status() -> None:
    """Print the installed release and the running server, as JSON."""
    from netboot.deploy import service

    print(json.dumps(service.status()))


@app.command()
def uninstall(
    purge: Annotated[bool, typer.Option(help="Also remove the profile in /etc/netboot.")] = False,
) -> None:
    """Stop the server and remove it with its images, state and users."""
    from netboot.deploy import service

    _end(service.uninstall(keep_profile=not purge, say=_say))


@app.command()
def run() -> None:
    """Serve in the foreground as the unprivileged user, for supervisors other than systemd."""
    from netboot.deploy import layout, packaged

    is_packaged = os.path.exists(packaged.COMMAND[0])
    serve = layout.serve_command(packaged.COMMAND if is_packaged else ())
    command = [*serve, "--user", layout.USER]
    if not os.path.exists(command[0]):
        problem = f"no server is installed on this machine: there is no {command[0]}"
        remedy = f"fab deploy -H root@SERVER, or the Debian package {layout.PACKAGE}"
        raise OperatorError(problem, hint=f"install one: {remedy}")
    os.execvp(command[0], command)


@app.command(hidden=True)
def panel() -> None:
    """Serve the page of the room that the installed server serves, as its unit does.

    Exit at once if the profile wants no panel.
    """
    from netboot.cli import panel_command
    from netboot.deploy import layout
    from netboot.profile import file as profile_file

    profile = profile_file.load(layout.PROFILE)
    found = panel_command.panel_of(profile, layout.STATE, layout.PANEL_STATE)
    if isinstance(found, panel_command.Panel):
        os.execve(found.command[0], found.command, {**os.environ, **found.environment})
    elif found:
        raise OperatorError(found)


def _say(line: str) -> None:
    # The SSH connection may have ended meanwhile. That must not stop the work half-way.
    with contextlib.suppress(OSError):
        print(f"netboot: {line}", file=sys.stderr, flush=True)


def _end(result: "Result") -> None:
    print(json.dumps(result.as_json()))
    sys.exit(Exit.DONE if result.ok else Exit.FAILED)
