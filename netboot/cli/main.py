"""The command. Only this package prints or exits.

Each verb imports its own modules when it runs: so a killed page server is back in a third of the
time.
"""

import os
import sys
from typing import Annotated, NoReturn

import typer

import netboot
from netboot.cli import (
    backup,
    image,
    keys,
    lab,
    looking,
    ordering,
    panel,
    persist,
    profiles,
    secret,
    service,
    serving,
    snippet,
    starting,
    sync,
    top,
)
from netboot.cli.ending import finish, wants_json
from netboot.cli.verbs import App

app = App(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"netboot {netboot.__version__}")
        raise typer.Exit


@app.callback(
    help="Boot a room of diskless PCs over PXE, TFTP and HTTP, with network swap before userland."
)
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a verb."""


about = App()


@about.command(epilog="Example:  netboot version")
def version() -> None:
    """Print the version."""
    print(f"netboot {netboot.__version__}")


for verbs in (serving, profiles, looking, top, ordering, lab, sync, backup, starting, snippet):
    app.add_typer(verbs.app)
app.add_typer(about)
app.add_typer(image.app, name="image")
app.add_typer(persist.app, name="persist")
app.add_typer(secret.app, name="secret")
app.add_typer(keys.app, name="keys")
app.add_typer(service.app, name="service")
app.add_typer(panel.app, name="panel")


def main() -> NoReturn:
    """Run the command. Print a line for each mistake of the operator, and exit (``errors.Exit``)."""
    sys.exit(finish(app, as_json=wants_json(sys.argv[1:], os.environ)))
