"""The command. Only this package prints or exits.

Each verb imports its own modules when it runs: so a killed page server is back in a third of the
time.
"""

import sys
from typing import NoReturn

import typer

from netboot.cli import lab, looking, ordering, profiles, service, serving
from netboot.cli.common import INTERRUPTED
from netboot.errors import OperatorError

app = typer.Typer(
    help="Boot a room of diskless PCs over PXE, TFTP and HTTP, with network swap before userland.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
