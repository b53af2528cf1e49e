"""Output of a server while it runs: events and messages that are grave enough, as lines or for the journal."""

import atexit
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netboot.cli.lines import Line, Lines, LinesHandler, lines_to
from netboot.errors import OperatorError
from netboot.host.journald import Priority, is_journal

if TYPE_CHECKING:
    from netboot.boot.events import BootEvent
    from netboot.profile.profile import Profile

LAST_LINES_SECONDS = 1.0  # for the reader of our output to take the last lines
ERRORS = 2  # the descriptor of standard error
LEVELS = {
    "error": Priority.ERROR,
    "warning": Priority.WARNING,
    "info": Priority.INFO,
    "debug": Priority.DEBUG,
}
# Of the program's own messages. What it notes at INFO is for those who look for a fault.
LOGGED = {
    Priority.ERROR: logging.ERROR,
    Priority.WARNING: logging.WARNING,
    Priority.INFO: logging.WARNING,
    Priority.DEBUG: logging.DEBUG,
}

LogLevelOption = Annotated[
    str,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        envvar="NETBOOT_LOG_LEVEL",
        show_envvar=False,
        help="The least grave lines to print: error, warning (troubles), info (each step of a PC "
        "as well) or debug (all that the program notes). --json prints each event at any level. "
        "Default: info.",
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="The same as --log-level debug.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="The same as --log-level warning.")
]


def level_of(word: str, *, verbose: bool = False, quiet: bool = False) -> Priority:
    """Return the level that the options ask for. Raises OperatorError."""
    if bool(word) + verbose + quiet > 1:
        raise OperatorError(
            "--log-level, --verbose and --quiet: expected one of them", hint="leave out the others"
        )
    if verbose or quiet:
        return Priority.DEBUG if verbose else Priority.WARNING
    if word and word not in LEVELS:
        raise OperatorError(f"--log-level: expected {', '.join(LEVELS)}, found {word!r}")
    return LEVELS[word or "info"]


def log_to(handler: logging.Handler, level: Priority) -> None:
    """Have the program's messages go to ``handler``. Those of libraries are told from warnings on."""
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(max(LOGGED[level], logging.WARNING))
    logging.getLogger("netboot").setLevel(LOGGED[level])


def log_to_errors(level: Priority, prefix: str = "") -> None:
    """Have them go to standard error, or to the journal if it is connected with that.

    For a program with few messages: it waits for the reader of standard error.
    """
    from netboot.cli import room_lines

    if is_journal(ERRORS):
        lines = lines_to(ERRORS, room_lines.lost)
        atexit.register(lines.drain, LAST_LINES_SECONDS)
        log_to(LinesHandler(lines, prefix), level)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{prefix}%(message)s"))
    log_to(handler, level)


def priority_of(event: "BootEvent") -> Priority:
    """Return how grave an event of a seat is: a trouble is a warning, a grave one an error."""
    from netboot.feed.records import Event
    from netboot.feed.troubles import kind_of

    kind = kind_of(Event(0, event.when, event.seat, event.stage, event.message, event.data))
    if kind is None:
        return Priority.INFO
    return Priority.ERROR if kind.grave else Priority.WARNING


class Telling:
    """The output of ``netboot serve``: events on standard output, messages on standard error."""

    def __init__(self, profile: "Profile", level: Priority, *, as_json: bool) -> None:
        from netboot.boot.rations import Rations
        from netboot.cli import room_lines

        self._profile = profile
        self._room_lines = room_lines
        self._level = level
        self._as_json = as_json
        self._rations = Rations(profile.clients)
        self._log = logging.getLogger(__name__)
        self._lines = lines_to(
            sys.stdout.fileno(),
            lambda count: json.dumps({"lost": count}) if as_json else room_lines.lost(count),
            plain=as_json,
        )
        self._warnings: Lines = lines_to(sys.stderr.fileno(), room_lines.lost)
        log_to(LinesHandler(self._warnings), level)

    def tell(self, event: "BootEvent") -> None:
        """Tell an event, unless the seats of the room have told too much."""
        if self._as_json:  # for a program, which wants each event
            self._lines.write(json.dumps(event.as_json()))
            return
        fills_a_line = self._rations.take(event.seat, time.monotonic())
        if refused := self._rations.take_refused():
            self._log.warning("%d more events in the last minute", refused)
        if not fills_a_line:
            return
        priority = priority_of(event)
        if priority > self._level:
            return
        hostname = self._profile.hostname(event.seat)
        self._lines.write(
            Line(
                self._room_lines.event_line(event, hostname),
                priority,
                self._room_lines.event_message(event, hostname),
                {"SEAT": event.seat, "SEAT_NAME": hostname, "STAGE": event.stage},
            )
        )

    def ready(self, description: dict[str, Any]) -> None:
        """Say that the server serves, and where."""
        if self._as_json:
            self._lines.write(json.dumps({"ready": description}))
        elif self._level >= Priority.INFO:
            self._lines.write(self._room_lines.ready(description))

    def drain(self) -> None:
        """Wait a moment until all is written."""
        self._lines.drain(LAST_LINES_SECONDS)
        self._warnings.drain(LAST_LINES_SECONDS)
