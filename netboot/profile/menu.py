"""The section ``boot.menu`` of a profile: what a person at a PC may start in place of the usual. Pure."""

import re
from typing import Annotated, Literal, Self, get_args
from unicodedata import normalize

from pydantic import Field, model_validator

from netboot.profile import patterns, values
from netboot.profile.fields import NothingIsEmpty, Section, misplaced
from netboot.profile.reading import Nearest, OneOrMore, Text, Unreadable, nearest
from netboot.profile.seat import Hash

USUAL = "boot"  # the entry of every menu: what the PC boots without one
ENTRIES = {"images": "", "rescue": "", "local": "", "memtest": ""}
IMAGE = "image-"  # before the name of a root image, in the id of its entry
MAX_OTHERS = 30

OtherKind = Literal["chain", "iso", "linux"]
KINDS: dict[str, str] = dict.fromkeys(get_args(OtherKind), "")
# What iPXE takes as it is: no blank, no '$' of a setting, no '@' of a password, no operator.
_URL = r"(?:http|https|tftp)://[A-Za-z0-9._~:/?=,+%()*!&-]{1,500}"
_WORD = r"(?!(?:http|https|tftp)://)[A-Za-z0-9._~:/?=,+%()*!@-]{1,200}"
_OTHER = rf"(?:chain|iso) +{_URL}|linux +{_URL}(?: +{_URL}){{0,8}}(?: +{_WORD}){{0,30}}"
_LETTER = "[!-~\u00a1-\u00ac\u00ae-\u024f]"  # Latin ones, without the soft hyphen
_NAME = rf"[A-Za-z0-9](?:(?:{_LETTER}| ){{0,48}}{_LETTER})?"


class Other(Section):
    """An entry of its own: the kind, its URLs, and the words of a kernel's command line."""

    kind: OtherKind
    urls: tuple[str, ...]
    arguments: tuple[str, ...] = ()


def _other(text: str) -> Other:
    if re.search(r"://[^/\s]*@", text):
        raise Unreadable("URLs without a password, which the PC shows", is_secret=True)
    kind, *words = text.split()
    if re.fullmatch(_OTHER, text) is None:
        if re.fullmatch(_URL, text):
            raise Nearest(f"{'iso' if text.lower().endswith('.iso') else 'chain'} {text}")
        guess = nearest(kind, KINDS) or kind
        for start in ("", "http://"):
            meant = f"{guess} {start}{' '.join(words)}"
            if re.fullmatch(_OTHER, meant):
                raise Nearest(meant)
        raise ValueError(text)
    urls = tuple(word for word in words if re.fullmatch(_URL, word))
    return Other.model_validate(
        {"kind": kind, "urls": urls, "arguments": tuple(words[len(urls) :])}
    )


def _name(text: str) -> str:
    if re.fullmatch(_NAME, text) is None:
        raise ValueError(text)
    return text


def _key(text: str) -> str:
    if re.fullmatch("[A-Z]", text):
        raise Nearest(text.lower())
    if re.fullmatch("[a-z]", text) is None:
        raise ValueError(text)
    return text


def id_of(name: str) -> str:
    """Return what names an entry in a URL and in an order: letters, digits and hyphens."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", plain.lower()).strip("-")


Name = Annotated[
    str,
    Text("a name of at most 50 characters such as Debian installer", _name, patterns.text(_NAME)),
]
OtherText = Annotated[
    Other,
    Text("chain URL, iso URL, or linux URL URL WORDS", _other, patterns.text(_OTHER)),
]


class Menu(Section):
    """The keys of `boot.menu`."""

    entries: Annotated[
        tuple[Annotated[str, values.choice(ENTRIES)], ...], OneOrMore(unique=True)
    ] = ()
    """The entries beside the usual boot. images: each root image of this profile; rescue: a shell
    before the root file system; local: the PC's own disk; memtest: Memtest86+. Without this key and
    `others` there is no menu.
    """
    others: Annotated[dict[Name, OtherText], NothingIsEmpty()] = Field(default={})
    """Further entries by the name that the menu shows. chain URL: the script or loader of another
    server; iso URL: a CD image; linux URL URL WORDS: a kernel, its initrds, and words for its command
    line.
    """
    key: Annotated[str, Text("a small letter such as m", _key, patterns.text("[a-z]"))] = "m"
    """The key that opens the menu while a PC starts. Default: m."""
    wait: Annotated[int, values.duration("0s", "1m", "0s")] = 0  # seconds
    """The time for which each PC waits for that key. 0s: 0.3 s, which see a key that is held down.
    Default: 0s.
    """
    timeout: Annotated[int, values.duration("1s", "1h", "30s")] = 30  # seconds
    """The time after which an open menu boots the PC as usual. Default: 30s."""
    password: Hash | None = Field(default=None, repr=False)
    """The hash of the password that opens the menu, which 'mkpasswd' makes. Without this key: no
    password.
    """

    @property
    def is_on(self) -> bool:
        """True if there is a menu."""
        return bool(self.entries or self.others)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if len(set(self.entries)) < len(self.entries):
            raise misplaced("one of them is listed twice", "entries")
        if len(self.others) > MAX_OTHERS:
            raise misplaced(f"expected at most {MAX_OTHERS}, found {len(self.others)}", "others")
        names = {id_of(name): f"entry '{name}'" for name in (USUAL, *ENTRIES)}
        for name in self.others:
            other = names.setdefault(id_of(name), f"'{name}'")
            if id_of(name).startswith(IMAGE):
                other = "an image of 'images'"
            if other != f"'{name}'":
                raise misplaced(f"is too much like {other}; choose another name", "others", name)
        if self.password is not None and not self.is_on:
            raise misplaced("without 'entries' or 'others' there is no menu", "password")
        return self
