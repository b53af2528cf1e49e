"""The events of a page server: one line of the log each, and one call for the operator's timeline."""

import asyncio
import logging
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from netboot.host.complaints import PERIOD_SECONDS, Complaints

log = logging.getLogger(__name__)

Kind = Literal[
    "attach",
    "detach",
    "refused",
    "in-use",
    "moved",
    "first-write",
    "worker-died",
    "delayed",
    "stalled",
    "answers",
    "damaged",
]

SUMMARY_SECONDS = 1.0  # in which a full server collects the PCs that it refuses
MAX_FULL = 4096  # PCs that it remembers as told

WARNINGS = ("refused", "in-use", "moved", "delayed", "stalled", "damaged")


@dataclass(frozen=True, slots=True)
class PageEvent:
    """An event for the operator.

    ``seat`` is a MAC address; it is empty if the seat is unknown or the export is not a room's.
    ``message`` is for a person. ``data`` are JSON values, among them ``address`` (the client's) and
    ``connections`` (how many the lease has after the event).
    """

    kind: Kind
    seat: str
    lease: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


class Teller:
    """Logs each event, and calls ``on_event`` with it."""

    def __init__(self, on_event: Callable[[PageEvent], None] | None) -> None:
        self._on_event = on_event
        self._complaints: defaultdict[str, Complaints] = defaultdict(lambda: Complaints(log))
        self._full_begin = float("-inf")
        self._full_told: set[str] = set()  # exports that were refused in this minute
        self._full_new: list[str] = []  # of them, those that are not told yet

    def complain(
        self,
        kind: Kind,
        seat: str,
        message: str,
        *,
        address: str,
        is_ours: bool = False,
        **data: Any,
    ) -> None:
        """Tell an event that a client can cause at will: once a minute for an address and a seat.

        Each kind has its own number of lines, so that strangers cannot hide a warning. So have the
        faults of the server's own, which are always warnings.
        """
        text, level = "pages: %s: %s", logging.WARNING if is_ours else _level(kind)
        sender, row = f"{address} {seat}", f"{kind} ours" if is_ours else kind
        if self._complaints[row].warn(sender, text, kind, message, level=level):
            self._pass_on(PageEvent(kind, seat, "", message, {"address": address, **data}))

    def full(self, export: str, reason: str) -> None:
        """Tell that the server is full: a line a second at most, with the number of PCs in it.

        Each of them is told once a minute. Memory is bounded: further ones are only counted.
        """
        now = time.monotonic()
        if now - self._full_begin >= PERIOD_SECONDS:
            self._full_begin = now
            self._full_told.clear()
        if export in self._full_told or len(self._full_told) >= MAX_FULL:
            return
        self._full_told.add(export)
        self._full_new.append(export)
        if len(self._full_new) == 1:
            asyncio.get_running_loop().call_later(SUMMARY_SECONDS, self._tell_full, reason)

    def _tell_full(self, reason: str) -> None:
        exports, self._full_new = self._full_new, []
        others = f" and {len(exports) - 1} more" if len(exports) > 1 else ""
        text = f"{exports[0]}{others}: {reason}"
        self.tell("refused", "", "", text, refused=len(exports))

    def tell(self, kind: Kind, seat: str, lease: str, message: str, **data: Any) -> None:
        """Log an event and pass it to the callback, if there is one."""
        log.log(_level(kind), "pages: %s: %s", kind, message)
        self._pass_on(PageEvent(kind, seat, lease, message, data))

    def tell_many(self, kind: Kind, seat: str, lease: str, message: str, **data: Any) -> None:
        """Tell an event that all seats of a store may have at once: the log has one line a minute."""
        level, text = _level(kind), "pages: %s: %s: %s"
        self._complaints[kind].warn("", text, kind, seat or lease, message, level=level)
        self._pass_on(PageEvent(kind, seat, lease, message, data))

    def _pass_on(self, event: PageEvent) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - else it would end what the event is about
            reason = "pages: an event of kind %s is lost\n%s"
            trace = traceback.format_exc()
            self._complaints[event.kind].warn("", reason, event.kind, trace, level=logging.ERROR)


def _level(kind: Kind) -> int:
    return logging.WARNING if kind in WARNINGS else logging.INFO
