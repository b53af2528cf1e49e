"""Options that name the feeds of servers, for ``panel``, ``top`` and ``status``."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.common import DEFAULT_STATE
from netboot.errors import OperatorError
from netboot.feed.protocol import KEY_FILE, PANEL_FOLDER, SOCKET_FILE
from netboot.host import folders
from netboot.profile import arguments

if TYPE_CHECKING:
    from netboot.panel.follow import Source

LOCAL = "127.0.0.1:8080"  # the HTTP address of the server of this machine
PANEL_STATE = DEFAULT_STATE / PANEL_FOLDER
INSTALLED_STATE = DEFAULT_STATE / "state"
RUNTIME = Path("/run/netboot")  # RuntimeDirectory=netboot of a unit
OTHERS = 0o006  # may neither read nor write a key
_KEY = re.compile("[0-9a-f]{64}")
COPY = f"copy {KEY_FILE} from the state folder of that server, and name it with --key"

FeedOption = Annotated[
    Path | None,
    typer.Option(
        "--feed",
        metavar="FILE",
        help="The socket of the server of this machine, in its state folder. Default: that of "
        "'netboot serve' or of an installed server, unless --server is given.",
    ),
]
ServersOption = Annotated[
    list[str],
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="The HTTP address of a further server, which needs its key. May be given several "
        "times.",
    ),
]
KeysOption = Annotated[
    list[Path],
    typer.Option(
        "--key",
        metavar="FILE",
        help="The key of the servers, a copy of panel.key in their state folder; or one for each "
        "--server, in the same order. Default: that of this machine's server.",
    ),
]
PanelStateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="The panel's own folder, with its accounts and history. The panel that 'netboot serve "
        "--state FOLDER' starts has FOLDER/panel.",
    ),
]


def sources(feed: Path | None, servers: Sequence[str], keys: Sequence[Path]) -> list["Source"]:
    """Return the feeds that the options name, the local one first. Raises OperatorError."""
    from netboot.panel.follow import Source

    found = []
    if feed is not None or not servers:
        found.append(Source(feed or default_feed()))
    addresses = [arguments.parse_server(server) for server in servers]
    for address in addresses:
        if addresses.count(address) > 1:
            raise OperatorError(f"--server {address}: given twice", hint="name each server once")
    if len(keys) not in (0, 1, len(servers)):
        raise OperatorError(
            f"--key: expected one for all, or one for each of {len(servers)} servers, "
            f"found {len(keys)}",
            hint="give --key once if the servers have the same secret",
        )
    read = [read_key(path) for path in keys or [default_key()] if servers]
    read *= len(servers) if len(read) == 1 else 1
    found += [
        Source(address=address, key=key) for address, key in zip(addresses, read, strict=True)
    ]
    return found


def state_of(state: Path) -> Path:
    """Return the state folder: that of an installed server if there is one, and none is named.

    The server of the Debian package may not have started yet, and have no folder.
    """
    from netboot.deploy import layout
    from netboot.serve.secret import SECRET_FILE

    is_usual = state == DEFAULT_STATE and not (state / SECRET_FILE).exists()
    is_installed = INSTALLED_STATE.is_dir() or layout.PACKAGED.exists()
    return INSTALLED_STATE if is_usual and is_installed else state


def feed_of(server: str, state: Path) -> Path | None:
    """Return the socket of this machine's server; None if it has none, or ``server`` is another."""
    places = [state]
    if state == DEFAULT_STATE:
        places += [INSTALLED_STATE, *_runtime()]
    found = next((each / SOCKET_FILE for each in places if _is_there(each / SOCKET_FILE)), None)
    return found if server == LOCAL else None


def default_feed() -> Path:
    """Return the socket of this machine's server, whether it runs or not."""
    return _first(SOCKET_FILE)


def default_key() -> Path:
    """Return the file with the key of this machine's server, whether it exists or not."""
    return _first(KEY_FILE)


def _first(name: str) -> Path:
    places = [folder / name for folder in (DEFAULT_STATE, INSTALLED_STATE, *_runtime())]
    return next((path for path in places if _is_there(path)), places[0])


def _is_there(path: Path) -> bool:
    """Return False also for a path in a folder that this user may not enter."""
    return os.path.exists(path)


def _runtime() -> list[Path]:
    """Return the folders in which a server that systemd runs may have its socket."""
    own = folders.given(folders.RUNTIME)
    return [RUNTIME] if own is None else [own, RUNTIME]


def read_key(path: Path) -> str:
    """Return the key in a file. Raises OperatorError."""
    try:
        with path.open("rb") as file:
            is_open = os.fstat(file.fileno()).st_mode & OTHERS
            text = file.read(200).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise OperatorError(f"no key of the server: {path} does not exist", hint=COPY) from None
    except OSError as error:
        raise OperatorError(
            f"the key {path} cannot be read: {error.strerror}",
            hint="sudo, or a copy that this user may read",
        ) from None
    if _KEY.fullmatch(text) is None:
        raise OperatorError(f"{path}: expected a key, 64 digits of 0-9 and a-f", hint=COPY)
    if is_open:
        raise OperatorError(
            f"{path}: others can read this key, which gives orders", hint=f"chmod 640 {path}"
        )
    return text
