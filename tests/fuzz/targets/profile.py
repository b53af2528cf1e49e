"""The profile: YAML, and settings of ``--set`` after zero bytes. Only OperatorError leaves."""

from netboot.errors import OperatorError
from netboot.profile import file

SOURCE = "room.yaml"
MOST_CHARACTERS = 1000  # of one mistake


def one_input(data: bytes) -> None:
    """Run one input."""
    text, *settings = data.decode("utf-8", "replace").split("\0")
    try:
        profile = file.parse(text, SOURCE, settings[:4])
    except OperatorError as error:
        for line in str(error).split("\n"):
            assert line.startswith((SOURCE, file.SETTING)), line
            assert line.isprintable() and len(line) <= MOST_CHARACTERS + len(data), line
        return
    for mac in [*profile.clients, "52:54:00:12:34:56"]:
        seat = profile.seat_of(mac)
        assert seat.hostname.isascii() and seat.hostname.isprintable()
