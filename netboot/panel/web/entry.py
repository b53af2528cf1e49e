"""The routes for login and health: those that need no account."""

from fastapi import APIRouter, Request
from starlette.responses import Response

import netboot
from netboot.panel.metrics import CONTENT_TYPE
from netboot.panel.web.access import CSRF, Anybody, Panel, Scraper, ThePanel, Visitor, check_token
from netboot.panel.web.answers import JSON, answer, encode
from netboot.panel.web.models import Health, LoginBody, Me, ServerHealth
from netboot.panel.web.problems import documented, refuse

health = APIRouter(responses=documented(400, 421), tags=["health"])
entry = APIRouter(prefix="/api/v1", responses=documented(400, 421, 503), tags=["login"])


@health.get("/health", response_model=Health)
async def get_health(panel: ThePanel) -> Response:
    """Return whether the panel and the feeds of its servers work."""
    servers = tuple(
        ServerHealth(each.name, each.connected, each.since)
        for each in panel.ports.room.view().servers
    )
    well = bool(servers) and all(each.connected for each in servers)
    return answer(Health("ok" if well else "degraded", netboot.__version__, servers))


@health.get(
    "/metrics",
    response_class=Response,
    responses={
        **documented(401, 404),
        200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}},
    },
)
async def get_metrics(panel: ThePanel, _: Scraper) -> Response:
    """Return the figures of all servers and of the panel, for Prometheus."""
    if panel.ports.metrics is None:
        raise refuse(404, "no metrics: this panel was started without them; see /api/v1/room")
    return Response(panel.ports.metrics(), headers={"Content-Type": CONTENT_TYPE})


def _me(panel: Panel, visitor: Visitor) -> Me:
    return Me(visitor.name, visitor.role, visitor.csrf, not panel.may_look(visitor))


@entry.get("/me", response_model=Me)
async def get_me(panel: ThePanel, visitor: Anybody) -> Response:
    """Return the account of this browser, and the token that changes must carry."""
    return answer(_me(panel, visitor))


@entry.post("/login", response_model=Me, responses=documented(401, 403, 413, 422, 429))
async def log_in(panel: ThePanel, request: Request, body: LoginBody) -> Response:
    """Log in: the answer sets the cookie of a session."""
    response = Response(media_type=JSON)
    visitor = await panel.log_in(request, response, body.name, body.password)
    response.body = encode(_me(panel, visitor))
    response.headers["Content-Length"] = str(len(response.body))
    return response


@entry.post("/logout", response_model=Me, responses=documented(403))
async def log_out(panel: ThePanel, request: Request, visitor: Anybody) -> Response:
    """End the session of this browser. Without one, nothing happens."""
    if visitor.name:
        check_token(visitor, request.headers.get(CSRF))
    response = answer(_me(panel, Visitor(address=visitor.address)))
    panel.log_out(request, response, visitor)
    return response
