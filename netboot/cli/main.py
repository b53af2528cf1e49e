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

# Phrases of the libraries that read options, and ours.
PHRASES = (
    (r"(unexpected extra argument.*\((\S+\.ya?ml)\))", r"\1; did you mean --profile \2?"),
    (r"Value error, ('.*') is not one of (.*)\.", r"expected one of \2, found \1"),
    (r"Input should be greater than or equal to (\S+)", r"expected \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"expected at most \1"),
    (r"Input should be a valid integer.*", "expected a whole number"),
    (r"Input should be a valid number.*", "expected a number"),
)


class Verbs(TyperGroup):
    """The verbs. A mistake in an option is told in our words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            for phrase, ours in PHRASES:
                error.message = re.sub(phrase, ours, error.message)
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
