"""The drift page: what it says, that nothing gets out of its text, and how it looks in a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pages.drift import WORDS, markdown, render
from tests.pages import drift_examples as examples
from tests.pages.looks import Theme, complaints, shown

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]).split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quiet", ("nothing moved", "No signal moved on any slice", "at most 1 false alarm a year", "91.4%",
                   "1 figure of single slices, every count equal")),
        (
            "firmware",
            ("page somebody", "The population changed", "headset", "22.40 dB \u2192 14.10 dB", "8.3% of traffic",
             "expect_column_values_to_be_between", "No pack has the labels device, tenant", "soundcheck incident open",
             "cannot be seen", "\u22124.3 points", "fixtures.yaml is ready; it belongs into the eval pack"),
        ),
        (
            "environment",
            ("The pipeline changed", "MOS (predicted)", "3.10 2.70", "\u22120.40 [\u22120.42, \u22120.38]", "differs",
             "not measured", "paragraph 21.00% 26.00% +5.00 [+3.00, +7.00] points", "unknown",
             "the release has no calibration, since its model gives no confidence"),
        ),
        (
            "own doing",
            ("rollback recommended", "The answers of the stable bundle changed",
             "not started by itself it would go to v1",
             "if nothing stood against it: T1: params.yaml says rollback: recommend"),
        ),
        (
            "started",
            ("started by the drift flow the deployment rollback takes the family back to v1", "the key drift-watch"),
        ),
        ("young", ("too early to say", "1 of 28 reference windows so far", "unknown no window is over since")),
    ],
)  # fmt: skip
def test_it_says(name: str, words: tuple[str, ...]) -> None:
    text = text_of(render(examples.EXAMPLES[name]()))
    assert [word for word in words if word not in text] == []


def test_two_distributions_stand_on_one_axis() -> None:
    page = render(examples.firmware())
    figure = page.partition('class="chart bars"')[2].partition("</figure>")[0]
    bins = len(examples.firmware().moved[0].distribution.now)  # type: ignore[union-attr]
    assert figure.count('class="reference"') == figure.count('class="now"') == bins
    assert page.count('class="chart bars"') == 1


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_nothing_outside_is_loaded(name: str) -> None:
    page = render(examples.EXAMPLES[name]())
    assert "default-src 'none'" in page
    assert not re.findall(r"<script|<link|src=|url\(", page)


def test_text_stays_text() -> None:
    page = render(examples.hostile())
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in markdown(examples.hostile())


@pytest.mark.parametrize("outcome", WORDS)
def test_every_outcome_has_a_word(outcome: str) -> None:
    base = examples.quiet() if outcome == "nothing" else examples.firmware()
    evaluation = base.model_copy(update={"outcome": outcome})
    word, kind = WORDS[outcome]
    assert f"k-{kind} badge" in render(evaluation)
    assert markdown(evaluation).startswith(f"**{word}**")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("own doing", "Rollback to v1, signed by drift-watch: not started by itself: T1: params.yaml says"),
        ("started", "Rollback to v1, signed by drift-watch: the drift flow starts it"),
        ("firmware", "- ready: change/pack.slice.yaml, for pack.yaml of the first eval pack"),
    ],
)
def test_markdown_says_what_was_decided(name: str, line: str) -> None:
    assert any(one.startswith(line) for one in markdown(examples.EXAMPLES[name]()).splitlines())


def test_markdown_has_a_row_a_finding() -> None:
    lines = markdown(examples.firmware()).splitlines()
    assert sum(line.startswith("| ") for line in lines) == 1 + len(examples.firmware().moved)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light")])
@pytest.mark.parametrize("name", ["firmware", "young", "environment", "own doing"])
def test_nobody_would_complain(browser: Browser, tmp_path: Path, name: str, width: int, theme: Theme) -> None:
    with shown(browser, tmp_path, lambda name: render(examples.EXAMPLES[name]()))(name, width, theme) as page:
        assert complaints(page) == {}
