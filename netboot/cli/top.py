"""The verb that shows a room in a terminal, live."""

import importlib.util
import sys
import time
from typing import TYPE_CHECKING

from netboot.cli.feeds import FeedOption, KeysOption, ServersOption, sources
from netboot.cli.verbs import App
from netboot.errors import AnswerError, NobodyError, OperatorError, SilenceError

if TYPE_CHECKING:
    from netboot.panel.follow import Source

FIRST_SECONDS = 6.0  # for the first rows of a server
INSTALL = "pip install 'netboot-classroom[top]'; without it: netboot status"

app = App()


@app.command(
    epilog="Examples:  sudo netboot top  |  "
    "netboot top --server 10.0.0.5:8080 --server 10.0.0.6:8080 --key panel.key"
)
def top(
    feed: FeedOption = None,
    server: ServersOption = [],  # noqa: B006
    key: KeysOption = [],  # noqa: B006
) -> None:
    """Show all seats of running servers in a terminal, live, those in trouble first.

    Enter shows a seat, / filters, t shows troubles only, q ends.
    """
    if importlib.util.find_spec("textual") is None:
        raise OperatorError("netboot top needs Textual, which is not installed", hint=INSTALL)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OperatorError(
            "netboot top: expected a terminal", hint="for a pipe or a script: netboot status"
        )
    wanted = sources(feed, server, key)
    check_feeds(wanted)
    from netboot.cli.top_screen import TopApp
    from netboot.panel.follow import Follower
    from netboot.panel.room import Room

    room = Room(each.link for each in wanted)
    TopApp(room, [Follower(each, (room,)) for each in wanted], time.time).run()


def check_feeds(wanted: list["Source"]) -> None:
    """Raise OperatorError if no feed of these can be read: a screen of them would stay empty."""
    import asyncio

    from netboot.panel.follow import Follower

    async def ask(source: "Source") -> AnswerError | None:
        async with Follower(source, ()) as follower:
            try:
                await follower.first(FIRST_SECONDS)
            except AnswerError as error:
                return error
            return None

    async def ask_all() -> list[AnswerError | None]:
        return await asyncio.gather(*map(ask, wanted))

    reasons = asyncio.run(ask_all())
    if all(reasons):
        is_silent = any(isinstance(reason, SilenceError) for reason in reasons)
        raise (NobodyError if is_silent else OperatorError)(
            "\n".join(f"no server tells of a room: {reason}" for reason in reasons),
            hint="is 'netboot serve' running there? May this user read its feed (sudo)?",
        )
