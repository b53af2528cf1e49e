"""``netboot persist``: the files that PCs keep on the server (`root.persist`)."""

import json
import sys
import time
from typing import Annotated

import typer

from netboot.cli.common import DEFAULT_STATE, JsonOption, StateOption
from netboot.cli.feeds import LOCAL, state_of
from netboot.cli.looking import ServerOption, secret_in
from netboot.cli.verbs import App
from netboot.errors import Exit, OperatorError
from netboot.profile import arguments, values

app = App(
    help="List and delete the files that PCs keep on the server (root.persist).",
    no_args_is_help=True,
)


@app.command("list", epilog="Example:  netboot persist list")
def list_kept(
    server: ServerOption = LOCAL,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """List the PCs that keep files: how much they may keep and do, and when each started last."""
    from netboot.cli import show
    from netboot.serve.http.status import fetch_status

    status = fetch_status(arguments.parse_server(server), secret_in(state))
    rows = status.get("kept", [])
    if as_json:
        print(json.dumps(rows))
    else:
        names = {seat["mac"]: seat["hostname"] for seat in status["seats"]}
        print(show.kept(rows, names) or "no PC keeps files on this server")


@app.command(epilog="Example:  sudo netboot persist delete 00:1e:37:aa:bb:01 --yes")
def delete(
    mac: Annotated[list[str], typer.Argument(metavar="MAC", help="MAC addresses of the PCs.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete. Without it: say what would be deleted.")
    ] = False,
    server: ServerOption = LOCAL,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Delete all files that PCs keep, for good, and free their space. Exit status 1 if one cannot.

    A PC that is on is refused. A PC whose profile has root.persist begins with an empty area.
    """
    from netboot.boot import ticket
    from netboot.serve.http.status import delete_kept, fetch_status
    from netboot.serve.secret import SECRET_FILE, load_secret

    server = arguments.parse_server(server)
    macs = list(dict.fromkeys(arguments.parse_word("MAC", values.MAC, text) for text in mac))
    status = fetch_status(server, secret_in(state))
    secret = load_secret(state_of(state) / SECRET_FILE, make=False)
    found = {row["mac"]: row for row in status.get("kept", [])}
    if strange := [each for each in macs if each not in found]:
        raise OperatorError(
            f"{', '.join(strange)}: no files are kept on this server; nothing is deleted",
            hint="netboot persist list",
        )
    if not yes:
        told = ", ".join(f"{each} ({found[each]['used_bytes'] >> 20} MiB)" for each in macs)
        raise OperatorError(
            f"nothing is deleted yet; all files that these PCs keep would be: {told}",
            hint=f"sudo netboot persist delete {' '.join(macs)} --yes",
        )
    against = {}
    for each in macs:
        key = ticket.order_key(secret, ticket.DELETE, each, int(time.time()))
        against[each] = delete_kept(server, key, each)
    if as_json:
        print(json.dumps(against))
    else:
        print("\n".join(f"{each}  {reason or 'deleted'}" for each, reason in against.items()))
    sys.exit(Exit.FAILED if any(against.values()) else Exit.DONE)
