"""Views of releases, and Debian's Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pages.view import ReleaseView
from tests.pages import release_examples

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def release() -> ReleaseView:
    return release_examples.promoted()


@pytest.fixture
def stop() -> ReleaseView:
    return release_examples.stopped()


@pytest.fixture
def empty() -> ReleaseView:
    return release_examples.nothing()


@pytest.fixture
def first_release() -> ReleaseView:
    return release_examples.first()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless. Its absence is a failure that says what to install."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the browser tests need Chromium: run `make browser` (or `apt-get install chromium`)")
    with sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = driver.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()
