"""The routes of the room: what it is, what it was, and orders."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from netboot.panel.records import (
    AuditEntry,
    Boot,
    InventoryRow,
    RoomBoot,
    Samples,
    Schedule,
    TroubleEntry,
)
from netboot.panel.web.access import Changer, Onlooker, Operator, ThePanel
from netboot.panel.web.answers import JSON, answer
from netboot.panel.web.models import (
    Mac,
    OrderAnswer,
    OrderBody,
    PlanAnswer,
    PlanBody,
    RoomAnswer,
    ScheduleBody,
    SeatAnswer,
)
from netboot.panel.web.problems import ask, documented, refuse
from netboot.panel.web.stream import StreamResponse

LATEST = 1e11  # seconds since the epoch: a mistyped time is found
MOST_NUMBER = (1 << 63) - 1
SEAT_BOOTS = 3
MOST_SCHEDULES = 200
HOUR = 3600.0

room = APIRouter(prefix="/api/v1", responses=documented(400, 401, 421, 422, 503), tags=["room"])
acting = APIRouter(
    prefix="/api/v1", responses=documented(400, 401, 403, 413, 421, 422, 503), tags=["acting"]
)

MacPath = Annotated[Mac, Path(description="MAC address.", examples=["52:54:00:00:00:01"])]
Number = Annotated[int, Path(ge=1, le=MOST_NUMBER)]
Moment = Annotated[
    float | None, Query(ge=0, le=LATEST, allow_inf_nan=False, description="Seconds since 1970.")
]
Points = Annotated[int, Query(ge=2, le=2000, description="Rows, at most.")]


@room.get("/room", response_model=RoomAnswer)
async def get_room(panel: ThePanel, _: Onlooker) -> Response:
    """Return the whole room as it is now."""
    return Response(b'{"server_time":%.3f,%b' % (panel.wall(), panel.view()[1:]), media_type=JSON)


@room.get(
    "/stream",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def get_stream(
    panel: ThePanel,
    visitor: Onlooker,
    after: Annotated[int | None, Query(ge=0, le=MOST_NUMBER)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Follow the room: ``patch`` events at most once a second, ``reload`` if a number is too old."""
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        after = min(int(last_event_id[:20]), MOST_NUMBER)
    refusal = panel.hub.refusal(visitor.address)
    if refusal:
        raise refuse(503, f"stream: {refusal}; close a page", wait=5.0)
    browser = panel.hub.join(visitor.address, after)

    def may_stay() -> bool:
        return not visitor.session or panel.account_of(visitor.session, touch=False) is not None

    return StreamResponse(panel.hub, browser, may_stay)


@room.get("/seats/{mac}", response_model=SeatAnswer, responses=documented(404))
async def get_seat(panel: ThePanel, _: Onlooker, mac: MacPath) -> Response:
    """Return a seat with its last events and boots."""
    seat = panel.ports.room.seat(mac)
    if seat is None:
        raise refuse(404, f"no seat {mac!r}: no server knows it; GET /api/v1/room lists all")
    boots = await ask(panel.ports.history.boots(mac, SEAT_BOOTS))
    return answer(SeatAnswer(seat, tuple(panel.ports.room.events(mac)), tuple(boots)))


@room.get("/seats/{mac}/samples", response_model=Samples)
async def get_seat_samples(
    panel: ThePanel,
    _: Onlooker,
    mac: MacPath,
    since: Moment = None,
    until: Moment = None,
    points: Points = 300,
) -> Response:
    """Return the figures of a seat; without times those of the last hour."""
    begin, end = _span(panel.wall(), since, until)
    return answer(await ask(panel.ports.history.samples(mac, begin, end, points)))


