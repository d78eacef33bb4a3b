"""The release report in a browser: it fits, its texts can be read, its marks stand in their plots, in both themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pages.release import render
from tests.pages import release_examples as examples
from tests.pages.looks import Show, Theme, assert_is_drawn, complaints, shown, unfold

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VIEWS = {
    "promoted": examples.promoted,
    "rich": examples.rich,
    "stopped": examples.stopped,
    "nothing": examples.nothing,
    "first": examples.first,
}


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Show:
    return shown(browser, tmp_path_factory.mktemp("report"), lambda name: render(VIEWS[name]()))


@pytest.mark.parametrize(
    ("width", "theme"),
    [(1280, "light"), (1280, "dark"), (1000, "light"), (720, "light"), (390, "light"), (390, "dark")],
)
@pytest.mark.parametrize("name", VIEWS)
def test_nobody_would_complain(pages: Show, name: str, width: int, theme: Theme) -> None:
    page = pages(name, width, theme)
    unfold(page, False)
    assert complaints(page) == {}
    unfold(page, True)
    assert complaints(page) == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_screenshot_has_the_ground_of_its_theme_and_something_on_it(
    browser: Browser, pages: Show, width: int, theme: Theme
) -> None:
    assert_is_drawn(browser, pages("rich", width, theme), width, theme)


def test_complaints_are_heard(browser: Browser, pages: Show) -> None:
    """The measuring script finds what was spoiled on purpose."""
    with browser.new_page() as page:
        page.goto(pages("promoted").url)
        page.add_style_tag(
            content=".lede { color: #bbb !important; } .forest circle { transform: translateY(90px); }"
            " h3 { margin-top: -30px !important; } .plain th { max-width: 40px; } .plain { width: 60px; }"
            " .forest tr:nth-child(2) .plot { padding-left: 60px !important; }"
            " .interval { stroke: #ddd !important; } main { width: 1400px !important; max-width: none !important; }"
        )
        found = complaints(page)
    assert {"faint", "dim", "overlaps", "broken", "askew", "outside", "wide"} <= set(found)


def test_print_shows_folded_parts_and_no_navigation(pages: Show) -> None:
    """On the width of A4 paper."""
    page = pages("rich", width=718, theme="dark", media="print")
    unfold(page, False)
    assert not page.is_visible("nav")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelector('#bundle details table').checkVisibility()")
    assert complaints(page) == {}


def test_a_slice_opens_with_the_keyboard(pages: Show) -> None:
    page = pages("rich")
    unfold(page, False)
    first = page.locator("#errors details.slice").first
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert first.get_attribute("open") is not None
    assert first.locator(".classes tbody tr").count() == 5


def test_page_asks_for_nothing_and_complains_of_nothing(browser: Browser, pages: Show) -> None:
    asked: list[str] = []
    said: list[str] = []
    with browser.new_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(pages("rich").url)
        assert asked == [page.url]
        assert said == []


def test_a_digest_copies_whole(pages: Show) -> None:
    page = pages("promoted")
    page.click("header .digest")
    assert page.evaluate("getSelection().toString()") == examples.promoted().bundle
    assert page.evaluate("document.querySelector('header .digest').getBoundingClientRect().width") < 140
