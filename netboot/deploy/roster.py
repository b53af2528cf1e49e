"""The machines of a task: from the command line, a CSV file, or the profile's clients. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from netboot.deploy import sheet
from netboot.deploy.sheet import MOST_SHOWN
from netboot.errors import OperatorError
from netboot.profile import arguments, reading, values
from netboot.profile.profile import Profile
from netboot.profile.sections import Ssh

COLUMNS = ("seat", "mac", "address")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine. SSH connects to ``address``, which is empty if unknown.

    ``user`` and ``key`` (a file) are empty if SSH's own settings hold.
    """

    seat: str
    address: str
    mac: str = ""
    user: str = ""
    port: int = 22
    key: str = ""


def from_words(text: str) -> list[Host]:
    """Parse the hosts of ``-H``: ``[USER@]HOST[:PORT]``, with commas. Raises OperatorError."""
    hosts: list[Host] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(?:([^@\s]+)@)?([^@:\s\[\]]+|\[[\w:.%]+\])(?::([0-9]{1,5}))?", word)
        if (
            match is None
            or not arguments.is_host(match[2].strip("[]"))
            or not 1 <= int(match[3] or 22) <= 65535
        ):
            raise OperatorError(f"-H: expected [USER@]HOST[:PORT], found {word[:MOST_SHOWN]!r}")
        address = match[2].strip("[]")
        host = Host(seat=address, address=address, user=match[1] or "")
        if any(each.address == address and (match[3] or "22") == str(each.port) for each in hosts):
            raise OperatorError(f"-H: {word[:MOST_SHOWN]!r} is given twice")
        hosts.append(replace(host, port=int(match[3])) if match[3] else host)
    return hosts


def from_csv(text: str, source: str, ssh: Ssh = Ssh()) -> list[Host]:  # noqa: B008 # frozen
    """Parse a CSV with the columns seat, mac and address; the hosts are reached as ``ssh`` says.

    Raises OperatorError with one line for each mistake, also if two rows give the same seat, MAC
    address or address.
    """
    hosts, mistakes = [], []
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for line, cells in sheet.rows(text, source, COLUMNS):
        wrong = list(_mistakes(cells))
        if not wrong:
            mac = values.mac(cells["mac"]) if cells["mac"] else ""
            host = Host(cells["seat"], cells["address"], mac, ssh.user, key=ssh.key)
            wrong = list(_repeated(host, line, seen))
            hosts.append(host)
        mistakes += [f"{source}:{line}: {mistake}" for mistake in wrong]
    if mistakes:
        raise OperatorError("\n".join(mistakes))
    if not hosts:
        raise OperatorError(
            f"{source}: no seats", hint="write a line for each PC below the columns"
        )
    return hosts


def _repeated(host: Host, line: int, seen: dict[tuple[str, str], tuple[int, str]]) -> Iterator[str]:
    """Yield what an earlier row has already; add this row to ``seen``."""
    for name, value in (("seat", host.seat), ("mac", host.mac), ("address", host.address)):
        if not value:
            continue
        before, owner = seen.setdefault((name, value.lower()), (line, host.seat))
        if before != line:
            whose = f"in line {before}" if name == "seat" else f"{owner}'s (line {before})"
            yield f"{name} {value} is {whose} already"


def _mistakes(cells: dict[str, str]) -> Iterator[str]:
    kinds = (("seat", values.HOSTNAME), ("mac", values.MAC), ("address", values.HOST_ADDRESS))
    for name, kind in kinds:
        if not cells[name] and name != "seat":
            continue  # a PC without an address can be woken, and a PC without a MAC reached
        try:
            kind.parse(cells[name])
        except reading.Unreadable as error:
            guess = f"; did you mean '{error.nearest}'?" if error.nearest else ""
            yield f"column '{name}': {error}, found {cells[name][:MOST_SHOWN]!r}{guess}"


def from_profile(profile: Profile) -> list[Host]:
    """Return the profile's clients."""
    seats = [profile.seat_of(mac) for mac in profile.clients]
    return [
        Host(seat.hostname, str(seat.address or ""), seat.mac, seat.ssh.user, key=seat.ssh.key)
        for seat in seats
    ]
