"""A browser without a socket: it sends requests to the application, and keeps cookies."""

import asyncio
import gzip
import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote, urlsplit

from argon2 import PasswordHasher
from fastapi import FastAPI

FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HOST = "192.0.2.1:8081"


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer: its status, headers by their small names, and body."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: dict[str, str]

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """The text of an error: one line."""
        text = self.json["detail"]
        assert isinstance(text, str)
        assert "\n" not in text
        return text


@dataclass
class Browser:
    """A browser at ``address``. ``csrf``: the token that it sends with each change, if not empty."""

    app: FastAPI
    address: str = "192.0.2.50"
    host: str = HOST
    scheme: str = "http"
    csrf: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", path, {} if body is None else body, **headers)

    def log_in(self, name: str, password: str) -> Answer:
        """Log in, and take the token for changes."""
        answer = self.post("/api/v1/login", {"name": name, "password": password})
        if answer.status == 200:
            self.csrf = answer.json["csrf"]
        return answer

    def ask(self, method: str, path: str, body: Any, **headers: str) -> Answer:
        """Send a request. Bytes go as they are, other bodies as JSON; ``_`` in a header is ``-``."""
        sent = {"host": self.host}
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        if body is not None:
            sent["content-type"] = "application/json"
        if self.csrf and method not in ("GET", "HEAD"):
            sent["x-csrf-token"] = self.csrf
        if self.cookies:
            sent["cookie"] = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
        sent |= {key.replace("_", "-").lower(): value for key, value in headers.items()}
        answer = asyncio.run(self._exchange(method, path, data, sent))
        for key, value in answer.cookies.items():
            self.cookies[key] = value
            if not value:
                del self.cookies[key]
        return answer

    async def _exchange(self, method: str, path: str, data: bytes, sent: dict[str, str]) -> Answer:
        parts = urlsplit(path)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": self.scheme,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(key.encode(), value.encode("latin-1")) for key, value in sent.items()],
            "client": (self.address, 1234),
            "server": ("192.0.2.1", 8081),
        }
        inbox = [{"type": "http.request", "body": data}]
        outbox: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return inbox.pop() if inbox else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            outbox.append(message)

        await self.app(scope, receive, send)
        return _answer(outbox)


def _answer(outbox: list[dict[str, Any]]) -> Answer:
    fields = [(key.decode().lower(), value.decode()) for key, value in outbox[0]["headers"]]
    headers = dict(fields)
    cookies: SimpleCookie = SimpleCookie()
    for key, value in fields:
        if key == "set-cookie":
            cookies.load(value)
    body = b"".join(message.get("body", b"") for message in outbox[1:])
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    values = {name: morsel.value for name, morsel in cookies.items()}
    return Answer(outbox[0]["status"], headers, body, values)
