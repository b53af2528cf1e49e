"""The verbs that take a page server of a room out of service, and back."""

import json
import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from netboot.cli.common import JsonOption
from netboot.cli.feeds import default_key, read_key
from netboot.cli.verbs import App
from netboot.errors import Exit, FailedError, OperatorError
from netboot.profile import arguments
from netboot.profile.reading import quoted

PORT = 8080  # of HTTP, unless the server's profile has another one
SECOND = 1.0
SILENCE_SECONDS = 60.0  # a server that starts again

app = App()

ServerArgument = Annotated[
    str,
    typer.Argument(
        metavar="SERVER", help="The address of the page server, and its HTTP port unless 8080."
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="The key of the server, a copy of panel.key in its state folder. Default: that of "
        "this machine's server, which is the same with the same secret.",
    ),
]


@app.command(epilog="Example:  sudo netboot pages drain 10.0.0.3")
def drain(
    server: ServerArgument,
    key: KeyOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until no PC has pages there.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Let a page server take no new swap, and wait until it is empty, to switch it off then.

    PCs with a mirror over two of three servers or more go to other servers while they run, a few at
    a time. All others leave at their next boot. Ctrl-C ends the waiting alone: the server drains on.
    """
    from netboot.serve.http.status import ask_drain

    address, secret = _address(server), read_key(key or default_key())
    progress = ask_drain(address, secret, "drain", _person())
    _print(address, progress, as_json=as_json)
    try:
        while wait and progress["drained"] and progress["left"]:
            time.sleep(SECOND)
            before, progress = progress, _asked(address, secret)
            if progress != before:
                _print(address, progress, as_json=as_json)
    except KeyboardInterrupt:
        print(
            f"\n{address} drains on; to end that: netboot pages undrain {server}", file=sys.stderr
        )
        sys.exit(Exit.INTERRUPTED)
    if wait and progress["left"]:
        raise FailedError(f"{address}: somebody has ended the drain")


@app.command(epilog="Example:  sudo netboot pages undrain 10.0.0.3")
def undrain(server: ServerArgument, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Let a page server take swap again. PCs come back to it at their next boots."""
    from netboot.serve.http.status import ask_drain

    address = _address(server)
    progress = ask_drain(address, read_key(key or default_key()), "undrain", _person())
    _print(address, progress, as_json=as_json)


def _address(server: str) -> str:
    """Return the HTTP address of a server that can be found. Raises OperatorError."""
    address = arguments.parse_server(server, where="SERVER", port=PORT)
    host = address.rpartition(":")[0].strip("[]")
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OperatorError(
            f"SERVER: no machine has the name {quoted(host)}",
            hint="give the address of the page server, as in swap.servers of the profile",
        ) from None
    return address


def _person() -> str:
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def _asked(address: str, key: str) -> dict[str, Any]:
    """Return the progress. A server that starts again is asked until it answers."""
    from netboot.serve.http.status import ask_drain

    end = time.monotonic() + SILENCE_SECONDS
    while True:
        try:
            return ask_drain(address, key)
        except OperatorError:
            if time.monotonic() >= end:
                raise
            time.sleep(SECOND)


def _print(address: str, progress: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(progress), flush=True)
    else:
        print(f"{address}: {told(progress)}", flush=True)


def told(progress: dict[str, Any]) -> str:
    """Return how far a drain is, as a sentence."""
    left, moves, moved = progress["left"], progress["moves"], progress["moved"]
    areas = f"{left} area{'' if left == 1 else 's'}"
    if not progress["drained"]:
        return f"takes swap; PCs use {areas}"
    gone = f"; {moved} moved, {progress['copying']} of them being copied" if moved else ""
    if not left:
        return f"empty: no PC has pages here{gone}"
    if not moves:  # a server of an earlier release does not tell why
        why = f": {progress['stays']}" if progress.get("stays") else ""
        return f"{areas} left, until the PCs boot again{why}{gone}"
    return f"{areas} left, which move to other servers{gone}"
