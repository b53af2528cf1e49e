"""The sentences that a boot loader shows to a pupil, in the language of the seat. Pure.

They stand below the English line for the technician, which is the script's own. The words are those of
``netboot.boot.words``, in ASCII: iPXE's console of Debian knows no other letters (its console.h). A
shell reads them in GRUB, so they have no apostrophe.
"""

import unicodedata

from netboot.boot.words import LANGUAGES, WORDS
from netboot.profile.profile import Seat

# The words of each sentence, one after the other.
PARTS = {
    "boots": ("boots",),
    "turn": ("turn",),
    "obstacle": ("obstacle", "tell", "again"),
    "memory": ("memory", "tell"),
    "failed": ("server", "again"),
}
_GERMAN = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
)


def plain(text: str) -> str:
    """Return a text with letters of ASCII alone."""
    parts = unicodedata.normalize("NFKD", text.translate(_GERMAN))
    return parts.encode("ascii", "ignore").decode()


# By key and language; %s is a number.
SENTENCES: dict[str, dict[str, str]] = {
    key: {
        language: plain(" ".join(WORDS[part][language] for part in parts))
        for language in LANGUAGES
        if language != "en"
    }
    for key, parts in PARTS.items()
}


def lines(seat: Seat, key: str, number: int = 0) -> tuple[str, ...]:
    """Return a script's line with the sentence ``key`` in the seat's language; none in English."""
    language = seat.own.locale.partition("_")[0]
    sentence = SENTENCES[key].get(language)
    return () if sentence is None else (f"echo netboot: {sentence.replace('%s', str(number))}",)
