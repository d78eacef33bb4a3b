"""The release report in a browser: it fits, its texts can be read, its marks stand in their plots, in both themes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from pages.release import render
from tests.pages import release_examples as examples

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Theme = Literal["light", "dark"]
Media = Literal["screen", "print"]
Show = Callable[..., "Page"]
COMPLAINTS = Path(__file__).with_name("looks.js").read_text()
VIEWS = {
    "promoted": examples.promoted,
    "rich": examples.rich,
    "stopped": examples.stopped,
    "nothing": examples.nothing,
    "first": examples.first,
}
BRIGHTNESS = """async (png) => {
    const picture = new Image();
    picture.src = "data:image/png;base64," + png;
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, picture.width, picture.height).data;
    const paper = pixels.slice(0, 3);
    let ink = 0;
    for (let at = 0; at < pixels.length; at += 4) {
        const away = [0, 1, 2].map((part) => Math.abs(pixels[at + part] - paper[part]));
        ink += Math.max(...away) > 60;
    }
    return {width: picture.width, paper: Math.max(...paper), ink: ink / (pixels.length / 4)};
}"""


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Show:
    """A way to look at a report: each is drawn once and then shown at any width, in any theme, on paper."""
    opened: dict[str, Page] = {}

    def show(name: str, width: int = 1280, theme: Theme = "light", media: Media = "screen") -> Page:
        if name not in opened:
            path = tmp_path_factory.mktemp("report") / f"{name}.html"
            path.write_text(render(VIEWS[name]()))
            opened[name] = browser.new_page()
            opened[name].goto(path.as_uri())
        page = opened[name]
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme, media=media)
        return page

    return show


def complaints(page: Page) -> dict[str, list[str] | int]:
    """What looks.js finds, without what is fine."""
    found: dict[str, list[str] | int] = page.evaluate(COMPLAINTS)
    assert found.pop("texts")
    return {name: what for name, what in found.items() if what}


@pytest.mark.parametrize(
    ("width", "theme"),
    [(1280, "light"), (1280, "dark"), (1000, "light"), (720, "light"), (390, "light"), (390, "dark")],
)
@pytest.mark.parametrize("name", VIEWS)
def test_nobody_would_complain(pages: Show, name: str, width: int, theme: Theme) -> None:
    page = pages(name, width, theme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    assert complaints(page) == {}
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert complaints(page) == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_screenshot_has_the_ground_of_its_theme_and_something_on_it(
    browser: Browser, pages: Show, width: int, theme: Theme
) -> None:
    picture = base64.b64encode(pages("rich", width, theme).screenshot()).decode()
    with browser.new_page() as blank:
        seen = blank.evaluate(BRIGHTNESS, picture)
    assert seen["width"] == width
    assert seen["paper"] > 240 if theme == "light" else seen["paper"] < 40
    assert 0.01 < seen["ink"] < 0.25


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
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    assert not page.is_visible("nav")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelector('#bundle details table').checkVisibility()")
    assert complaints(page) == {}


def test_a_slice_opens_with_the_keyboard(pages: Show) -> None:
    page = pages("rich")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
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
