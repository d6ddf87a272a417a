"""A real browser for tests: the Chromium that is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str:
    """Return the path of Chromium; skip the test where there is none."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        if os.environ.get("CIJ_TEST_CHROMIUM"):
            pytest.fail("There is no Chromium")
        pytest.skip("There is no Chromium: install Debian's chromium")
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, where it is installed. While it runs, ``asyncio.run`` can't be used."""
    path = executable()
    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container does not give.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
