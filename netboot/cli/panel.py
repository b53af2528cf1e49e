"""``netboot panel``: the page of a room, and the accounts of its operators."""

import json
import os
import pwd
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netboot.cli import panel_user
from netboot.cli.common import JsonOption, until_stopped
from netboot.cli.feeds import (
    PANEL_STATE,
    FeedOption,
    KeysOption,
    PanelStateOption,
    ServersOption,
    sources,
)
from netboot.cli.telling import LogLevelOption, QuietOption, VerboseOption, level_of, log_to_errors
from netboot.cli.verbs import App
from netboot.errors import OperatorError
from netboot.host import notify
from netboot.host.journald import Priority
from netboot.profile import arguments

if TYPE_CHECKING:
    import socket

    from netboot.panel.process import PanelService

OTHER = "netboot panel user passwd operator"
ANY = ("0.0.0.0", "::", "")

app = App(invoke_without_command=True)
app.add_typer(panel_user.app, name="user")


@app.callback(
    epilog="Examples:  sudo netboot panel  |  sudo netboot panel --login-for-all  |  "
    "netboot panel --server 10.0.0.5:8080 --server 10.0.0.6:8080 --key panel.key --state panel"
)
def panel(
    context: typer.Context,
    feed: FeedOption = None,
    server: ServersOption = [],  # noqa: B006
    key: KeysOption = [],  # noqa: B006
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="The address for browsers.")
    ] = "0.0.0.0:8081",
    state: PanelStateOption = PANEL_STATE,
    database: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The PostgreSQL database of the history, such as "
            "postgresql://netboot@10.0.0.5/netboot. A password is taken from PGPASSWORD. "
            "Default: a file in the state folder.",
        ),
    ] = "",
    login_for_all: Annotated[
        bool,
        typer.Option(
            "--login-for-all",
            help="Show the room to accounts only. Default: anybody may look, and operators log in.",
        ),
    ] = False,
    name: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="A further name by which browsers reach the panel, such as panel.school.lan. May be "
            "given several times.",
        ),
    ] = [],  # noqa: B006
    metrics_of_seats: Annotated[
        bool,
        typer.Option(
            "--metrics-of-seats",
            help="Tell the memory of each seat in /metrics, labelled with its MAC address.",
        ),
    ] = False,
    log_level: LogLevelOption = "",
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve a web page that shows the room, until Ctrl-C: seats, troubles, orders, history.

    'netboot serve' starts a panel by itself, unless http.panel is off. With several --server, all
    are shown as one room. The panel needs no rights: root's panel becomes the owner of its folder.
    """
    if context.invoked_subcommand is not None:
        return
    level = level_of(log_level, verbose=verbose, quiet=quiet)
    log_to_errors(level, _prefix())
    address = arguments.parse_endpoint(listen)
    found = sources(feed, server, key)
    check_database(database)
    from netboot.panel.process import PanelService, Wanted
    from netboot.panel.web.server import listen as listen_at

    wanted = Wanted(
        found,
        state,
        database,
        login_for_all=login_for_all,
        names=name,
        each_seat=metrics_of_seats,
    )
    with listen_at(*address) as listener:
        prepare(state)
        service = PanelService(wanted, listener)
        tell_password(service.password, state, as_json=as_json)

        def ready() -> None:
            if as_json or level >= Priority.INFO:
                tell(listener, service, as_json=as_json)
            notify.ready()

        try:
            until_stopped(service.run(ready))
        finally:
            service.close()


def check_database(url: str) -> None:
    """Refuse a URL with a password: each user of this machine can read command lines."""
    from netboot.profile.panel import without_password

    try:
        _, password = without_password(url)
    except ValueError:
        return  # it is no URL, which the history tells
    if password:
        raise OperatorError(
            "--database: the URL has a password, which other users see in the list of processes",
            hint="leave it out, and give it by PGPASSWORD, or by ~/.pgpass of the panel's user",
        )


def tell(listener: "socket.socket", service: "PanelService", *, as_json: bool) -> None:
    """Say where the room is shown."""
    address, port = listener.getsockname()[:2]
    host = f"[{address}]" if ":" in address else address
    if as_json:
        ready: dict[str, Any] = {"address": address, "port": port, "history": service.where}
        print(json.dumps({"ready": ready}), flush=True)
        return
    shown = f"http://127.0.0.1:{port}/ and each address of this machine" if address in ANY else ""
    where = shown or f"http://{host}:{port}/"
    ends = "; Ctrl-C stops" if notify.at_terminal() else ""
    print(f"{_prefix()}the room is shown at {where}{ends}", flush=True)


def _prefix() -> str:
    """Return the beginning of a line for a person. A server that started us puts its own there."""
    return "netboot: " if notify.at_terminal() else ""


def tell_password(password: str | None, state: Path, *, as_json: bool) -> None:
    """Say the password of the first operator, once."""
    from netboot.panel.login.accounts import OPERATOR

    if password is None:
        return
    if as_json:
        print(json.dumps({"account": {"name": OPERATOR, "password": password}}), flush=True)
    else:
        print(f"{_prefix()}log in as '{OPERATOR}' with the password {password}", flush=True)
        where = "" if state == PANEL_STATE else f" --state {shlex.quote(str(state.absolute()))}"
        print(
            f"{_prefix()}this password is shown once; to set another one: {OTHER}{where}",
            flush=True,
        )


def prepare(state: Path) -> None:
    """Make the state folder, and give up all rights. Raises OperatorError."""
    from netboot.host.privileges import drop_all

    try:
        state.mkdir(mode=0o700, exist_ok=True)
        owner = state.stat()
    except OSError as error:
        raise OperatorError(
            f"--state: {state} cannot be made: {error.strerror}",
            hint="sudo, or name a folder of this user",
        ) from None
    if os.geteuid() == 0 and owner.st_uid != 0:
        become(owner.st_uid, owner.st_gid)
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise OperatorError(
            f"--state: this user cannot write to {state}",
            hint="sudo, or name a folder of this user",
        )
    try:
        drop_all()
    except OSError as error:
        print(f"netboot: the panel keeps its capabilities: {error.strerror}", file=sys.stderr)


def become(user: int, group: int) -> None:
    """Become the user with this number, with its groups. Of root."""
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        os.setgroups([])
    else:
        os.initgroups(entry.pw_name, entry.pw_gid)
        group = entry.pw_gid
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
