"""The machines of a task: from the command line, a CSV file, or the profile's clients. Pure."""

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
MOST_SHOWN = 60  # characters of a cell or a word in a message


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
    hosts = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(?:([^@\s]+)@)?([^@:\s\[\]]+|\[[\w:.%]+\])(?::([0-9]{1,5}))?", word)
        if match is None:
            raise OperatorError(f"-H: expected [USER@]HOST[:PORT], found {word[:MOST_SHOWN]!r}")
        address = match[2].strip("[]")
        host = Host(seat=address, address=address, user=match[1] or "")
        hosts.append(replace(host, port=int(match[3])) if match[3] else host)
    return hosts


def from_csv(text: str, source: str, ssh: Ssh = Ssh()) -> list[Host]:  # noqa: B008 # frozen
    """Parse a CSV with the columns seat, mac and address; the hosts are reached as ``ssh`` says.

    The first line names the columns, in any order. The separator may be ``;``. Raises OperatorError
    with one line for each mistake.
    """
    # newline=None: the lines of an old spreadsheet may end with a carriage return alone.
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None)
    first = lines.readline()
    lines.seek(0)
    reader = csv.DictReader(lines, delimiter=";" if first.count(";") else ",")
    try:
        return _hosts(reader, first, source, ssh)
    except csv.Error as error:  # a cell of more than 131,072 characters
        raise OperatorError(f"{source}:{reader.line_num + 1}: not CSV: {error}") from None


def _hosts(reader: "csv.DictReader[str]", first: str, source: str, ssh: Ssh) -> list[Host]:
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    if not set(COLUMNS) <= set(reader.fieldnames):
        raise OperatorError(
            f"{source}:1: expected the columns {','.join(COLUMNS)}, found {first.strip()[:MOST_SHOWN]!r}"
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
            continue  # a PC without an address can be woken, and a PC without a MAC reached
        try:
            kind.parse(cells[name])
        except values.Unreadable as error:
            guess = f"; did you mean '{error.nearest}'?" if error.nearest else ""
            yield f"column '{name}': {error}, found {cells[name][:MOST_SHOWN]!r}{guess}"


def from_profile(profile: Profile) -> list[Host]:
    """Return the profile's clients."""
    seats = [profile.seat(mac) for mac in profile.clients]
    return [
        Host(seat.hostname, str(seat.address or ""), seat.mac, seat.ssh.user, key=seat.ssh.key)
        for seat in seats
    ]
