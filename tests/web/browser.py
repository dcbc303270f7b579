"""Pages in the installed Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

__all__ = ["WINDOW_SIZES", "BrowserPage", "chromium"]

WINDOW_SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}
"""Widths and heights in pixels."""

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--no-sandbox",  # the sandbox does not work as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_RECORD_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium; skip the test if it is not installed."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("Chromium is not installed; run scripts/ensure-chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


class BrowserPage:
    """A page in its own window, as a context manager that fails on console errors and policy violations on exit."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int], script: str = "", **options: Any) -> None:  # noqa: ANN401  # passed to playwright
        self.errors: list[str] = []
        self._url = url
        width, height = size
        self._context: BrowserContext = browser.new_context(viewport={"width": width, "height": height}, **options)
        self._context.set_default_timeout(10_000)
        self.page: Page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None,
        )
        self.page.add_init_script(_RECORD_VIOLATIONS + script)

    def __enter__(self) -> Self:
        self.page.goto(self._url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                assert not self.errors
                assert not self.page.evaluate("window.violations || []")
        finally:
            self._context.close()
