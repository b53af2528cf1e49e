"""Which machines a task is for: the command line's, a CSV's, or the profile's clients. Pure."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from netboot.errors import OperatorError
from netboot.profile import values
from netboot.profile.profile import Profile
from netboot.profile.sections import Ssh

COLUMNS = ("seat", "mac", "address")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: ``address`` is what SSH connects to, empty if it is not known; ``user`` and
    ``key`` (a file) are empty if SSH's own settings say them.
    """

    seat: str
    address: str
    mac: str = ""
    user: str = ""
    port: int = 22
    key: str = ""


def from_words(text: str) -> list[Host]:
    """Hosts of ``-H``: ``[USER@]HOST[:PORT]``, with commas. Raises OperatorError."""
    hosts = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(?:([^@\s]+)@)?([^@:\s\[\]]+|\[[\w:.%]+\])(?::([0-9]{1,5}))?", word)
        if match is None:
            raise OperatorError(f"-H: expected [USER@]HOST[:PORT], found {word!a}")
        address = match[2].strip("[]")
        host = Host(seat=address, address=address, user=match[1] or "")
        hosts.append(replace(host, port=int(match[3])) if match[3] else host)
    return hosts


def from_csv(text: str, source: str, ssh: Ssh = Ssh()) -> list[Host]:  # noqa: B008 # frozen
    """Hosts of a CSV with the columns seat, mac, address (in the first line, in any order, ``;``
    will do for ``,``), reached as ``ssh`` says. Raises OperatorError with one line for each mistake.
    """
    text = text.removeprefix("\ufeff")
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if first.count(";") else ",")
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [name for name in COLUMNS if name not in reader.fieldnames]
    if missing:
        raise OperatorError(
            f"{source}:1: expected the columns seat,mac,address, found no {', '.join(missing)}"
        )
    hosts, mistakes = [], []
    for row in reader:
        cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
        if not any(cells.values()):
            continue
        wrong = list(_mistakes(cells))
        mistakes += [f"{source}:{reader.line_num}: {mistake}" for mistake in wrong]
        if not wrong:
            mac = values.mac(cells["mac"]) if cells["mac"] else ""
            hosts.append(Host(cells["seat"], cells["address"], mac, ssh.user, key=ssh.key))
    if mistakes:
        raise OperatorError("\n".join(mistakes))
    return hosts


def _mistakes(cells: dict[str, str]) -> Iterator[str]:
    kinds = (("seat", values.HOSTNAME), ("mac", values.MAC), ("address", values.ADDRESS))
    for name, kind in kinds:
        if not cells[name] and name != "seat":
            continue  # a PC that cannot be reached can be woken, and the other way round
        try:
            kind.parse(cells[name])
        except values.Unreadable as error:
            guess = f"; did you mean '{error.nearest}'?" if error.nearest else ""
            yield f"column '{name}': {error}, found {cells[name]!a}{guess}"


def from_profile(profile: Profile) -> list[Host]:
    """The profile's clients."""
    seats = [profile.seat(mac) for mac in profile.clients]
    return [
        Host(seat.hostname, str(seat.address or ""), seat.mac, seat.ssh.user, key=seat.ssh.key)
        for seat in seats
    ]
