"""The verb that gives orders to seats."""

import json
import os
import pwd
import sys
import time
from pathlib import Path
from typing import Annotated, get_args

import typer

from netboot.cli.common import DEFAULT_STATE, JsonOption, StateOption
from netboot.cli.feeds import LOCAL, feed_of, state_of
from netboot.cli.verbs import App
from netboot.errors import AnswerError, Exit, NobodyError, OperatorError, SilenceError
from netboot.feed.protocol import BY_SECRET, SOCKET_FILE, OrderName
from netboot.profile import arguments, values

NAMES = get_args(OrderName)
# The option that an order needs.
NEEDED = {"message": "text", "image": "image", "loader": "loader", "entry": "text"}

app = App()


@app.command(
    epilog="Examples:  sudo netboot order reboot 00:1e:37:aa:bb:01 00:1e:37:aa:bb:02  |  "
    "sudo netboot order message 00:1e:37:aa:bb:01 --text 'Ten minutes left'  |  "
    "sudo netboot order image 00:1e:37:aa:bb:01 --image desktop"
)
def order(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ORDER", help="One of: " + ", ".join(NAMES) + ".", autocompletion=lambda: NAMES
        ),
    ],
    mac: Annotated[list[str], typer.Argument(metavar="MAC", help="MAC addresses of the seats.")],
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="The text of a message, or the id of the boot menu's entry; '' for none.",
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The root image of the next boot; '' for the profile's again."
        ),
    ] = None,
    loader: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="The boot loader of the next boot: ipxe, native, signed or own; auto for the profile's.",
        ),
    ] = None,
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The HTTP address of the server.")
    ] = LOCAL,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Give an order to seats. Exit status 1 if one is refused.

    A server on another machine takes reboot and poweroff alone, with its secret.
    """
    address = arguments.parse_server(server)
    arguments.parse_word("order", values.choice(dict.fromkeys(NAMES)), what)
    seats = [arguments.parse_word("MAC", values.MAC, word) for word in mac]
    given = {"text": text, "image": image, "loader": loader}
    for name, value in given.items():
        if (NEEDED.get(what) == name) != (value is not None):
            raise OperatorError(
                f"order {what}: {'expected' if value is None else 'takes no'} --{name}"
            )
    if (
        what in BY_SECRET
    ):  # also for a seat of which the server has only seen that it asks for orders
        against = _by_secret(address, state, what, seats)
    else:
        words = {name: value or "" for name, value in given.items()}
        against = _by_feed(_feed(what, server, state), what, seats, words)
    if as_json:
        print(json.dumps(against))
    else:
        print("\n".join(f"{seat}  {reason or 'told'}" for seat, reason in against.items()))
    sys.exit(Exit.FAILED if any(against.values()) else Exit.DONE)


def _feed(what: str, server: str, state: Path) -> Path:
    """Return the socket of this machine's server. Raises OperatorError."""
    if server != LOCAL:
        raise OperatorError(
            f"order {what}: a server is told it on its own machine alone, found --server {server}",
            hint="give it there, or on the page of the room",
        )
    found = feed_of(server, state)
    if found is None:
        raise NobodyError(
            f"order {what}: no netboot server runs on this machine: no {SOCKET_FILE} in {state}",
            hint="does 'netboot serve' run? --state names its state folder",
        )
    return found


def _by_feed(feed: Path, what: str, seats: list[str], words: dict[str, str]) -> dict[str, str]:
    """Give an order as a panel of this machine does; return the refusals by seat."""
    import asyncio

    from netboot.panel.follow import Follower, Source

    person = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    words = {name: word for name, word in words.items() if word}

    async def ask() -> dict[str, str]:
        async with Follower(Source(feed), ()) as follower:
            return await follower.give({"order": what, "seats": seats, "by": person, **words})

    try:
        return asyncio.run(ask())
    except SilenceError as error:
        raise NobodyError(f"{feed}: {error}", hint="does 'netboot serve' run?") from None
    except AnswerError as error:
        raise OperatorError(f"{feed}: {error}") from None


def _by_secret(server: str, state: Path, what: str, seats: list[str]) -> dict[str, str]:
    """Give an order with a key that is good for it alone; return the refusals by seat."""
    from netboot.boot import ticket
    from netboot.serve.http.status import check_there, give_order
    from netboot.serve.secret import SECRET_FILE, load_secret

    try:
        secret = load_secret(state_of(state) / SECRET_FILE, make=False)
    except OperatorError:
        check_there(server)  # without a server the secret is not what is missing
        raise
    now = int(time.time())
    return {
        seat: give_order(server, ticket.order_key(secret, what, seat, now), seat, what)
        for seat in seats
    }
