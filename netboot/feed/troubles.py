"""Troubles of a seat: the events that begin one, and those that end it. Pure.

The remedy of each is that of its stage (netboot.boot.stages). A trouble that nothing ends is over when the
seat boots again. Reports of a PC can arrive late, so a trouble that was mended before it arrived is none.
"""

import math
from dataclasses import dataclass, field, replace

from netboot.boot.flapping import PERIOD_SECONDS
from netboot.boot.stages import BY_NAME
from netboot.feed.records import Event, Trouble

FAILED, INIT = "failed:", "init:"
MAX_OPEN = 12  # of a seat: it may report any stage
MAX_TEXT = 300  # characters of a message in a row
# What another machine does is told again once a minute for as long as it goes on.
OTHERS_SECONDS = 600.0
# A store without room tells of each wait of 10 s, one that does not answer of each minute.
DELAYED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A stage that is a trouble. ``mended``: the stages that end it; ``any_step``: any of the PC's does.

    ``seconds``: it is over so long after it was told last. ``grave``: shown before others. ``lasts``: it
    is not over when the seat boots.
    """

    mended: frozenset[str] = frozenset()
    any_step: bool = False
    seconds: float = math.inf
    grave: bool = False
    lasts: bool = False


def _kind(
    mended: str = "",
    *,
    any_step: bool = False,
    seconds: float = math.inf,
    grave: bool = False,
    lasts: bool = False,
) -> Kind:
    return Kind(frozenset(mended.split()), any_step, seconds, grave, lasts)


_BACK = "agent:reattached agent:renewed"
_LINUX = "kernel init:start userland"
KINDS = {
    "silent": _kind(any_step=True),
    "missing": _kind(f"http {_LINUX}"),
    "loader": _kind(f"http {_LINUX}"),
    "initramfs": _kind("init:hardware userland"),
    "lease": _kind("swap userland"),
    "twin": _kind(seconds=OTHERS_SECONDS, lasts=True),
    "identity": _kind(seconds=OTHERS_SECONDS, lasts=True),
    "pages:in-use": _kind(seconds=OTHERS_SECONDS, lasts=True),
    "pages:moved": _kind(seconds=OTHERS_SECONDS, lasts=True),
    "pages:refused": _kind("pages:attach", seconds=OTHERS_SECONDS),
    "pages:flapping": _kind(seconds=PERIOD_SECONDS * 1.5, grave=True),
    "pages:away": _kind(f"pages:attach {_BACK}"),
    "pages:delayed": _kind(seconds=DELAYED_SECONDS),
    "pages:stalled": _kind("pages:answers", seconds=DELAYED_SECONDS, grave=True),
    "pages:damaged": _kind("agent:renewed", grave=True),
    "agent:lost": _kind(f"pages:attach agent:degraded {_BACK}", grave=True),
    "agent:refused": _kind(f"agent:attached agent:grown {_BACK}"),
    "agent:degraded": _kind("agent:resynced agent:returned"),
    "address:unanswered": _kind("address:held"),
    "address:expired": _kind("address:held"),
    "address:refused": _kind("address:held"),
    "address:conflict": _kind("address:held", seconds=OTHERS_SECONDS),
    "overlay:full": _kind("overlay:free"),
    "home:ram": _kind("home:ready"),
    "home:away": _kind("home:back"),
    "screen:certificate": _kind("screen:shown"),
    "failed:memory": _kind("userland", grave=True),
    "failed:loader": _kind(_LINUX, grave=True),
    "failed:version": _kind(f"http {_LINUX}", grave=True),
    "failed:swap": _kind(f"swap userland {_BACK}", grave=True),
    "failed:root": _kind(f"init:root userland {_BACK}", grave=True),
    "failed:keep": _kind(_BACK, grave=True),
    "failed:load": _kind("load:start", grave=True),
}
# Events of these stages are troubles only if they have this value.
_ONLY_WITH = {"initramfs": "card"}
MENDING = frozenset(stage for kind in KINDS.values() for stage in kind.mended)


def kind_of(event: Event) -> Kind | None:
    """Return what kind of trouble an event is, None if it is none."""
    stage, data = event.stage, event.data
    if stage.startswith(INIT):
        return _kind("swap init:root userland") if "retry_seconds" in data else None
    kind = KINDS.get(stage)
    if kind is None:
        if not stage.startswith(FAILED):
            return None
        # A person at the rescue shell may have the stage tried again.
        name = stage.removeprefix(FAILED)
        return _kind(f"{INIT}{name} {_LINUX}", grave=True)
    if stage in _ONLY_WITH and _ONLY_WITH[stage] not in data:
        return None
    if stage == "lease" and not event.message.startswith("refused"):
        return None
    if stage == "pages:flapping" and data.get("goes_on") is False:
        return None
    return kind


@dataclass(frozen=True, slots=True)
class _Open:
    trouble: Trouble
    kind: Kind
    until: float


@dataclass(slots=True)
class Troubles:
    """The troubles of one seat, by stage, and when the events came last that can end one."""

    _open: dict[str, _Open] = field(default_factory=dict)
    _mended: dict[str, float] = field(default_factory=dict)

    def note(self, event: Event, kind: Kind | None, *, is_step: bool) -> bool:
        """Note an event of this ``kind``. ``is_step``: the PC took a step. Return if anything changed."""
        stage, when = event.stage, event.when
        changed = False
        if stage in MENDING:
            self._mended[stage] = max(when, self._mended.get(stage, when))
        for name, each in list(self._open.items()):
            mends = stage in each.kind.mended or name == stage
            # The server noticed a silence that a report on its way has ended before.
            if (each.kind.any_step and is_step) or (mends and when >= each.trouble.when):
                del self._open[name]
                changed = True
        if kind is None or any(self._mended.get(name, when) > when for name in kind.mended):
            return changed
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        remedy = BY_NAME[stage].remedy if stage in BY_NAME else ""
        trouble = Trouble(when, stage, event.message[:MAX_TEXT], remedy)
        self._open[stage] = _Open(trouble, kind, when + kind.seconds)
        return True

    def clear(self) -> None:
        """Drop all troubles."""
        self._open.clear()

    def clamp(self, now: float) -> None:
        """Move the times after ``now`` to it: the server's clock was set back."""
        self._mended = {stage: min(when, now) for stage, when in self._mended.items()}
        for stage, each in self._open.items():
            trouble = replace(each.trouble, when=min(each.trouble.when, now))
            until = min(each.until, now + each.kind.seconds)
            self._open[stage] = replace(each, trouble=trouble, until=until)

    def worst(self, now: float) -> tuple[tuple[bool, float], Trouble] | None:
        """Return the newest of the gravest troubles, with its rank. Drop those whose time is over."""
        if not self._open:
            return None
        for name in [name for name, each in self._open.items() if each.until <= now]:
            del self._open[name]
        ranked = (
            ((each.kind.grave, each.trouble.when), each.trouble) for each in self._open.values()
        )
        return max(ranked, key=lambda pair: pair[0], default=None)
