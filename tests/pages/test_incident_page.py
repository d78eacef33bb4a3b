"""The incident packet as a page and as Markdown: the action first, facts apart, everything escaped, nothing loaded."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from contracts.incident import (
    Closure,
    Cost,
    Impact,
    Incident,
    Localised,
    Recommendation,
    Regression,
    RouteCost,
    Saturation,
    SliceImpact,
)
from pages import approval, release
from pages.incident import grids, headline, listing, markdown, render
from tests.pages.release_examples import promoted

STABLE = "ab" * 32
EVIL = "<script>alert(1)</script> | `x` \u202e"


def example(**changes: object) -> Incident:
    whole = SliceImpact(slice="overall", requests=600, sessions=120, harmed_requests=150, harmed_sessions=30)
    phone = whole.model_copy(update={"slice": "device=#3f9a0c11d2e4", "requests": 150})
    worse = Regression(
        bundle=STABLE, against="before", slice="device=#3f9a0c11d2e4", metric="churn", problem="over_budget",
        baseline=0.01, value=0.6, allowed=0.03, delta=0.59, lower=0.55, upper=0.62, severity=18, sessions=30,
        confirmed=True,
    )  # fmt: skip
    missing = Regression(
        bundle=None, against="before", slice="device=tv", metric="", problem="missing_baseline", sessions=12
    )
    base = Incident(
        incident="20261120-140231-3f9a0c11", family="asr-commands", opened_at="2026-11-20T14:02:31Z",
        updated_at="2026-11-20T14:02:31Z", next_update_at="2026-11-20T14:32:31Z", since_s=1.79e9, until_s=1.79e9 + 1800,
        baseline_since_s=1.79e9 - 7200, smallest_group=10, stable=STABLE, versions={STABLE: "v2"},
        impact=Impact(whole=whole, slices=(phone,), harms={"rewritten": 150}, errors={"overloaded": 3},
                      suppressed_groups=2),
        regressions=(missing, worse), localised=Localised(stage=None, because="no stage grew"),
        saturation=Saturation(watched=30, missing=1, growth_threshold=4, p95_threshold_ms=900),
        cost=Cost(routes=(RouteCost(route="mode=http", turns=10, successes=0, cost_usd=1.0, usd_per_success=None),)),
        recommendation=Recommendation(action="rollback", reason="A3: churn", command="soundcheck rollback F"),
        facts=("captions were rewritten",), hypotheses=("the new bundle is the cause",),
    )  # fmt: skip
    return base.model_copy(update=changes)


class Shown(HTMLParser):
    """Tags that load something, and whether tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [tag for name, _ in attrs if name in ("src", "href")] + ([tag] if tag == "script" else [])
        if tag not in ("meta", "br", "circle", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("circle", "path"):
            assert self.open.pop() == tag


def test_the_page_says_the_action_before_anything_else_and_loads_nothing() -> None:
    page = render(example())
    shown = Shown()
    shown.feed(page)
    assert (shown.open, shown.loads) == ([], [])
    order = ["What to do first", "Confirmed facts", "Hypotheses", "Who is hurt", "What got worse"]
    places = [page.index(f"<h2>{title}</h2>") for title in order]
    assert places == sorted(places)
    assert page.index("captions were rewritten") < page.index("Hypotheses</h2>") < page.index("the new bundle is the")


def test_markdown_and_page_have_the_same_rows() -> None:
    incident = example()
    page, text = re.sub(r"<[^>]+>", " ", render(incident)), markdown(incident)
    for grid in grids(incident):
        assert (grid.title in page) == (f"## {grid.title}" in text) == bool(grid.rows)
    for said in (
        "device=#3f9a0c11d2e4",
        "missing baseline",
        "confirmed",
        "no success",
        "25.0%",
        "2 groups of fewer than",
    ):
        assert said in page
        assert said.replace("#", "\\#") in text
    assert "2026-11-20 14:32:31 UTC" in text
    assert headline(incident) == (
        "In 30 min 00 s, 150 of 600 requests (25.0%) and 30 of 120 sessions were harmed."
    )  # fmt: skip


@pytest.mark.parametrize("field", ["facts", "hypotheses"])
def test_text_is_inert(field: str) -> None:
    closed = Closure(at="2026-11-20T15:00:00Z", added="gate", note=EVIL, file="change/x", change="cd" * 32)
    incident = example(**{field: (EVIL,), "closed": closed, "state": "closed", "next_update_at": None})
    page, text = render(incident), markdown(incident)
    assert "<script>" not in page
    assert "<script>" not in text
    assert "\u202e" not in page + text
    assert "none: closed" in page


def test_a_release_says_what_incidents_left_behind_and_that_is_inert() -> None:
    added = Closure(at="2026-11-20T15:00:00Z", added="gate", note=EVIL, file="change/x", change="cd" * 32)
    view = dataclasses.replace(promoted(), incidents=(example(closed=added, state="closed"),))
    page, form = release.render(view), approval.markdown(view)
    for said in (page, form):
        assert "20261120-140231-3f9a0c11: gate, " in said
        assert "<script>alert" not in said
    assert "### What incidents left behind" in form
    assert "What incidents left behind" not in approval.markdown(promoted())


def test_a_family_without_traffic_has_a_packet() -> None:
    nobody = SliceImpact(slice="overall", requests=0, sessions=0, harmed_requests=0, harmed_sessions=0)
    incident = example(impact=Impact(whole=nobody), regressions=(), facts=(), hypotheses=(), cost=Cost(), stable=None)
    assert "none yet" in render(incident)
    assert "In 30 min 00 s, 0 of 0 requests and 0 of 0 sessions were harmed." in markdown(incident)


def test_an_update_that_is_overdue_is_said() -> None:
    (due,) = listing([example()], "2026-11-20T14:10:00Z", {})
    (late,) = listing([example()], "2026-11-20T14:40:00Z", {})
    assert due.endswith("open  rollback  next update 2026-11-20 14:32:31 UTC")
    assert "update overdue since 2026-11-20 14:32:31 UTC" in late
