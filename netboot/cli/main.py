"""The command. Only this package prints or exits.

Each verb imports its own modules when it runs: so a killed page server is back in a third of the
time.
"""

import re
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import netboot
from netboot.cli import lab, looking, ordering, profiles, service, serving
from netboot.cli.common import INTERRUPTED
from netboot.errors import OperatorError


class Verbs(TyperGroup):
    """The verbs. A profile without --profile gets a hint."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            found = re.search(r"unexpected extra argument.*\((\S+\.ya?ml)\)", error.message)
            if found:
                error.message += f"; did you mean --profile {found[1]}?"
            raise


app = typer.Typer(
    cls=Verbs,
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
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a verb."""


for verbs in (serving, profiles, looking, ordering, lab):
    app.add_typer(verbs.app)
app.add_typer(service.app, name="service")


def main() -> NoReturn:
    """Run the command. Print a line for each mistake of the operator, and exit with status 2."""
    try:
        app(standalone_mode=True)
    except OperatorError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)
