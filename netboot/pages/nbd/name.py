"""The name that a client asks for: ``EXPORT``, ``EXPORT@TOKEN`` or ``EXPORT@TOKEN.SET``. Pure."""

import re
from dataclasses import dataclass

_SET = re.compile(r"[0-9a-fA-F]{1,16}")


@dataclass(frozen=True, slots=True)
class WireName:
    """A name as the client gave it (``text``), and its parts.

    ``set_number`` is 0 if the name has none, and None if something else follows the token's dot.
    """

    text: str
    export: str
    token: str = ""
    set_number: int | None = 0

    @classmethod
    def parse(cls, text: str) -> "WireName":
        """Split ``text`` into its parts. Never fails: a token cannot contain a dot."""
        export, _, rest = text.partition("@")
        token, dot, number = rest.partition(".")
        if dot and number:
            set_number = int(number, 16) if _SET.fullmatch(number) else None
            return cls(text, export, token, set_number)
        return cls(text, export, token)