@room.get("/seats/{mac}/boots", response_model=list[Boot])
async def get_boots(
    panel: ThePanel,
    _: Onlooker,
    mac: MacPath,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Response:
    """Return the last boots of a seat, the newest first."""
    return answer(tuple(await ask(panel.ports.history.boots(mac, limit))), tuple[Boot, ...])


@room.get("/boot", response_model=RoomBoot)
async def get_room_boot(panel: ThePanel, _: Onlooker) -> Response:
    """Return the last boot of the whole room, and how it compares with the one before."""
    return answer(await ask(panel.ports.history.room_boot()))


@room.get("/servers/{name}/samples", response_model=Samples, responses=documented(404))
async def get_server_samples(
    panel: ThePanel,
    _: Onlooker,
    name: Annotated[str, Path(max_length=255)],
    since: Moment = None,
    until: Moment = None,
    points: Points = 300,
) -> Response:
    """Return the figures of a server; without times those of the last hour."""
    names = [each.name for each in panel.ports.room.view().servers]
    if name not in names:
        raise refuse(404, f"no server {name[:60]!a}: expected one of {', '.join(names) or 'none'}")
    begin, end = _span(panel.wall(), since, until)
    return answer(await ask(panel.ports.history.server_samples(name, begin, end, points)))


def _span(now: float, since: float | None, until: float | None) -> tuple[float, float]:
    end = now if until is None else until
    begin = max(end - HOUR, 0.0) if since is None else since
    if begin > end:
        raise refuse(422, f"query 'since': expected at most 'until', {end:.0f}, found {begin:.0f}")
    return begin, end


@room.get("/troubles", response_model=list[TroubleEntry])
async def get_troubles(
    panel: ThePanel,
    _: Onlooker,
    all_of_them: Annotated[
        bool, Query(alias="all", description="Those that are over or acknowledged as well.")
    ] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Return what went wrong, the newest first."""
    found = await ask(panel.ports.history.troubles(all_of_them=all_of_them, limit=limit))
    return answer(tuple(found), tuple[TroubleEntry, ...])


@room.get("/inventory", response_model=list[InventoryRow])
async def get_inventory(panel: ThePanel, _: Onlooker) -> Response:
    """Return each PC that was ever seen, with its hardware and advice on its memory."""
    return answer(tuple(await ask(panel.ports.history.inventory())), tuple[InventoryRow, ...])


@room.get("/plan", response_model=PlanAnswer)
async def get_plan(panel: ThePanel, _: Onlooker) -> Response:
    """Return where the seats stand."""
    return answer(PlanAnswer(panel.ports.room.view().plan))


@room.get("/schedules", response_model=list[Schedule])
async def get_schedules(panel: ThePanel, _: Onlooker) -> Response:
    """Return the orders that are given at a time of the day."""
    return answer(tuple(await ask(panel.ports.history.schedules())), tuple[Schedule, ...])


@acting.post("/orders", response_model=OrderAnswer)
async def send_order(panel: ThePanel, visitor: Changer, body: OrderBody) -> Response:
    """Give an order to seats."""
    order = body.order_of(visitor.name, visitor.address)
    results = None
    try:
        results = await ask(panel.ports.orders.send(order))
    finally:
        panel.ports.history.note(AuditEntry.of(order, panel.wall(), results))
    return answer(OrderAnswer({mac: results.get(mac, "no answer") for mac in order.seats}))


@acting.post("/troubles/{id}/acknowledge", response_model=TroubleEntry, responses=documented(404))
async def acknowledge(
    panel: ThePanel, visitor: Changer, number: Annotated[Number, Path(alias="id")]
) -> Response:
    """Note that an operator has seen a trouble."""
    found = await ask(panel.ports.history.acknowledge(number, visitor.name, panel.wall()))
    if found is None:
        raise refuse(404, f"no trouble {number}: it is older than the history; load the list again")
    panel.note(visitor, "acknowledge", seats=(found.seat,), detail=f"{number}: {found.message}")
    return answer(found)


@acting.put("/plan", response_model=PlanAnswer)
async def set_plan(panel: ThePanel, visitor: Changer, body: PlanBody) -> Response:
    """Keep another plan of the room."""
    await ask(panel.ports.history.save_plan(body.rows))
    panel.ports.room.set_plan(body.rows)
    panel.note(visitor, "plan", detail=f"{sum(map(len, body.rows))} places")
    return answer(PlanAnswer(panel.ports.room.view().plan))


@acting.post("/schedules", response_model=Schedule, status_code=201, responses=documented(409))
async def add_schedule(panel: ThePanel, visitor: Changer, body: ScheduleBody) -> Response:
    """Keep an order for a time of the day."""
    history = panel.ports.history
    if len(await ask(history.schedules())) >= MOST_SCHEDULES:
        raise refuse(
            409, f"there are {MOST_SCHEDULES} schedules, the most there can be; delete one"
        )
    added = await ask(history.add_schedule(body.schedule(visitor.name)))
    detail = f"{added.id}: {added.order} at {added.at}"
    panel.note(visitor, "schedule:add", seats=added.seats, detail=detail)
    return answer(added, status=201)


@acting.delete("/schedules/{id}", status_code=204, responses=documented(404))
async def remove_schedule(
    panel: ThePanel, visitor: Changer, number: Annotated[Number, Path(alias="id")]
) -> Response:
    """Forget an order for a time of the day."""
    if not await ask(panel.ports.history.remove_schedule(number)):
        raise refuse(404, f"no schedule {number}: it was deleted; load the list again")
    panel.note(visitor, "schedule:remove", detail=str(number))
    return Response(status_code=204)


@acting.get("/audit", response_model=list[AuditEntry])
async def get_audit(
    panel: ThePanel, _: Operator, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> Response:
    """Return who did what, the newest first. For operators: it names people."""
    return answer(tuple(await ask(panel.ports.history.audit(limit))), tuple[AuditEntry, ...])
