"""``netboot panel user``: the accounts of the panel."""

import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.common import JsonOption
from netboot.cli.feeds import INSTALLED_STATE, PANEL_STATE, PanelStateOption
from netboot.cli.verbs import App
from netboot.errors import OperatorError
from netboot.feed.protocol import PANEL_FOLDER

if TYPE_CHECKING:
    from netboot.panel.login.accounts import Accounts, Role

app = App(
    help="Make, list, change and delete the accounts of the panel, while it runs or not.",
    no_args_is_help=True,
    epilog="Examples:  sudo netboot panel user list  |  sudo netboot panel user add anna --role operator",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
RoleOption = Annotated[
    str,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="operator: may give orders; viewer: may look, where a login is needed for that.",
    ),
]
GenerateOption = Annotated[
    bool,
    typer.Option("--generate", help="Make a random password, and print it."),
]


@app.command("add", epilog="Example:  sudo netboot panel user add anna --role viewer")
def add(
    name: NameArgument,
    role: RoleOption = "viewer",
    generate: GenerateOption = False,
    state: PanelStateOption = PANEL_STATE,
) -> None:
    """Make an account. Its password is asked for, or read from standard input."""
    known = _role("--role", role)
    accounts = _accounts(state)
    accounts.check_new(name)
    password = _password(generate)
    accounts.add(name, known, password)
    _tell(password, generate)
    print(f"account {name!r} is made: {known}")


@app.command("list", epilog="Example:  sudo netboot panel user list")
def list_accounts(state: PanelStateOption = PANEL_STATE, as_json: JsonOption = False) -> None:
    """List the accounts and their roles."""
    rows = [{"name": each.name, "role": each.role} for each in _accounts(state).all()]
    if as_json:
        print(json.dumps(rows))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['role']}")
    if not rows:
        print("there is no account: the first start of the panel makes 'operator'")


@app.command("passwd", epilog="Example:  sudo netboot panel user passwd operator --generate")
def passwd(
    name: NameArgument, generate: GenerateOption = False, state: PanelStateOption = PANEL_STATE
) -> None:
    """Set another password. The sessions of the account end, and its delay after wrong passwords."""
    accounts = _accounts(state)
    accounts.known(name)
    password = _password(generate)
    accounts.set_password(name, password)
    _tell(password, generate)
    print(f"account {name!r} has another password; its sessions have ended")


@app.command("role", epilog="Example:  sudo netboot panel user role anna operator")
def change_role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer or operator.")],
    state: PanelStateOption = PANEL_STATE,
) -> None:
    """Give an account another role. The last operator keeps the role."""
    known = _role("ROLE", role)
    _accounts(state).set_role(name, known)
    print(f"account {name!r} has the role {known} from its next request on")


@app.command("delete", epilog="Example:  sudo netboot panel user delete anna")
def delete(name: NameArgument, state: PanelStateOption = PANEL_STATE) -> None:
    """Delete an account, and end its sessions. The last operator cannot be deleted."""
    _accounts(state).delete(name)
    print(f"account {name!r} is deleted")


def _role(where: str, text: str) -> "Role":
    """Return the role that somebody typed. Raises OperatorError."""
    from netboot.panel.login.accounts import ROLES

    for known in ROLES:
        if text == known:
            return known
    raise OperatorError(f"{where}: expected {' or '.join(ROLES)}, found {text!r}")


def _accounts(state: Path) -> "Accounts":
    from netboot.panel.login.accounts import FILE, Accounts

    kept = INSTALLED_STATE / PANEL_FOLDER
    if state == PANEL_STATE and not (state / FILE).exists() and (kept / FILE).exists():
        state = kept  # of an installed server that has no unit for its panel
    if not state.is_dir():
        raise OperatorError(
            f"--state: there is no folder {state}",
            hint="the first start of the panel makes it; --state names another one",
        )
    return Accounts(state)


def _password(generate: bool) -> str:
    """Return a password from the keyboard, from standard input, or a new one."""
    if generate:
        import secrets

        return secrets.token_urlsafe(12)
    if sys.stdin is None:  # it was closed
        raise OperatorError("password: there is no standard input", hint="--generate makes one")
    if not sys.stdin.isatty():
        return sys.stdin.readline().removesuffix("\n")
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise OperatorError("password: none was typed; nothing is changed") from None
    if again != password:
        raise OperatorError("password: the two entries differ; nothing is changed, so try again")
    return password


def _tell(password: str, generate: bool) -> None:
    """Print a generated password, once it is the account's."""
    if generate:
        print(f"password: {password}")
