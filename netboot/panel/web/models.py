"""Bodies of requests to the panel's API, and answers that are no record of a port."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

from netboot.boot.limits import PANEL_ORDER
from netboot.feed.protocol import MAX_NAME, MAX_TEXT, OrderName
from netboot.panel.login.accounts import MAX_PASSWORD
from netboot.panel.records import Boot, Order, RoomEvent, RoomSeat, RoomServer, Rows, Schedule
from netboot.profile.fields import IMAGE_NAME
from netboot.profile.sections import LOADERS

MAC = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"
TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
GROUP = "group:"
MOST_SEATS = PANEL_ORDER.per_address or 0
MAX_ROW = 400  # seats
DAYS = 7

_BREAKS = re.compile(r"[ \t\n]+")
_MAC = re.compile(MAC)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable text, found a control character")
    return text


def _line(text: str) -> str:
    """Return a message as servers take it: on one line, of characters that show."""
    return _printable(_BREAKS.sub(" ", text).strip(" "))


def _image(text: str) -> str:
    if text and not re.fullmatch(IMAGE_NAME, text):
        raise ValueError(f"expected the name of a root image, found {text!a}")
    return text


def _loader(text: str) -> str:
    if text not in ("", *LOADERS):
        raise ValueError(f"expected one of {', '.join(LOADERS)}, found {text!a}")
    return text


def _seat_or_group(text: str) -> str:
    if _MAC.fullmatch(text):
        return text.lower()
    if text.startswith(GROUP) and len(text) > len(GROUP):
        return _printable(text)
    raise ValueError(f"expected a MAC address or {GROUP}NAME, found {text[:MAX_NAME]!a}")


def _in_order(days: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(days)))


_NAME = {"pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"}
_TEXT = {"pattern": r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]*$"}
_TARGET = {"pattern": rf"^(group:.+|{MAC[1:-1]})$"}
Mac = Annotated[str, Field(pattern=MAC), AfterValidator(str.lower)]
Name = Annotated[
    str, Field(max_length=MAX_NAME, json_schema_extra=_NAME), AfterValidator(_printable)
]
Text = Annotated[str, Field(max_length=MAX_TEXT, json_schema_extra=_TEXT), AfterValidator(_line)]
Target = Annotated[
    str,
    Field(max_length=MAX_NAME + len(GROUP), json_schema_extra=_TARGET),
    AfterValidator(_seat_or_group),
]
Day = Annotated[int, Field(ge=0, lt=DAYS, strict=True)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoginBody(_Body):
    """A name and its password."""

    name: Annotated[str, Field(max_length=MAX_NAME)]
    password: Annotated[str, Field(max_length=MAX_PASSWORD, repr=False)]


class _Ordered(_Body):
    order: OrderName
    text: Text = Field("", description="Of order message; of order entry the entry's id.")
    image: Annotated[Name, AfterValidator(_image)] = Field(
        "", description="Of order image; empty: the profile's again."
    )
    loader: Annotated[Name, AfterValidator(_loader)] = Field(
        "", description=f"Of order loader: {', '.join(LOADERS)}."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "_Ordered":
        if self.order == "message" and not self.text.strip():
            raise ValueError("text: order message needs one")
        if self.order == "loader" and not self.loader:
            raise ValueError("loader: order loader needs one")
        for key, value in (("text", self.text), ("image", self.image), ("loader", self.loader)):
            if value and self.order not in {"text": ("message", "entry")}.get(key, (key,)):
                raise ValueError(f"{key}: order {self.order} takes none")
        return self


class OrderBody(_Ordered):
    """An order for seats."""

    seats: Annotated[tuple[Mac, ...], Field(min_length=1, max_length=MOST_SEATS)]

    def order_of(self, by: str, address: str) -> Order:
        """Return the order as it goes to the servers, each seat once."""
        seats = tuple(dict.fromkeys(self.seats))
        return Order(self.order, seats, by, address, self.text, self.image, self.loader)


class ScheduleBody(_Ordered):
    """An order at a time of the day, by the clock of the panel's machine. No seat is all seats."""

    seats: Annotated[tuple[Target, ...], Field(max_length=MOST_SEATS)] = ()
    at: Annotated[str, Field(pattern=TIME, examples=["17:00"])]
    days: Annotated[
        tuple[Day, ...],
        Field(min_length=1, max_length=DAYS, description="0 is Monday."),
        AfterValidator(_in_order),
    ] = tuple(range(DAYS))
    enabled: StrictBool = True

    def schedule(self, by: str) -> Schedule:
        """Return the schedule, without an id."""
        return Schedule(
            0,
            self.order,
            tuple(dict.fromkeys(self.seats)),
            self.at,
            self.days,
            self.enabled,
            self.text,
            self.image,
            self.loader,
            by,
        )


class PlanBody(_Body):
    """Seats' names by rows, from the front; empty texts are gaps. No row: the profile's plan again."""

    rows: Annotated[
        tuple[Annotated[tuple[Name, ...], Field(max_length=MAX_ROW)], ...],
        Field(max_length=MAX_ROW),
    ]

    @model_validator(mode="after")
    def _is_small(self) -> "PlanBody":
        places = sum(len(row) for row in self.rows)
        if places > MOST_SEATS:
            raise ValueError(f"rows: {places} places, expected at most {MOST_SEATS}")
        names = Counter(name for row in self.rows for name in row if name)
        if names and (twice := names.most_common(1)[0])[1] > 1:
            raise ValueError(f"rows: a seat has one place, found {twice[0]!a} at {twice[1]}")
        return self


@dataclass(frozen=True, slots=True)
class Me:
    """The account of this browser. ``needs_login``: nothing is shown without an account."""

    name: str
    role: Literal["anonymous", "viewer", "operator"]
    csrf: str
    needs_login: bool


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """A server and whether its feed arrives. ``since``: when that changed."""

    name: str
    connected: bool
    since: float


@dataclass(frozen=True, slots=True)
class Health:
    """How the panel is. It is degraded if a server's feed does not arrive."""

    status: Literal["ok", "degraded"]
    version: str
    servers: tuple[ServerHealth, ...]


@dataclass(frozen=True, slots=True)
class RoomAnswer:
    """The whole room. Changes after ``number`` come from the stream."""

    server_time: float
    number: int
    servers: tuple[RoomServer, ...]
    plan: Rows
    seats: tuple[RoomSeat, ...]


@dataclass(frozen=True, slots=True)
class SeatAnswer:
    """One seat, its last events (the oldest first) and its last boots (the newest first)."""

    seat: RoomSeat
    events: tuple[RoomEvent, ...]
    boots: tuple[Boot, ...]


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """For each seat an empty text, or why the order was refused."""

    results: dict[str, str]


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """The plan of the room."""

    rows: Rows
