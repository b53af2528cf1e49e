"""The section ``seat`` of a profile: what is a PC's own, and therefore in no root image. Pure.

The server makes files of it for one boot (netboot.boot.seat_files). No value has a quote or a
backslash, because shell scripts and systemd read the values in single quotes.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from netboot.profile import patterns
from netboot.profile.fields import LocalFile, NothingIsEmpty, Overridable, misplaced
from netboot.profile.reading import Nearest, OneOrMore, Secret, Text, Unreadable

UTF_8 = ".UTF-8"
STARTS = ("auto", "kiosk", "desktop", "thin", "none")
MAX_FILES = 64  # that a profile adds to a PC; a program belongs into the image

_LETTERS = r"[!#-&(-\[\]-~]"  # all that print in ASCII but quotes, the backslash and the blank
_KEYBOARD = r"[a-z]{2,8}(?:\([A-Za-z0-9_-]{1,32}\))?"
_LOCALE = r"C\.UTF-8|[a-z]{2,3}_[A-Z]{2}\.UTF-8(?:@[a-z]{1,16})?"
_ZONE_WORD = "[A-Z][A-Za-z0-9_+-]{0,31}"
_ZONE = f"{_ZONE_WORD}(?:/{_ZONE_WORD}){{0,2}}"
_START = rf"{'|'.join(STARTS)}|/(?:{_LETTERS}| )*"
# A password in it would be in a file and on a command line that all users of the PC can read.
_NO_PASSWORD = r"(?![a-z0-9+.-]*://[^/?#@]*:[^/?#@]*@)"
_URL = rf"{_NO_PASSWORD}[a-z][a-z0-9+.-]{{0,15}}://{_LETTERS}{{1,1000}}"
_FINGERPRINT = "[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}"
_SCREEN = "auto|[1-9][0-9]{2,4}x[1-9][0-9]{2,4}"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_PRINTER = rf"{_HOST}|[a-z]{{3,8}}://[!#-&(-+\--\[\]-~]{{1,1000}}"  # no comma: it ends an item
# No comma, which ends an option of mount(8), and no '..'.
_EXPORT = r"(?:/|(?:/(?!\.{1,2}(?:/|\s*$))[A-Za-z0-9_@+.-]{1,255}){1,32})"
_HOME = f"none|seat|nfs:{_HOST}:{_EXPORT}"
_ACCOUNT = "[a-z_][a-z0-9_-]{0,31}"
# What mkpasswd makes and the C library of Debian 12 and 13 takes, but for MD5 and DES (crypt(5)).
_HASH = r"\$(?:y|gy|7|2[aby]|6|5)\$[./A-Za-z0-9$=,-]{20,250}"
_PLACE = r"(?!/(?:dev|proc|run|sys|tmp)/)(?:/(?!\.{1,2}(?:/|\s*$))[A-Za-z0-9_@+.-]{1,255}){1,32}"


def _whole(pattern: str, text: str) -> str:
    """Return ``text`` if it is ``pattern``, upper and lower case as written. Raises ValueError."""
    if re.fullmatch(pattern, text) is None:
        raise ValueError(text)
    return text


def _text(expected: str, pattern: str, *others: patterns.Schema) -> Text[str]:
    return Text(expected, lambda text: _whole(pattern, text), patterns.text(pattern, *others))


def _locale(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z]{2,3})_([A-Za-z]{2})(?:\.[A-Za-z0-9-]*)?", text)
    guess = f"{match[1].lower()}_{match[2].upper()}{UTF_8}" if match else text
    if guess != text:
        raise Nearest(guess)
    return _whole(_LOCALE, text)


def _url(text: str) -> str:
    if re.match(_NO_PASSWORD, text) is None:
        expected = "a URL without a password, which all users of the PC could read"
        raise Unreadable(expected, is_secret=True)
    return _whole(_URL, text)


def _fingerprint(text: str) -> str:
    digits = _whole(_FINGERPRINT, text).replace(":", "").lower()
    return ":".join(re.findall("..", digits))


def _home(text: str) -> str:
    spelled = re.fullmatch(r"(?:nfs4?:)?(?://)?([A-Za-z0-9.-]+):?(/\S*)", text)
    if re.fullmatch(_HOME, text) is None and spelled and spelled[1] not in ("seat", "none"):
        raise Nearest(f"nfs:{spelled[1]}:{spelled[2].rstrip('/') or '/'}")
    return _whole(_HOME, text)


def is_nfs(home: str) -> bool:
    """Return whether a value of `seat.home` names an NFS export."""
    return home.startswith("nfs:")


class Accounts(NothingIsEmpty):
    """The annotation of the accounts: no message shows what is written in their place."""

    def read(self, value: object) -> object:
        """Return a mapping, also for nothing. Raises Unreadable, as a secret."""
        if isinstance(value, (str, list)):
            raise Unreadable("pairs of a name and a hash", is_secret=True)
        return super().read(value)


Host = Annotated[
    str, _text("the name or address of a host", _HOST, {"type": ["number", "boolean"]})
]
Account = Annotated[str, _text("the name of an account such as anna", _ACCOUNT)]
Place = Annotated[
    str, _text("a path on the PC such as /etc/xdg/room.conf, not below /run or /tmp", _PLACE)
]
Hash = Annotated[
    str,
    Secret(
        "the hash of a password, not the password; make one with 'mkpasswd'",
        lambda text: _whole(_HASH, text),
        patterns.text(_HASH),
    ),
]


class SeatOwn(Overridable):
    """The keys of `seat`."""

    keyboard: Annotated[
        str,
        _text("a keyboard layout such as de or de(nodeadkeys)", _KEYBOARD, patterns.BOOLEAN),
    ] = "us"
    """The layout of the PC's keyboard, with its variant in brackets. Default: us."""
    locale: Annotated[
        str, Text("a locale such as de_DE.UTF-8", _locale, patterns.text(_LOCALE))
    ] = f"C{UTF_8}"
    """The language of programs; the root image must have it. Default: C.UTF-8."""
    timezone: Annotated[str, _text("a time zone such as Europe/Berlin", _ZONE)] = "UTC"
    """The time zone of the PC. Default: UTC."""
    start: Annotated[
        str,
        _text("auto, kiosk, desktop, thin, none, or a command such as /usr/bin/xterm", _START),
    ] = "auto"
    """The program that the PC shows. auto: the one for which the root image was built; kiosk: a
    browser; desktop; thin: the session of a server; none: a text console. Default: auto.
    """
    url: Annotated[
        str | None, Text("a URL such as http://10.0.0.1/", _url, patterns.text(_URL))
    ] = None
    """The page of the kiosk, or the server of the thin client, such as vnc://10.0.0.5 or
    rdp://anna@10.0.0.5. It has no password: that one is typed at the PC. Without this key: the
    page of the root image.
    """
    fingerprint: Annotated[
        str | None,
        Text(
            "the SHA-256 of a certificate, 64 digits such as 4b:a7:...",
            _fingerprint,
            patterns.text(_FINGERPRINT),
        ),
    ] = None
    """The SHA-256 of the certificate of the RDP server in `seat.url`. Without this key: only a
    certificate that a known authority has signed is trusted.
    """
    login: Literal["guest", "local", "none"] = "guest"
    """guest: the PC starts without a password, and forgets what was done unless `seat.home` keeps it;
    local: the screen asks for an account of `seat.accounts` and its password; none: nobody logs in at
    the screen. Default: guest.
    """
    home: Annotated[
        str,
        Text(
            "none, seat, or an NFS export such as nfs:10.0.0.1:/srv/homes",
            _home,
            patterns.text(_HOME),
        ),
    ] = "none"
    """The place of users' files. none: the PC's memory, until it is off, or until a guest's session
    ends; seat: the area of `root.persist`, where a guest's files stay for the next guest, too;
    nfs:SERVER:/FOLDER: an export of an NFS server (4.2). Default: none.
    """
    screen: Annotated[str, _text("auto or a size such as 1024x768", _SCREEN)] = "auto"
    """The size of the picture in pixels. auto: what the monitor reports. Default: auto."""
    printers: Annotated[
        tuple[Annotated[str, _text("a CUPS server or a printer's URI", _PRINTER)], ...], OneOrMore()
    ] = ()
    """The CUPS server whose printers the PC uses, such as 10.0.0.5, or URIs of printers, such as
    ipp://10.0.0.9/ipp/print.
    """
    accounts: Annotated[dict[Account, Hash], Accounts()] = Field(default={}, repr=False)
    """Accounts of the PC by name, each with the hash of its password, which 'mkpasswd' makes. An
    account that the root image has gets this password.
    """
    files: Annotated[dict[Place, LocalFile], NothingIsEmpty()] = Field(default={})
    """More files of the PC: the place there, and the file on the server. At most 64 files and 1 MiB
    together; all users of the PC can read them.
    """
    ntp: Annotated[tuple[Host, ...], OneOrMore()] = ()
    """The time servers that the PC asks. Without this key: those of `dhcp.ntp` in full mode, else
    those of the root image.
    """

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if sum("://" not in printer for printer in self.printers) > 1:
            raise misplaced("expected at most one CUPS server; the others need a URI", "printers")
        if len(self.files) > MAX_FILES:
            found = len(self.files)
            raise misplaced(f"expected at most {MAX_FILES} files, found {found}", "files")
        return self
