"""The capacity page: what it says, that nothing gets out of its text, and how it looks in a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pages.capacity import render
from tests.pages import capacity_examples as examples
from tests.pages.looks import Theme, complaints, shown

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]).split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fits", ("fits", "first sound of the reply comes within 532 ms", "sessions a core, computed 14",
                  "as this payload works", "left at p95", "0.36 s of 7.2 s", "One session keeps a core 5.0% busy",
                  "computed, not measured", "14, the most within the budget", "network, one way 40 ms",
                  "pause before the next turn 2 s")),
        ("late", ("does not fit", "sessions a core, computed 0", "over the budget at p95",
                  "no wait for the end of a turn is short enough")),
    ],
)  # fmt: skip
def test_it_says(name: str, words: tuple[str, ...]) -> None:
    text = text_of(render(examples.EXAMPLES[name]()))
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_measured_and_assumed_look_otherwise_on_one_axis(name: str) -> None:
    plan = examples.EXAMPLES[name]()
    page = render(plan)
    stages = [stage for one in plan.schedules for stage in one.stages]
    assert page.count('class="track assumed"') == sum(not stage.measured for stage in stages)
    assert page.count('class="track measured"') == sum(stage.measured for stage in stages) + len(plan.schedules)
    budgets = set(re.findall(r'<b style="left: ([\d.]+)%"', page))
    assert len(budgets) == 1  # the budget stands at one place in both
    places = [float(place) for place in re.findall(r"left: ([\d.]+)%", page)]
    assert all(0 <= place <= 100 for place in places)


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_nothing_outside_is_loaded(name: str) -> None:
    page = render(examples.EXAMPLES[name]())
    assert "default-src 'none'" in page
    assert not re.findall(r"<script|<link|src=|url\(", page)


def test_text_stays_text() -> None:
    page = render(examples.hostile())
    assert "<script" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light")])
@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_nobody_would_complain(browser: Browser, tmp_path: Path, name: str, width: int, theme: Theme) -> None:
    with shown(browser, tmp_path, lambda name: render(examples.EXAMPLES[name]()))(name, width, theme) as page:
        assert complaints(page) == {}
