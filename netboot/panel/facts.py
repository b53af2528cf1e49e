"""Facts about PCs, kept for rows that lack it: a server that starts again sees a PC's hardware at its next boot."""

from collections import OrderedDict
from dataclasses import fields, replace

from netboot.feed.records import Hardware, SeatRow

MOST_PCS = 8192


class Facts:
    """UUID and hardware of PCs by MAC address."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, Hardware]] = OrderedDict()

    def learn(self, mac: str, uuid: str, hardware: Hardware) -> None:
        """Keep what a PC is. The PCs that were not asked for longest are forgotten."""
        self._known[mac] = uuid, hardware
        self._known.move_to_end(mac)
        if len(self._known) > MOST_PCS:
            self._known.popitem(last=False)

    def complete(self, row: SeatRow) -> SeatRow:
        """Return the row with what it lacks, and keep what it has."""
        row = completed(row, *self._known.get(row.mac, ("", Hardware())))
        self.learn(row.mac, row.uuid, row.hardware)
        return row


def completed(row: SeatRow, uuid: str, hardware: Hardware) -> SeatRow:
    """Return the row with the facts that it lacks taken from these.

    Without a kernel the row's boot was not seen. Then its memory is that of a report, which lacks what
    the kernel itself has of it.
    """
    found = {each.name: getattr(row.hardware, each.name) for each in fields(Hardware)}
    known = {each.name: getattr(hardware, each.name) for each in fields(Hardware)}
    merged = {name: value or known[name] for name, value in found.items()}
    if not row.hardware.kernel:
        merged["memory"] = hardware.memory or row.hardware.memory
    if merged == found and (row.uuid or not uuid):
        return row
    return replace(row, uuid=row.uuid or uuid, hardware=Hardware(**merged))
