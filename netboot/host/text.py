"""Text of strangers, made fit for a terminal, a log, a profile. Pure."""

MOST_CHARACTERS = 1000


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return ``text`` on one line of at most ``most`` characters.

    A character that could move a cursor, change a terminal's title or turn the direction of
    writing becomes ``?``.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def printable_lines(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return ``text`` with each of its lines made ``printable``."""
    return "\n".join(printable(line, most) for line in text.split("\n"))


def cause(error: OSError) -> str:
    """Return why a call failed, without the arguments that socket.create_server adds to it."""
    return (error.strerror or str(error)).partition(" (while ")[0]
