"""The verb that tells seats what to do."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from netboot.cli.common import JsonOption
from netboot.profile import values

app = typer.Typer()


@app.command(epilog="Example:  sudo netboot order reboot 00:1e:37:aa:bb:01 00:1e:37:aa:bb:02")
def order(
    what: Annotated[Literal["reboot", "poweroff"], typer.Argument()],
    mac: Annotated[list[str], typer.Argument(help="The seats' MAC addresses.")],
    server: Annotated[str, typer.Option(help="The server's HTTP address.")] = "127.0.0.1:8080",
    state: Annotated[Path, typer.Option(help="The server's state folder, with its secret.")] = Path(
        "/var/lib/netboot"
    ),
    as_json: JsonOption = False,
) -> None:
    """Have seats that run without their disks reboot or switch off; exit status 1 if one cannot."""
    from netboot.boot import ticket
    from netboot.serve.http.status import give_order
    from netboot.serve.secret import load_secret

    seats = [values.parse_word("MAC", values.MAC, text) for text in mac]
    key = ticket.order_key(load_secret(state / "secret", make=False))
    against = {seat: give_order(server, key, seat, what) for seat in seats}
    if as_json:
        print(json.dumps(against))
    else:
        print("\n".join(f"{seat}  {reason or 'told'}" for seat, reason in against.items()))
    sys.exit(1 if any(against.values()) else 0)
