"""The verb that gives orders to seats."""

import json
import sys
import time
from typing import Annotated

import typer

from netboot.cli.common import DEFAULT_STATE, JsonOption, StateOption
from netboot.cli.verbs import App
from netboot.profile import arguments, values
from netboot.serve.http.orders import ORDERS

app = App()


@app.command(epilog="Example:  sudo netboot order reboot 00:1e:37:aa:bb:01 00:1e:37:aa:bb:02")
def order(
    what: Annotated[
        str,
        typer.Argument(
            metavar="|".join(ORDERS), help="The order.", autocompletion=lambda: list(ORDERS)
        ),
    ],
    mac: Annotated[list[str], typer.Argument(metavar="MAC", help="MAC addresses of the seats.")],
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The HTTP address of the server.")
    ] = "127.0.0.1:8080",
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Reboot or switch off seats that run without their disks. Exit status 1 if one cannot."""
    from netboot.boot import ticket
    from netboot.serve.http.status import give_order
    from netboot.serve.secret import SECRET_FILE, load_secret

    server = arguments.parse_server(server)
    arguments.parse_word("order", values.choice(dict.fromkeys(ORDERS)), what)
    seats = [arguments.parse_word("MAC", values.MAC, text) for text in mac]
    secret = load_secret(state / SECRET_FILE, make=False)
    against = {}
    for seat in seats:
        key = ticket.order_key(secret, what, seat, int(time.time()))
        against[seat] = give_order(server, key, seat, what)
    if as_json:
        print(json.dumps(against))
    else:
        print("\n".join(f"{seat}  {reason or 'told'}" for seat, reason in against.items()))
    sys.exit(1 if any(against.values()) else 0)
