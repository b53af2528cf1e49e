"""The panel's application: all routes, on top of the ports that are given to it."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.gzip import GZipMiddleware

import netboot
from netboot.panel.login.accounts import Accounts
from netboot.panel.login.sessions import Sessions
from netboot.panel.ports import Ports
from netboot.panel.web import api, description, entry, files, problems
from netboot.panel.web.access import Panel
from netboot.panel.web.guard import MOST_BYTES, Guard
from netboot.panel.web.stream import Hub

ABOUT = """The room of netboot, live: seats, servers, troubles, history, orders.

Errors are `{"detail": "problem: cause; remedy"}`. A change needs the cookie of a session of an operator
(`POST /api/v1/login`) and its token (`GET /api/v1/me`) in the header `X-CSRF-Token`."""
PACKED_BYTES, PACKED_LEVEL = 1000, 4  # a room of 1,000 seats is made 15 times smaller in 6 ms


def create_app(
    ports: Ports,
    accounts: Accounts,
    *,
    login_for_all: bool = False,
    names: Collection[str] = (),
    static: Path = files.FOLDER,
    sessions: Sessions | None = None,
) -> FastAPI:
    """Return the application. ``names``: further host names by which browsers reach the panel.

    ``sessions``: those that are kept; without them they end with the application. Without ``login_for_all`` anybody may look. ``static``: the folder of the page.
    """
    hub = Hub(ports.room)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        hub.start()
        yield
        hub.close()

    app = FastAPI(
        title="netboot panel",
        version=netboot.__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=description.name_of,
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, names),
            # Inside the guard, because FastAPI's own limit answers before it, without its headers.
            Middleware(RequestBodyLimitMiddleware, max_body_size=MOST_BYTES),
            Middleware(GZipMiddleware, minimum_size=PACKED_BYTES, compresslevel=PACKED_LEVEL),
        ],
    )
    app.state.panel = Panel(
        ports, accounts, hub, login_for_all, sessions=Sessions() if sessions is None else sessions
    )
    problems.install(app)
    for router in (entry.health, entry.entry, api.room, api.acting):
        app.include_router(router)
    app.include_router(files.router(files.read_files(static)))
    app.openapi = description.described(app, login_for_all=login_for_all)  # type: ignore[method-assign]
    return app
