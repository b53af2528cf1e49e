"""The sections ``panel`` and ``room`` of a profile: the page that shows the room. Pure."""

import re
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from netboot.profile import patterns, values
from netboot.profile.fields import Section
from netboot.profile.reading import Annotation, OneOrMore, Secret, Text, Unreadable

DATABASE = r"(?:postgresql(?:\+psycopg)?://[!-~]{1,1000})?"


def _database(text: str) -> str:
    with suppress(ValueError):  # of a port or an IPv6 address that is none
        if re.fullmatch(DATABASE, text) is not None and urlsplit(text).port != 0:
            return text
    raise ValueError("not shown: it may have a password")


def without_password(url: str) -> tuple[str, str]:
    """Return a URL without its password, and the password: all users can read command lines.

    libpq takes a password as a parameter, too.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    password = dict(query).get("password", unquote(parts.password or ""))
    if parts.password is not None:
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user.partition(':')[0]}@{host}")
    if "password" in dict(query):
        rest = [(key, value) for key, value in query if key != "password"]
        parts = parts._replace(query=urlencode(rest))
    return urlunsplit(parts), password


def _place(text: str) -> str:
    return values.hostname(text) if text else ""


class Rows(Annotation):
    """The annotation of the plan: a list of rows, each a list or one text with commas."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "type": "array"}

    def read(self, value: object) -> object:
        """Return a list as it is. Raises Unreadable for any other value."""
        if not isinstance(value, list | tuple):
            raise Unreadable("a list of rows such as [[pc-1, pc-2], [pc-3, '', pc-4]]")
        return value


Place = Annotated[
    str,
    Text(
        "the name of a PC, or '' for a gap",
        _place,
        patterns.text(f"(?:{values.HOSTNAME_LETTERS})?", patterns.NATURAL, patterns.BOOLEAN),
    ),
]
Row = Annotated[tuple[Place, ...], OneOrMore()]


class Panel(Section):
    """The keys of `panel`."""

    database: Annotated[
        str,
        Secret(
            "a URL such as postgresql://netboot@10.0.0.5/netboot, or '' for a file of its own",
            _database,
            patterns.text(DATABASE),
        ),
    ] = Field(default="", repr=False)
    """The PostgreSQL database for the history of the room, such as
    postgresql://netboot@10.0.0.5/netboot. Without this key: a file in the state folder.
    """


class RoomPlan(Section):
    """The keys of `room`."""

    plan: Annotated[tuple[Row, ...], Rows()] = ()
    """The places of the PCs as rows of their names, the front row first; '' is a gap. Each name is
    that of a PC in `clients`. Without this key: the panel shows the PCs in the order of `clients`.
    """
