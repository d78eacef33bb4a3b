"""Looking at pages in a browser: drawn once, shown at any width, in any theme, on paper, and measured there."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Theme = Literal["light", "dark"]
Media = Literal["screen", "print"]
Show = Callable[..., "Page"]
COMPLAINTS = Path(__file__).with_name("looks.js").read_text()
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


def shown(browser: Browser, folder: Path, draw: Callable[[str], str]) -> Show:
    """A way to look at the pages that `draw` makes HTML of, by name."""
    opened: dict[str, Page] = {}

    def show(name: str, width: int = 1280, theme: Theme = "light", media: Media = "screen") -> Page:
        if name not in opened:
            path = folder / f"{name}.html"
            path.write_text(draw(name))
            opened[name] = browser.new_page()
            opened[name].goto(path.as_uri())
        page = opened[name]
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme, media=media)
        return page

    return show


def unfold(page: Page, opened: bool) -> None:
    """Open or close every part of a page that folds."""
    page.evaluate("(opened) => document.querySelectorAll('details').forEach(one => one.open = opened)", opened)


def complaints(page: Page) -> dict[str, list[str] | int]:
    """What looks.js finds, without what is fine."""
    found: dict[str, list[str] | int] = page.evaluate(COMPLAINTS)
    assert found.pop("texts")
    return {name: what for name, what in found.items() if what}


def assert_is_drawn(browser: Browser, page: Page, width: int, theme: Theme, *, full_page: bool = False) -> None:
    """A screenshot has the ground of its theme and something on it."""
    picture = base64.b64encode(page.screenshot(full_page=full_page)).decode()
    with browser.new_page() as blank:
        seen: dict[str, Any] = blank.evaluate(BRIGHTNESS, picture)
    assert seen["width"] == width
    assert seen["paper"] > 240 if theme == "light" else seen["paper"] < 40
    assert 0.01 < seen["ink"] < 0.25
