"""The sender of a request and the sender's rights: roles, sessions, the login.

Anybody may look by default; with ``login_for_all`` only an account may. Only an operator may change
something, and each change carries the CSRF token that ``GET /api/v1/me`` returns.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, APIKeyHeader
from starlette.responses import Response

from netboot.boot.limits import PANEL_CHECKS
from netboot.panel.login.accounts import Account, Accounts
from netboot.panel.login.lockout import (
    FREE,
    Attempt,
    Lockout,
    device,
    is_address,
    is_local,
    mark,
    network,
)
from netboot.panel.login.sessions import Sessions, csrf_token, is_csrf_token
from netboot.panel.ports import Ports
from netboot.panel.records import AuditEntry
from netboot.panel.web.answers import encode
from netboot.panel.web.description import COOKIE, TOKEN
from netboot.panel.web.problems import refuse
from netboot.panel.web.stream import Hub

SESSION, DEVICE = "netboot_session", "netboot_device"  # cookies
DEVICE_SECONDS = 180 * 86400
CSRF = "X-CSRF-Token"
FORWARDED = ("x-forwarded-for", "forwarded", "via", "x-real-ip", "x-forwarded-host")
PROXY = "a proxy"  # of whose client nothing is known
MOST_CHECKS, MOST_OF_ADDRESS = PANEL_CHECKS.in_total or 0, PANEL_CHECKS.per_address or 0

# For the description of the API alone: the routes refuse a request without them in our own words.
_cookie = APIKeyCookie(
    name=SESSION, scheme_name=COOKIE, auto_error=False, description="Given by POST /api/v1/login."
)
_header = APIKeyHeader(
    name=CSRF, scheme_name=TOKEN, auto_error=False, description="Given by GET /api/v1/me."
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request. ``session``: its token; empty without one."""

    name: str = ""
    role: Literal["anonymous", "viewer", "operator"] = "anonymous"
    address: str = ""
    session: str = field(default="", repr=False)

    @property
    def csrf(self) -> str:
        """The CSRF token that changes in this session must carry."""
        return csrf_token(self.session) if self.session else ""


@dataclass
class Panel:
    """The objects that the routes share. ``clock`` is monotonic, ``wall`` returns seconds since the epoch."""

    ports: Ports
    accounts: Accounts
    hub: Hub
    login_for_all: bool = False
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sessions: Sessions = field(default_factory=Sessions)
    lockout: Lockout = field(default_factory=Lockout)
    # One thread: a check takes 32 MiB, and all its time is one CPU's.
    checker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="password")
    )
    checks: Counter[str] = field(default_factory=Counter)
    _view: tuple[int, bytes] = (-1, b"")

    def view(self) -> bytes:
        """Return the room as JSON. It is made once for all browsers that load the same state."""
        number = self.ports.room.number
        if self._view[0] != number:
            self._view = (number, encode(self.ports.room.view()))
        return self._view[1]

    def visitor(self, request: Request) -> Visitor:
        """Return the sender of a request."""
        address = sender_of(request)
        token = request.cookies.get(SESSION, "")
        account = self.account_of(token) if token else None
        if account is None:
            return Visitor(address=address)
        return Visitor(account.name, account.role, address, token)

    def account_of(self, token: str, *, touch: bool = True) -> Account | None:
        """Return the account of a session; None if the session has ended, or its password has.

        ``touch``: the session is in use, so its idle time begins again.
        """
        holder = self.sessions.find(token, self.clock(), touch=touch)
        if holder is None:
            return None
        account = self.accounts.find(holder.name)
        if account is None or account.stamp != holder.stamp:
            self.sessions.close(token, self.clock())
            return None
        return account

    def may_look(self, visitor: Visitor) -> bool:
        """Return whether somebody may see the room."""
        return bool(visitor.name) or not self.login_for_all

    def note(
        self,
        visitor: Visitor,
        action: str,
        *,
        seats: tuple[str, ...] = (),
        detail: str = "",
        outcome: str = "",
    ) -> None:
        """Add an entry to the audit."""
        entry = AuditEntry(
            self.wall(), visitor.name, visitor.address, action, seats, detail, outcome
        )
        self.ports.history.note(entry)

    async def log_in(
        self, request: Request, response: Response, name: str, password: str
    ) -> Visitor:
        """Check a password and give the browser a session. Raises the error 401, 429 or 503."""
        address = sender_of(request)
        if self.checks.total() >= MOST_CHECKS or self.checks[network(address)] >= MOST_OF_ADDRESS:
            raise refuse(
                503, "login: too many passwords are being checked; try again in a second", wait=1.0
            )
        attempt = self._attempt(request, name, address)
        wait = self.lockout.begin(attempt, self.clock())
        if wait:
            raise refuse(429, f"login: too many wrong passwords; wait {int(wait) + 1} s", wait=wait)
        account = await self._check(address, name, password)
        if account is None:
            if self.lockout.failures(attempt, self.clock()) == FREE:
                self.note(Visitor(name, address=address), "login", outcome="wrong passwords")
            raise refuse(
                401,
                "login: wrong name or password; an administrator can set another one: "
                "netboot panel user passwd NAME",
            )
        self.lockout.succeed(attempt, self.clock())
        self.sessions.close(request.cookies.get(SESSION, ""), self.clock())
        token = self.sessions.open(account.name, account.stamp, self.clock())
        visitor = Visitor(account.name, account.role, address, token)
        secure = _is_secure(request)
        _set(response, SESSION, token, secure=secure)
        if not attempt.device:
            seal = mark(self.accounts.key, account.name, account.stamp)
            _set(response, DEVICE, seal, secure=secure, seconds=DEVICE_SECONDS)
        self.note(visitor, "login")
        return visitor

    def _attempt(self, request: Request, name: str, address: str) -> Attempt:
        account = self.accounts.find(name)
        if account is None:
            return Attempt(name, "", address)
        cookie = request.cookies.get(DEVICE, "")
        known = device(self.accounts.key, name, account.stamp, cookie) if cookie else ""
        return Attempt(name, account.stamp, address, known)

    async def _check(self, address: str, name: str, password: str) -> Account | None:
        key = network(address)
        self.checks[key] += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.checker, self.accounts.check, name, password)
        finally:
            self.checks[key] -= 1
            self.checks += Counter()  # drops zeros

    def log_out(self, request: Request, response: Response, visitor: Visitor) -> None:
        """End the session of a browser."""
        self.sessions.close(visitor.session, self.clock())
        response.delete_cookie(SESSION, path="/", httponly=True, samesite="strict")
        if visitor.name:
            self.note(visitor, "logout")


