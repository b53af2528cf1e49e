"""A played panel: the API of the panel with made-up seats that change each second, for tests of the page.

By hand: ``python -m tests.panel.played --seats 12``, then http://127.0.0.1:8081/, operator/secret.
"""

import argparse
import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.gzip import GZipMiddleware

from netboot.panel.web import files
from tests.panel.played_room import PlayedRoom

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
NAME, PASSWORD, CSRF, SESSION = "operator", "secret", "token-of-this-session", "session-1"
# Texts of a fixed form: the panel checks them, or makes them.
FIXED = {
    "mac",
    "seat",
    "state",
    "outcome",
    "columns",
    "order",
    "at",
    "role",
    "csrf",
    "results",
    "gone",
}
WRONG = (
    "login: wrong name or password; an administrator can set another one: "
    "netboot panel user passwd NAME"
)
Json = Any


class Played:
    """The panel. Tests read ``requests`` and set the rest.

    ``requests``: method, path, body of each request that changes something. ``refusals``: by MAC
    address. ``needs_login``: guests see nothing. ``deaf``: the stream and all requests fail.
    """

    def __init__(self, seats: int = 12) -> None:
        self.room = PlayedRoom(seats)
        self.requests: list[tuple[str, str, Json]] = []
        self.refusals: dict[str, str] = {}
        self.needs_login = False
        self.deaf = False
        self.reload = False
        self.still = False  # nothing changes by itself
        self.acknowledged: dict[int, float] = {}
        self.schedules: list[dict[str, Json]] = []
        self.number = 1
        self.patches: list[tuple[int, str]] = []
        self.spoil = ""  # if any, this stands in place of each text that is free
        self.app = FastAPI(default_response_class=self._answers())
        self._routes()

    def _answers(self) -> type[JSONResponse]:
        played = self

        class Answer(JSONResponse):
            def render(self, content: Json) -> bytes:
                return super().render(played.dressed(content))

        return Answer

    def dressed(self, value: Json, key: str = "") -> Json:
        """Return an answer, with ``spoil`` in place of each text that a PC, a user or a profile says."""
        if not self.spoil or key in FIXED:
            return value
        if isinstance(value, str):
            return self.spoil
        if isinstance(value, dict):
            return {name: self.dressed(each, name) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.dressed(each) for each in value]
        return value

    def patch(self, *macs: str, **more: Json) -> None:
        """Tell all browsers the rows of these seats, and ``more`` of the patch's keys."""
        self.number += 1
        patch = {"number": self.number, "seats": self.room.rows(macs), "gone": [], "servers": []}
        patch |= {"events": []} | more
        self.patches = [*self.patches[-5:], (self.number, json.dumps(self.dressed(patch)))]

    def step(self) -> None:
        """Let a second pass in the room."""
        self.patch(*self.room.step(), servers=self.room.server_rows())

    async def play(self) -> None:
        """Let the room go on, in real time."""
        while True:
            await asyncio.sleep(1)
            if not self.still:
                self.step()

    async def stream(self, after: int) -> AsyncIterator[str]:
        """Yield the patches after that number as events."""
        yield ": here\n\n"
        while not self.deaf:
            if self.reload:
                self.reload = False
                yield "event: reload\ndata: {}\n\n"
            for number, text in self.patches:
                if number > after:
                    after = number
                    yield f"event: patch\nid: {number}\ndata: {text}\n\n"
            await asyncio.sleep(0.1)

    def me(self, request: Request) -> dict[str, Json]:
        """Return who asks."""
        known = request.cookies.get("netboot_session") == SESSION
        return {
            "name": NAME if known else "",
            "role": "operator" if known else "anonymous",
            "csrf": CSRF if known else "",
            "needs_login": self.needs_login and not known,
        }

    async def guard(self, request: Request, call: Callable[..., Json]) -> Response:
        """Refuse what the panel would refuse, note what changes something, set the policy."""
        path = request.url.path
        if self.deaf:
            return Response(status_code=503)
        if path.startswith("/api/"):
            refused = await self._refused(request, path)
            if refused:
                return JSONResponse({"detail": refused[1]}, refused[0])
        response: Response = await call(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response

    async def _refused(self, request: Request, path: str) -> tuple[int, str] | None:
        is_open = path in ("/api/v1/me", "/api/v1/login", "/api/v1/logout")
        who = self.me(request)
        if who["needs_login"] and not is_open:
            return 401, "not logged in: this panel is for accounts only; log in"
        if request.method == "GET":
            return None
        body = await request.body()
        self.requests.append((request.method, path, json.loads(body) if body else None))
        if is_open:
            return None
        if who["role"] != "operator":
            return 403, "not allowed: you are not an operator; log in"
        if request.headers.get("X-CSRF-Token") != CSRF:
            return 403, "refused: no CSRF token; load the page again"
        return None

    def _routes(self) -> None:
        app, room = self.app, self.room
        app.add_middleware(GZipMiddleware)
        app.middleware("http")(self.guard)
        app.include_router(files.router(files.read_files()))

        @app.get("/api/v1/me")
        def me(request: Request) -> Json:
            return self.me(request)

        @app.post("/api/v1/login")
        def login(body: dict[str, Json], response: Response) -> Json:
            if (body["name"], body["password"]) != (NAME, PASSWORD):
                return JSONResponse({"detail": WRONG}, 401)
            response.set_cookie("netboot_session", SESSION, httponly=True, samesite="strict")
            return {"name": NAME, "role": "operator", "csrf": CSRF}

        @app.post("/api/v1/logout")
        def logout(response: Response) -> Json:
            response.delete_cookie("netboot_session")
            return {}

        @app.get("/api/v1/room")
        def whole() -> Json:
            return {"server_time": time.time(), "number": self.number, **room.view()}

        @app.get("/api/v1/stream")
        def stream(after: int = 0) -> Response:
            return StreamingResponse(self.stream(after), media_type="text/event-stream")

        @app.get("/api/v1/seats/{mac}")
        def seat(mac: str) -> Json:
            if mac not in room.seats:
                return JSONResponse(
                    {"detail": f"no seat {mac!r}: no server knows it; GET /api/v1/room lists all"},
                    404,
                )
            (row,) = room.rows([mac])
            return {"seat": row, "events": room.events(mac), "boots": room.boots(mac)}

        @app.get("/api/v1/seats/{mac}/samples")
        def samples(mac: str, since: float, until: float, points: int = 300) -> Json:
            return room.samples(since, until, points)

        @app.get("/api/v1/servers/{name:path}/samples")
        def server_samples(name: str, since: float, until: float, points: int = 300) -> Json:
            return room.server_samples(since, until, points)

        @app.get("/api/v1/boot")
        def boot() -> Json:
            return room.boot()

        @app.get("/api/v1/inventory")
        def inventory() -> Json:
            return room.inventory()

        @app.get("/api/v1/audit")
        def audit() -> Json:
            return room.audit()

        @app.put("/api/v1/plan")
        def plan(body: dict[str, Json]) -> Json:
            room.plan = body["rows"]
            self.patch(plan=room.plan)
            return {"rows": room.plan}

        @app.post("/api/v1/orders")
        def orders(body: dict[str, Json]) -> Json:
            return {"results": {mac: self.refusals.get(mac, "") for mac in body["seats"]}}

        self._kept_routes()

    def _kept_routes(self) -> None:
        app, room = self.app, self.room

        @app.get("/api/v1/troubles")
        def troubles(all: bool = False) -> Json:
            rows = room.troubles()
            for row in rows:
                if row["id"] in self.acknowledged:
                    row["acknowledged_by"] = NAME
                    row["acknowledged_at"] = self.acknowledged[row["id"]]
            return [row for row in rows if all or not (row["over"] or row["acknowledged_by"])]

        @app.post("/api/v1/troubles/{trouble}/acknowledge")
        def acknowledge(trouble: int) -> Json:
            self.acknowledged[trouble] = time.time()
            return {"id": trouble}

        @app.get("/api/v1/schedules")
        def schedules() -> Json:
            return self.schedules

        @app.post("/api/v1/schedules")
        def add(body: dict[str, Json]) -> Json:
            self.schedules.append({"text": "", "image": "", "loader": "", "by": NAME} | body)
            self.schedules[-1]["id"] = len(self.schedules)
            return self.schedules[-1]

        @app.delete("/api/v1/schedules/{schedule}")
        def remove(schedule: int) -> Json:
            self.schedules = [each for each in self.schedules if each["id"] != schedule]
            return {}


class Running:
    """A played panel in a thread, on a free port of 127.0.0.1."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        config = uvicorn.Config(played.app, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        playing = asyncio.create_task(self.played.play())
        await self._server.serve(sockets=[self._socket])
        playing.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.played.deaf = True
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def main() -> None:
    """Play a panel until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seats", type=int, default=12)
    parser.add_argument("--port", type=int, default=8081)
    options = parser.parse_args()
    played = Played(options.seats)

    async def serve() -> None:
        playing = asyncio.create_task(played.play())
        await uvicorn.Server(uvicorn.Config(played.app, port=options.port)).serve()
        playing.cancel()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
