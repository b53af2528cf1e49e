"""The interfaces that a room is served on, and the servers that follow their changes."""

import logging
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from netboot.boot import rank
from netboot.errors import OperatorError
from netboot.host import notify
from netboot.host.complaints import Complaints
from netboot.host.interfaces import Choice, Interface, look, named_networks
from netboot.host.monitor import Monitor
from netboot.profile.profile import Profile
from netboot.serve import changes

log = logging.getLogger(__name__)

Follow = Callable[[Sequence[Interface]], None]


class Following:
    """The interfaces of ``profile`` as they are now. Raises OperatorError if one is not there.

    A service serves an interface when it comes, such as a slow USB card. At a start by hand a
    person can mend the name.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._choice = look(*profile.interface)
        if not notify.is_service():
            for error in self._choice.lacking.values():
                raise error
        self._monitor = Monitor(profile.interface, self._changed, self._choice)
        self._followers: list[Follow] = []
        self._told: set[str] = set()  # errors since the last change
        self._changes = Complaints(log)  # a loose cable makes two lines a second

    @property
    def interfaces(self) -> Sequence[Interface]:
        """The interfaces that are served now."""
        return self._choice.interfaces

    @property
    def is_complete(self) -> bool:
        """True if each interface of the profile is there."""
        return not self._choice.lacking

    def check(self) -> None:
        """Compare the profile with the networks, if all are there. Raises OperatorError."""
        if self.is_complete:
            self._profile.check_networks(named_networks(self._choice.interfaces))
            self.check_rank()

    def check_rank(self) -> None:
        """Check that this machine is one of ``boot.servers``. Raises OperatorError."""
        if self.is_complete:
            rank.check(self._profile.boot.servers, addresses_of(self._choice.interfaces))

    def tell(self) -> None:
        """Log what is not there, and what is odd of the interfaces at a start."""
        for error in self._choice.lacking.values():
            log.warning("%s: served when it is there", error)
        for line in changes.at_start(self._choice.interfaces):
            log.warning("%s", line)

    def add(self, *followers: Follow) -> None:
        """Call these with the interfaces after each change, in this order, after all before them.

        OperatorError and OSError are logged; then all are called again every few seconds.
        """
        self._followers += followers

    def start(self) -> None:
        """Watch the interfaces from now on."""
        self._monitor.start()

    def stop(self) -> None:
        """Watch them no longer."""
        self._monitor.stop()

    def _changed(self, before: Choice, after: Choice) -> bool:
        """Serve the interfaces as they are now. Return False if some of it has to be tried again."""
        self._choice = after
        if after.interfaces != before.interfaces:
            self._told.clear()
        for line in changes.told(before, after, self._profile.swap.patience):
            self._changes.warn(line, "%s", line)
        done = True
        for follow in self._followers:
            try:
                follow(after.interfaces)
            except (OperatorError, OSError) as error:
                done = False
                if str(error) not in self._told:
                    self._told.add(str(error))
                    log.warning("%s; tried again every few seconds", error)
        return done


def addresses_of(interfaces: Sequence[Interface]) -> list[IPv4Address]:
    """Return the addresses of interfaces, each once."""
    return list(dict.fromkeys(interface.address for interface in interfaces))
