"""Which budgets burn: counts of all gateways together, pages first; a gateway that cannot be asked is never fine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DependencyFailed
from contracts.live import BudgetCounts, CountedWindow, LiveFamily, LiveReport, Promise
from operations import burning as module
from operations.burning import LAST, Burning, burning, together
from operations.stack_parts import free_port
from serving.objectives import ALARMS, SPANS_S
from serving.presence import announce
from tests.servers.loopback import Handler, listening

FAMILY = "asr-commands"
PAGE, TICKET = ALARMS
NOW_S = 1_000_000.0
PROMISES = (
    Promise(objective="availability", share=0.999),
    Promise(objective="latency", share=0.95, latency_ms=900),
    Promise(objective="privacy", share=1.0),
)
Bad = dict[tuple[str, str], tuple[int, int]]
"""By objective and slice: requests, and bad ones, in every window."""


def report(bad: Bad, *, family: str = FAMILY, age_s: float = 0.0, at_s: float | None = None) -> LiveReport:
    """What a gateway said so many seconds ago."""
    counts = tuple(
        BudgetCounts(
            objective=objective,
            slice=name,
            windows=tuple(CountedWindow(span_s=span_s, asked=asked, bad=failed) for span_s in SPANS_S),
        )
        for (objective, name), (asked, failed) in bad.items()
    )
    found = LiveFamily(family=family, table=None, promises=PROMISES, counts=counts)
    return LiveReport(at_s=NOW_S - age_s if at_s is None else at_s, url="", families=(found,))


def paged(objective: str, rate: float, slices: int = 1, family: str = FAMILY) -> Burning:
    return Burning(family, objective, "page", rate, PAGE.rate, PAGE.short_s, PAGE.long_s, slices)


def ticketed(objective: str, rate: float, slices: int = 1) -> Burning:
    return Burning(FAMILY, objective, "ticket", rate, TICKET.rate, TICKET.short_s, TICKET.long_s, slices)


def rounded(found: list[Burning]) -> list[Burning]:
    return [one._replace(rate=round(one.rate, 9)) for one in found]


ALL, PHONE, OPUS = "overall", "device=phone", "codec=opus"
FOUND: dict[str, tuple[list[LiveReport], list[Burning]]] = {
    "no gateway says anything": ([], []),
    "nothing burns": ([report({("availability", ALL): (10_000, 3)})], []),
    "a ticket": ([report({("availability", ALL): (1_000, 8)})], [ticketed("availability", 8.0)]),
    "pages come first": (
        [report({("availability", ALL): (1_000, 8), ("latency", ALL): (1_000, 800)})],
        [paged("latency", 16.0), ticketed("availability", 8.0)],
    ),
    "a gateway that fails much of little traffic does not page for all": (
        [report({("availability", ALL): (100, 90)}), report({("availability", ALL): (99_900, 10)})],
        [],
    ),
    "two gateways that fail too few each to call somebody do together": (
        [report({("availability", ALL): (100, 2)}), report({("availability", ALL): (100, 2)})],
        [paged("availability", 20.0)],
    ),
    "one that fails all of it, beside one that has a third of the traffic": (
        [report({("availability", ALL): (300, 300)}), report({("availability", ALL): (100, 0)})],
        [paged("availability", 750.0)],
    ),
    "one private run on either": (
        [report({("privacy", ALL): (1_000, 0)}), report({("privacy", ALL): (10, 1)})],
        [Burning(FAMILY, "privacy", "page", 1, PAGE.rate, PAGE.long_s, PAGE.long_s, 1)],
    ),
    "a slice burns, and all of it does not": (
        [
            report({("availability", ALL): (50_000, 15), ("availability", PHONE): (100, 10)}),
            report({("availability", ALL): (50_000, 15), ("availability", PHONE): (300, 10)}),
        ],
        [paged("availability", 50.0)],
    ),
    "slices of all gateways are counted once": (
        [
            report({("latency", ALL): (100, 80), ("latency", PHONE): (100, 90)}),
            report({("latency", PHONE): (100, 90), ("latency", OPUS): (100, 75)}),
        ],
        [paged("latency", 18.0, slices=3)],
    ),
    "families apart": (
        [report({("latency", ALL): (100, 80)}), report({("latency", ALL): (100, 90)}, family="b")],
        [paged("latency", 16.0), paged("latency", 18.0, family="b")],
    ),
    "one that has been away for a minute counts": (
        [report({("availability", ALL): (100, 2)}, age_s=60), report({("availability", ALL): (100, 2)})],
        [paged("availability", 20.0)],
    ),
    "after five minutes its short window is over: the longer ones still make a ticket": (
        [report({("availability", ALL): (100, 20)}, age_s=301)],
        [ticketed("availability", 200.0)],
    ),
    "after half an hour nobody is called for it": ([report({("availability", ALL): (100, 20)}, age_s=1_801)], []),
}


@pytest.mark.parametrize("name", FOUND)
def test_budgets_that_burn(name: str) -> None:
    reports, expected = FOUND[name]
    assert rounded(together(reports, NOW_S)) == expected


COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda two: (max(two), min(two))), min_size=1)


@given(COUNTS)
def test_law_traffic_burns_as_fast_over_several_gateways_as_over_one(parts: list[tuple[int, int]]) -> None:
    several = [report({("availability", ALL): part}) for part in parts]
    one = report({("availability", ALL): (sum(asked for asked, _ in parts), sum(bad for _, bad in parts))})
    assert together(several, NOW_S) == together([one], NOW_S)


# ---- asking ---------------------------------------------------------------------------------------------------------
@contextmanager
def gateway(said: list[LiveReport | None]) -> Iterator[str]:
    """A gateway that gives these answers in turn, the last for ever; None: none."""

    class Live(Handler):
        def respond(self) -> None:
            now = said.pop(0) if len(said) > 1 else said[0]
            self.answer(500, b"") if now is None else self.answer(200, now.canonical())

    with listening(Live) as url:
        yield url


class Clock:
    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


ALARMING: Bad = {("availability", ALL): (100, 20)}


def test_a_gateway_that_falls_silent_counts_until_its_short_window_is_over_and_is_then_missing(
    tmp_path: Path, clock: Clock
) -> None:
    with gateway([report(ALARMING), None]) as url:
        announce(tmp_path, url, {})
        expected = [paged("availability", 200.0)]
        assert rounded(burning(tmp_path)) == expected
        clock.now_s += 299
        assert rounded(burning(tmp_path)) == expected
        clock.now_s += 2
        with pytest.raises(DependencyFailed, match="a gateway does not say how fast") as raised:
            burning(tmp_path)
        assert raised.value.got == "HTTPStatusError"


def test_what_a_gateway_that_is_gone_had_counted_is_added_until_it_is_older_than_its_windows(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway([report(ALARMING)]) as gone, gateway([report({("availability", ALL): (100, 0)})]) as stays:
        monkeypatch.setattr(module, "gateways", lambda _home: {11: {"url": gone}, 12: {"url": stays}})
        assert rounded(burning(tmp_path)) == [paged("availability", 100.0)]
        monkeypatch.setattr(module, "gateways", lambda _home: {12: {"url": stays}})
        assert rounded(burning(tmp_path)) == [paged("availability", 100.0)]
        assert sorted(path.name for path in (tmp_path / LAST).iterdir()) == ["11.json", "12.json"]
    with gateway([report({("availability", ALL): (100, 0)}, at_s=NOW_S + SPANS_S[-1] + 1)]) as stays:
        clock.now_s += SPANS_S[-1] + 1
        monkeypatch.setattr(module, "gateways", lambda _home: {12: {"url": stays}})
        assert burning(tmp_path) == []
        assert [path.name for path in (tmp_path / LAST).iterdir()] == ["12.json"]


def test_a_last_answer_that_is_spoiled_is_none(tmp_path: Path, clock: Clock) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    announce(tmp_path, address, {})
    (tmp_path / LAST).mkdir(parents=True)
    (tmp_path / LAST / f"{os.getpid()}.json").write_text("{")
    with pytest.raises(DependencyFailed, match="a gateway does not say how fast"):
        burning(tmp_path)


def test_without_a_gateway_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(DependencyFailed, match="no gateway lives: nobody knows") as raised:
        burning(tmp_path)
    assert "next step: soundcheck up" in raised.value.diagnostics()


def test_a_gateway_that_does_not_answer_is_not_fine(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    announce(tmp_path, address, {})
    with pytest.raises(DependencyFailed, match="a gateway does not say how fast") as raised:
        burning(tmp_path)
    assert (raised.value.where, raised.value.got) == (address, "ConnectError")
    assert (tmp_path / "run" / "gateways" / f"{os.getpid()}.json").is_file()
