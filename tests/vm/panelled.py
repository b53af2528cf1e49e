"""Three PCs and a storm of others on the page of their room, in a browser beside the server.

A teacher looks while the PCs boot, logs in, and gives each of them an order. Another PC loses its
power. The report is JSON: what the teacher saw, and after how many seconds.
"""

import asyncio
import json
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright
from playwright.async_api import TimeoutError as Late

from netboot.boot.events import BootEvent
from netboot.lab import network
from netboot.lab.rig import SERVER_LOG, Classroom, Lesson, SeatReport
from tests.panel.page.visit import CHROMIUM

PATIENCE_SECONDS = 150.0
STORM_PCS = 20
STORM_ADDRESS = network.server_address(7)
URL = "http://127.0.0.1:8081/"
NAMES = {f"52:54:00:77:00:0{number}": f"seat-{number}" for number in (1, 2, 3)}
ANNA, BEN, CLEO = NAMES
PASSWORD = re.compile(r"log in as 'operator' with the password (\S+)")
PROFILE = f"""\
root: {{kind: ram}}
swap: {{size: 1x}}
room: {{plan: [[seat-1, seat-2], ["", seat-3]]}}
clients: {{{", ".join(f'"{mac}": {{hostname: {name}}}' for mac, name in NAMES.items())}}}
"""


class Teacher:
    """A browser on the page of the room, and what it has shown."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.began = time.monotonic()
        self.seen: dict[str, float] = {}

    async def sees(self, name: str, state: str) -> None:
        """Wait until a seat's tile has a state. Raises AssertionError."""
        tile = self.page.locator(f".tile.s-{state}", has_text=name)
        try:
            await tile.wait_for(timeout=PATIENCE_SECONDS * 1000)
        except Late:
            await self.looks("failure")
            raise AssertionError(f"{name} is not shown as {state}") from None
        self.seen[f"{name} {state}"] = round(time.monotonic() - self.began, 1)
        sys.stderr.write(f"{self.seen[f'{name} {state}']:7.1f} s  {name} {state}\n")

    async def looks(self, name: str) -> None:
        """Take a picture for who examines a failure."""
        with suppress(Exception):
            await self.page.screenshot(path=self.folder / f"{name}.png", full_page=True)

    async def logs_in(self, password: str) -> None:
        """Log in with the password of the first start."""
        await self.page.goto(f"{URL}#/login")
        await self.page.fill("input[name=name]", "operator")
        await self.page.fill("input[name=password]", password)
        await self.page.click("form button.primary")
        await self.page.wait_for_selector(".who")

    async def orders(self, mac: str, button: str, text: str = "") -> str:
        """Give an order on the seat's screen; return what the page says to it."""
        page = self.page
        await page.goto(f"{URL}#/seat/{mac}")
        await page.reload()  # no answer of an earlier order is left
        await page.locator(".actions").get_by_role("button", name=button, exact=True).click()
        dialog = page.get_by_role("dialog")
        if button not in ("Wake", "Identify"):
            if text:
                await dialog.locator("[name=text]").fill(text)
            await dialog.locator("button.primary").click()
        said = page.locator(".toast, dialog li, [role=alert]").first
        await said.wait_for(timeout=PATIENCE_SECONDS * 1000)
        told = await said.inner_text()
        await page.goto(f"{URL}#/room")
        return told


async def _storm(room: Classroom) -> asyncio.subprocess.Process:
    """Play more PCs, on a host of their own."""
    words = f"-m netboot storm --json --clients {STORM_PCS} --over 5 --limit 60"
    words += f" --interface storm --server {network.SERVER.ip}"
    command = [sys.executable, *words.split()]
    return await room.start_host("storm", STORM_ADDRESS, "true", command, log="storm")


async def lesson_on_a_page(room: Classroom, page: Page, folder: Path) -> dict[str, Any]:
    """Let the teacher look and act; return the report."""
    log = folder / f"{SERVER_LOG}.log"
    while not (found := PASSWORD.search(log.read_text())):
        await asyncio.sleep(0.1)
    while True:  # the panel listens soon after the server
        with suppress(Exception):
            await page.goto(URL)
            break
        await asyncio.sleep(0.2)
    teacher = Teacher(page, folder)
    report: dict[str, Any] = {"seen": teacher.seen}
    for name in NAMES.values():
        await teacher.sees(name, "unknown")
    await room.power_on()
    storm = await _storm(room)
    for state in ("booting", "running"):
        await asyncio.gather(*(teacher.sees(name, state) for name in NAMES.values()))
    await storm.wait()
    report["storm"] = json.loads((folder / "storm.log").read_text().partition("\n\n")[2])
    await teacher.looks("room")
    await teacher.logs_in(found[1])

    power = room.seats[CLEO].power
    assert power is not None
    power.process.kill()
    told: dict[str, str] = {}
    told["message"] = await teacher.orders(ANNA, "Message", "Ten minutes left")
    told["identify"] = await teacher.orders(ANNA, "Identify")
    told["refused"] = await teacher.orders(ANNA, "End lease")
    told["reboot"] = await teacher.orders(ANNA, "Reboot")
    await teacher.sees("seat-1", "booting")
    told["off"] = await teacher.orders(BEN, "Switch off")
    await teacher.sees("seat-2", "off")
    ended = time.monotonic() + PATIENCE_SECONDS
    while "in use" in (said := await teacher.orders(BEN, "End lease")):
        assert time.monotonic() < ended, said
        await asyncio.sleep(5)  # the kernel asks a silent PC for a minute
    told["end"] = said
    told["wake"] = await teacher.orders(BEN, "Wake")
    await teacher.sees("seat-3", "lost")
    await teacher.sees("seat-1", "running")
    report["told"] = told

    room.kill_server()
    await page.locator(".tile.gone").first.wait_for(timeout=PATIENCE_SECONDS * 1000)
    await room.start_server()
    await page.locator(".tile:not(.gone)").first.wait_for(timeout=PATIENCE_SECONDS * 1000)
    await teacher.sees("seat-1", "running")
    answer = await page.request.get(f"{URL}api/v1/seats/{ANNA}")
    report["seat"] = await answer.json()
    return report


async def evening(images: Path, folder: Path) -> dict[str, Any]:
    """Open the room, and a browser in its network."""
    profile = folder / "room.yaml"
    profile.write_text(PROFILE)
    devices = ("-action", "reboot=reset")  # not the end of QEMU, which the lab wants
    lesson = Lesson(
        profile,
        images,
        folder,
        settings=("http.panel=local",),
        clients=3,
        memory=128,
        dhcp="full",
        devices=devices,
    )

    def tell(seat: SeatReport, event: BootEvent) -> None:
        sys.stderr.write(f"pc{seat.machine.number} {event.stage} {event.message}\n")

    room = Classroom(lesson, tell)
    async with async_playwright() as playwright, room.open():
        assert not room.server_failure, room.server_failure
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = await browser.new_page(locale="en-GB")
            return await lesson_on_a_page(room, page, folder)
        finally:
            await browser.close()


def main() -> None:
    """Print the report."""
    images, folder = map(Path, sys.argv[1:3])

    def body() -> int:
        sys.stdout.write(json.dumps(asyncio.run(evening(images, folder))) + "\n")
        return 0

    network.run_isolated(body)


if __name__ == "__main__":
    main()
