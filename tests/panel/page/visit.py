"""Debian's Chromium for tests of the panel's page."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 60_000  # playwright's own 5 s and 30 s are too few on a busy machine
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page of the browser, and all that it complained about."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self._said(said.type, said.text))
        self.page.on("dialog", self._asked)
        self.page.goto(url)
        self.page.wait_for_selector("h1")

    def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, kind: str, text: str) -> None:
        # The browser itself tells of each answer that is an error; tests cause some.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)

    def go(self, place: str) -> Page:
        """Show a screen: room, seat/MAC, boot ..."""
        self.page.goto(f"{self.url}#/{place}")
        self.page.wait_for_selector("h1")
        return self.page

    def log_in(self, name: str = "operator", password: str = "secret") -> Page:
        """Log in by the form."""
        page = self.go("login")
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", password)
        page.click("form button.primary")
        return page
