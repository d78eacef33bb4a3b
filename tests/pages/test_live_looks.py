"""The live page in a browser: it fits and can be read in every state, refreshes itself, and says when it is stale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pages.live import content_policy, render
from tests.pages import live_examples as examples
from tests.pages.looks import Show, Theme, assert_is_drawn, complaints, shown, unfold
from tests.servers.loopback import Handler, listening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Show:
    return shown(browser, tmp_path_factory.mktemp("live"), lambda name: render(examples.EXAMPLES[name]()))


@pytest.mark.parametrize(
    ("width", "theme"),
    [(1280, "light"), (1280, "dark"), (1000, "light"), (800, "light"), (390, "light"), (390, "dark")],
)
@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_nobody_would_complain(pages: Show, name: str, width: int, theme: Theme) -> None:
    page = pages(name, width, theme)
    for opened in (False, True):
        unfold(page, opened)
        assert complaints(page) == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["canary", "burning"])
def test_screenshot_has_the_ground_of_its_theme_and_something_on_it(
    browser: Browser, pages: Show, name: str, width: int, theme: Theme
) -> None:
    assert_is_drawn(browser, pages(name, width, theme), width, theme, full_page=True)


def test_arms_can_be_told_apart_without_colour(pages: Show) -> None:
    """The canary's line is at least twice as thick, and ends in another shape."""
    page = pages("canary")
    thick, thin = (
        page.evaluate(f"parseFloat(getComputedStyle(document.querySelector('.spark .curve.arm-{arm}')).strokeWidth)")
        for arm in ("candidate", "stable")
    )
    assert thick >= 2 * thin
    assert page.locator(".spark circle.arm-candidate").count() > 10
    assert page.locator(".spark rect.arm-stable").count() > 10


def test_on_paper_nothing_is_cut_off_and_everything_is_unfolded(pages: Show) -> None:
    page = pages("canary", width=718, theme="dark", media="print")
    unfold(page, False)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelector('#rules table').checkVisibility()")
    assert complaints(page) == {}


class Served:
    """A gateway's page that the test changes, on a port of the loopback."""

    def __init__(self) -> None:
        self.html = ""
        self.works = True
        self.asked: list[str] = []


@contextmanager
def served() -> Iterator[tuple[Served, str]]:
    state = Served()

    class Page(Handler):
        def respond(self) -> None:
            state.asked.append(self.path)
            headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": content_policy()}
            self.answer(200 if state.works else 500, state.html.encode(), headers)

    with listening(Page) as url:
        yield state, f"{url}/"


@contextmanager
def watching(browser: Browser, url: str, **options: bool) -> Iterator[tuple[Page, list[str]]]:
    """An open page whose clock the test moves, and what its console said."""
    said: list[str] = []
    context = browser.new_context(java_script_enabled=options.get("script", True))
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.clock.install()
    page.goto(url)
    try:
        yield page, said
    finally:
        context.close()


def test_an_open_page_refreshes_itself_and_keeps_what_was_unfolded(browser: Browser) -> None:
    with served() as (state, url):
        state.html = render(examples.canary())
        with watching(browser, url) as (page, said):
            page.click("#evidence-asr-commands > summary")
            state.html = render(examples.burning())
            page.clock.run_for(5_100)
            page.wait_for_selector(".badge:has-text('page somebody')")
            assert page.get_attribute("#evidence-asr-commands", "open") is not None
            assert page.title() == "page somebody: asr-commands"
            assert not page.is_visible("#stale")
            assert said == []
            assert set(state.asked) <= {"/", "/favicon.ico"}


def test_a_page_whose_gateway_is_gone_says_how_old_it_is(browser: Browser) -> None:
    with served() as (state, url):
        state.html = render(examples.calm())
        with watching(browser, url) as (page, _):
            state.works = False
            page.clock.run_for(15_100)
            page.wait_for_selector("#stale", state="visible")
            assert page.inner_text("#stale").startswith("The gateway does not answer: what stands here is ")
            assert complaints(page) == {}
            state.works = True
            page.clock.run_for(5_100)
            page.wait_for_selector("#stale", state="hidden")


def test_what_somebody_selects_to_copy_stays_selected(browser: Browser) -> None:
    with served() as (state, url):
        state.html = render(examples.calm())
        with watching(browser, url) as (page, _):
            page.click(".commands code >> nth=0")
            state.html = render(examples.down())
            page.clock.run_for(15_100)
            assert page.evaluate("getSelection().toString()") == "soundcheck status asr-commands"
            assert len([path for path in state.asked if path == "/"]) == 1


def test_without_script_the_page_stands_and_asks_to_be_loaded_again(browser: Browser) -> None:
    with served() as (state, url):
        state.html = render(examples.canary())
        with watching(browser, url, script=False) as (page, _):
            assert page.is_visible(".badge")
            assert page.locator('meta[http-equiv="refresh"]').count() == 1
