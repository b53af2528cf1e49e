"""The API's description, and the API held against it by schemathesis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.panel.conftest import Desk, make_desk
from tests.panel.serving import serving

# The contract of the page, of `netboot status` and of scripts.
ROUTES = {
    "GET /health",
    "GET /metrics",
    "GET /api/v1/me",
    "POST /api/v1/login",
    "POST /api/v1/logout",
    "GET /api/v1/room",
    "GET /api/v1/stream",
    "GET /api/v1/seats/{mac}",
    "GET /api/v1/seats/{mac}/samples",
    "GET /api/v1/seats/{mac}/boots",
    "GET /api/v1/boot",
    "GET /api/v1/servers/{name}/samples",
    "GET /api/v1/troubles",
    "POST /api/v1/troubles/{id}/acknowledge",
    "GET /api/v1/inventory",
    "POST /api/v1/orders",
    "GET /api/v1/plan",
    "PUT /api/v1/plan",
    "GET /api/v1/schedules",
    "POST /api/v1/schedules",
    "DELETE /api/v1/schedules/{id}",
    "GET /api/v1/audit",
}

# Rules that a schema cannot say: a message needs a text, since is before until, a seat has one place,
# and a letter that turns the writing is none.
CONFIG = """
seed = 1
[auth.openapi.session]
api_key = "{session}"
[auth.openapi.csrf]
api_key = "{csrf}"
[generation]
max-examples = {examples}
database = "none"
[phases.stateful]
enabled = false
[[operations]]
include-path-regex = "/(orders|plan|schedules|samples)$"
checks.positive_data_acceptance.enabled = false
"""


def test_the_description_has_each_route_and_is_openapi_3_1(desk: Desk) -> None:
    found = desk.browser().get("/openapi.json").json
    assert found["openapi"].startswith("3.1.")
    routes = {
        f"{method.upper()} {path}" for path, methods in found["paths"].items() for method in methods
    }
    assert routes == ROUTES
    text = str(found)
    assert "HTTPValidationError" not in text
    assert "http:" not in text.replace("http://127", "")
    assert found["paths"]["/api/v1/orders"]["post"]["security"] == [{"session": [], "csrf": []}]


def test_the_page_of_the_description_is_there(desk: Desk) -> None:
    answer = desk.browser().get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert b"/static/docs.js" in answer.body


def test_a_path_tells_all_its_methods(desk: Desk) -> None:
    for path, methods in (("/api/v1/plan", "GET, PUT"), ("/api/v1/orders", "POST")):
        answer = desk.browser().ask("DELETE", path, None)
        assert (answer.status, answer.headers["allow"]) == (405, methods)
        assert f"expected {methods}" in answer.detail


@pytest.mark.system
@pytest.mark.timeout(180)
def test_the_api_keeps_to_its_description(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "state", login_for_all=True)
    browser = desk.logged_in()
    values = {"session": browser.cookies["netboot_session"], "csrf": browser.csrf, "examples": 6}
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(**values))
    program = str(Path(sys.executable).with_name("schemathesis"))
    # A stream does not end, and without its session the rest would see nothing.
    left_out = ["--exclude-path", "/api/v1/stream", "--exclude-path", "/api/v1/logout"]
    with serving(browser.app) as (port, _):
        done = subprocess.run(
            [
                program,
                "--config-file",
                str(config),
                "run",
                "--no-color",
                *left_out,
                f"http://127.0.0.1:{port}/openapi.json",
            ],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    assert "Selected: 20/22" in done.stdout
