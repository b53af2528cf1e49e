"""The loaders that a PC was sent: which one is next, and whose iPXE asks. Pure: time is an argument.

A loader has failed if the PC downloads it completely but its firmware asks again before the loader
does. Then the next loader has its turn. The server forgets its attempts when it ends.

Any machine can ask in the PC's name, but only the PC itself downloads. So a failure is taken back if
the loader asks after all, before the PC has another one. And whose iPXE asks does not depend on it.
"""

from dataclasses import dataclass

# iPXE's first packet comes as soon as the link is up again; a switch with spanning tree takes 30 s.
# If a PC is switched off and on within this time, its card's own iPXE is taken for ours and sent our
# script, which it can run as well.
START_SECONDS = 60.0


@dataclass(slots=True)
class Attempts:
    """The attempts of one PC. ``failed`` counts the loaders that failed before one started."""

    failed: int = 0
    _sent: bool = False  # it has had a loader of ours
    _loaded: float | None = None  # when it had all of a loader; None once that has its script
    _awaited: bool = False  # nobody has asked since: it may fail
    _doubted: bool = False  # it was counted as failed, and the PC has no other loader yet
    _running: bool = False  # our iPXE has asked and has no script yet

    def loaded(self, now: float) -> None:
        """Note that the PC has all of a loader."""
        self._sent, self._loaded, self._awaited = True, now, True
        self._doubted = self._running = False

    def is_ours(self, now: float) -> bool:
        """Return whether the iPXE that asks is the one that we sent, not the card's own."""
        return self._running or (self._loaded is not None and now - self._loaded <= START_SECONDS)

    def started(self) -> None:
        """Note that our loader has asked: it works."""
        self.failed -= self._doubted
        self._awaited = self._doubted = False
        self._running = self._sent

    def scripted(self) -> None:
        """Note that the loader has its script: the next iPXE that asks is the card's own again."""
        self._loaded, self._running = None, False

    def restarted(self) -> bool:
        """Note that the firmware asks. Return whether the last loader failed, so that another is next."""
        self._running = False
        failed = self._awaited
        if failed:
            self.failed, self._awaited, self._doubted = self.failed + 1, False, True
        return failed