def _set(
    response: Response, name: str, value: str, *, secure: bool, seconds: int | None = None
) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", httponly=True, samesite="strict", secure=secure
    )


def sender_of(request: Request) -> str:
    """Return the address of a browser. That of a proxy with TLS on this machine is its client's.

    A request that came through a proxy is not one of this machine, whatever the proxy says: figures
    without a login, and logins without a delay, are for people who have an account here.
    """
    host = request.client.host if request.client else ""
    if not is_local(host) or not any(name in request.headers for name in FORWARDED):
        return host
    told = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
    return told if is_address(told) and not is_local(told) else PROXY


def _is_secure(request: Request) -> bool:
    # A proxy may end TLS; the browser says in Origin by which scheme it has the page.
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")


def panel_of(request: Request) -> Panel:
    """Return the panel of this application."""
    panel = request.app.state.panel
    assert isinstance(panel, Panel)
    return panel


ThePanel = Annotated[Panel, Depends(panel_of)]


async def anybody(
    request: Request, panel: ThePanel, cookie: Annotated[str | None, Depends(_cookie)] = None
) -> Visitor:
    """Return the sender of a request that anybody may send."""
    return panel.visitor(request)


Anybody = Annotated[Visitor, Depends(anybody)]


async def onlooker(panel: ThePanel, visitor: Anybody) -> Visitor:
    """Return the sender of a request to look. Raises the error 401 if looking needs an account."""
    if not panel.may_look(visitor):
        raise refuse(401, "not logged in: this panel is for accounts only; log in")
    return visitor


async def scraper(panel: ThePanel, visitor: Anybody) -> Visitor:
    """Return the sender of a request for metrics. Prometheus on this machine needs no account."""
    if not panel.may_look(visitor) and not is_local(visitor.address):
        raise refuse(401, "not logged in: metrics are for accounts and for this machine; log in")
    return visitor


async def operator(visitor: Anybody) -> Visitor:
    """Return the sender of a request that only operators may send. Raises the error 401 or 403."""
    if not visitor.name:
        raise refuse(401, "not logged in: only an operator may do this; log in")
    if visitor.role != "operator":
        raise refuse(
            403,
            f"account {visitor.name!r}: its role is {visitor.role}, expected operator; log in as one",
        )
    return visitor


async def changer(
    visitor: Annotated[Visitor, Depends(operator)],
    token: Annotated[str | None, Depends(_header)] = None,
) -> Visitor:
    """Return the operator who changes something, with the CSRF token of the session."""
    check_token(visitor, token)
    return visitor


def check_token(visitor: Visitor, token: str | None) -> None:
    """Raise an error for the browser if a change lacks the CSRF token of its session."""
    if not is_csrf_token(visitor.session, token or ""):
        raise refuse(
            403, f"header {CSRF}: missing or of another session; take it from GET /api/v1/me"
        )


Onlooker = Annotated[Visitor, Depends(onlooker)]
Scraper = Annotated[Visitor, Depends(scraper)]
Operator = Annotated[Visitor, Depends(operator)]
Changer = Annotated[Visitor, Depends(changer)]
