"""The live page: what it says of who serves what, who is hurt, what is to be done; in every state."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from pathlib import Path

import pytest

import pages
from contracts.live import LiveFamily, LiveReport
from contracts.routing import CanaryRoute, Cascade, Degradation
from pages.live import content_policy, render
from pages.serving_roles import parts, roles, table_of
from tests.pages import live_examples as examples
from tests.pages.live_examples import CANARY, OLD, SMALL, STABLE, burn, family, report, table, worker

SCRIPT = Path(pages.__file__).parent / "templates" / "live" / "refresh.js"


def text_of(html: str) -> str:
    """What a person reads, without styles and script."""
    body = re.sub(r"<(style|script|title)[^>]*>.*?</\1>", " ", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("calm", "nobody is hurt"), ("canary", "nobody is hurt"), ("burning", "page somebody"),
        ("down", "page somebody"), ("first", "nothing is served yet"), ("quiet", "no traffic"),
        ("empty", "nothing is served"),
    ],
)  # fmt: skip
def test_the_first_word_says_how_it_stands(state: str, expected: str) -> None:
    html = render(examples.EXAMPLES[state]())
    found = re.search(r'class="verdict k-\w+ badge">.*?</svg>([^<]+)</span>', html, flags=re.S)
    assert found is not None
    assert found[1] == expected


@pytest.mark.parametrize(
    ("state", "sentences"),
    [
        ("calm", ["stable v2 answers everybody.", "Last minute: 597 requests, 0 failed, p95 215 ms."]),
        ("canary", ["canary v3 answers 10% of all sessions", "slice v1 answers device=legacy-kiosk"]),
        ("burning", ["the availability budget burns 17.2 times too fast, over 5 min and over 1 h",
                     "the availability budget of device=phone burns 41.0 times too fast",
                     "privacy: 2 violations in 1 h",
                     "the store is away, routes stay as they are: the store did not answer",
                     "1,420 telemetry rows lost since the gateway was started", "table 13 waits for its workers",
                     "the shadow worker of v3 is failed", "overspent"]),
        ("down", ["nobody answers for stable v2: its worker is failed", "5 restarts, killed by signal 9"]),
        ("first", ["canary v3 answers 100% of the labelled probes",
                   "no bundle is stable: other requests are answered 503",
                   "No bundle of these families is named by a route table; their requests are answered 503."]),
        ("quiet", ["No request in the last minute.", "by the route table; no request in the last minute"]),
        ("empty", ["This gateway was started without a family."]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_state(state: str, sentences: list[str]) -> None:
    said = text_of(render(examples.EXAMPLES[state]()))
    for sentence in sentences:
        assert sentence in said


def test_a_canary_that_nobody_judges_pages() -> None:
    live = examples.canary()
    late = live.model_copy(update={"at_s": live.at_s + 200})
    assert "a canary has traffic and nobody has judged it for 3 min 22 s" in text_of(render(late))
    assert "nobody has judged it" not in text_of(render(live))


@pytest.mark.parametrize(
    ("release", "judged", "routed", "pages"),
    [
        ("mine", "shadow", "shadow", False),
        ("mine", "shadow", "cohort", True),  # users are exposed since
        ("mine", "cohort", "cohort", True),  # the next stage should have begun
        ("mine", "wide", "wide", True),  # it has users, whoever is asked
        ("another", "shadow", "shadow", True),
    ],
)
def test_only_a_shadow_that_waits_for_approval_pages_nobody(
    release: str, judged: str, routed: str, pages: bool
) -> None:
    live = examples.canary()
    (one,) = live.families
    routes = table_of(one)
    assert one.canary is not None
    assert routes is not None
    assert routes.canary is not None
    route = routes.canary.model_copy(update={"release": "mine", "stage": routed})
    settled = one.canary.model_copy(update={"decision": "promote", "release": release, "stage": judged})
    waits = one.model_copy(
        update={"canary": settled, "table": routes.model_copy(update={"canary": route}).model_dump(mode="json")}
    )
    late = live.model_copy(update={"at_s": live.at_s + 200, "families": (waits,)})
    assert ("nobody has judged it" in text_of(render(late))) == pages


def served(**fields: object) -> LiveFamily:
    return family(table=table(3, STABLE, **fields).model_dump(mode="json"), workers={})


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (served(), [("stable", "v2", "answers everybody")]),
        (
            served(canary=CanaryRoute(bundle=CANARY, stage="shadow", weight=0.25)),
            [("stable", "v2", "answers the rest"),
             ("shadow", "v3", "hears copies of 25% of the sessions, its answers reach nobody")],
        ),
        (
            served(canary=CanaryRoute(bundle=CANARY, stage="cohort", weight=1, cohort={"tenant": ("staff", "beta")})),
            [("stable", "v2", "answers the rest"),
             ("canary", "v3", "answers 100% of the cohort's sessions (tenant staff or beta)")],
        ),
        (
            served(cascade=Cascade(small=SMALL, below=0.75), warm=(OLD, SMALL)),
            [("stable", "v2", "answers the rest"),
             ("small", "v2-int8", "answers first over HTTP, where it is surer than 0.75"),
             ("warm", "v1", "is kept warm, nothing is routed to it")],
        ),
        (
            served(degradation=Degradation(mode="smaller", bundle=SMALL)),
            [("stable", "v2", "waits while a smaller bundle answers"),
             ("instead", "v2-int8", "answers instead of stable (degraded)")],
        ),
        (
            served(degradation=Degradation(mode="no_partials")),
            [("stable", "v2", "answers everybody, streams without partials (degraded)")],
        ),
    ],
)  # fmt: skip
def test_what_each_bundle_does(live: LiveFamily, expected: list[tuple[str, str, str]]) -> None:
    assert [(role.name, role.version, role.does) for role in roles(live, table_of(live))] == expected


def test_the_bar_is_what_was_measured_and_fills_its_width() -> None:
    live = examples.canary().families[0]
    shares, measured = parts(live, table_of(live))
    assert measured
    assert [part.version for part in shares] == ["v2", "v2-int8", "v1", "v3"]
    assert sum(part.width for part in shares) == pytest.approx(100, abs=0.01)
    assert [part.x for part in shares[1:]] == pytest.approx(
        [sum(p.width for p in shares[:n]) for n in (1, 2, 3)], abs=0.01
    )


def test_without_traffic_the_bar_is_what_the_table_says() -> None:
    routes = table(3, STABLE, canary=CanaryRoute(bundle=CANARY, stage="wide", weight=0.2))
    live = family(now=(), table=routes.model_dump(mode="json"))
    shares, measured = parts(live, table_of(live))
    assert not measured
    assert [(part.version, part.width) for part in shares] == [("v2", 80.0), ("v3", 20.0)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (worker(), False), (worker("starting"), False), (worker("starting", restarts=2), True),
        (worker("failed"), True), (worker("draining"), False), ({}, True),
    ],
)  # fmt: skip
def test_a_worker_that_begins_is_not_down_and_one_that_begins_again_is(
    found: dict[str, object], expected: bool
) -> None:
    live = family(workers={STABLE: found, OLD: worker()})
    assert roles(live, table_of(live))[0].down is expected


@pytest.mark.parametrize(
    ("state", "lines", "absent"),
    [
        ("canary", ["soundcheck abort asr-commands", "soundcheck rollback asr-commands --key KEY --reason TEXT",
                    "soundcheck cascade asr-commands --off --key KEY --reason TEXT"], "degrade asr-commands --off"),
        ("burning", ["soundcheck degrade asr-commands --off --key KEY --reason TEXT"], "cascade"),
        ("first", ["soundcheck release tts-voices --candidate DIR"], "soundcheck rollback"),
    ],
)  # fmt: skip
def test_actions_are_commands_and_never_buttons(state: str, lines: list[str], absent: str) -> None:
    html = render(examples.EXAMPLES[state]())
    shown = re.findall(r"<dd><code>([^<]+)</code>", html)
    assert set(lines) <= set(shown)
    assert not [line for line in shown if absent in line]
    assert not re.search(r"<(button|form|input)", html)


def test_the_worst_budget_stands_first() -> None:
    html = render(examples.burning())
    budgets = html.partition("Is anyone hurt now")[2]
    found = re.findall(r'<tr><th scope="row">(\w+)(?: <span class="note">([^<]+))?', budgets)
    assert found[:4] == [("availability", ""), ("privacy", ""), ("availability", "device=phone"), ("latency", "")]


def test_a_burn_beyond_the_bar_ends_at_the_bar() -> None:
    html = render(report(family(burns=(burn("availability", 1e6, action="page", left=-900),))))
    assert 'class="rate" width="100.0%"' in html
    assert "1000000.0 x" in html


def test_rules_are_those_of_the_report() -> None:
    said = text_of(render(examples.calm()))
    assert "a budget burns 14.4 times too fast over 5 min and over 1 h" in said
    assert all(rule.name in said for rule in examples.RULES)


def test_the_only_script_is_the_one_that_the_policy_names() -> None:
    html = render(examples.calm())
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert f"script-src 'sha256-{digest}'" in content_policy()
    assert script == SCRIPT.read_text()
    assert '<noscript><meta http-equiv="refresh"' in html


def test_texts_of_documents_are_escaped() -> None:
    evil = '<img src=x onerror=alert(1)>"\u202e'
    move = examples.moves()[0].model_copy(update={"actor": evil, "reason": evil})
    html = render(report(family(family=evil, history=(move,), store_error=evil, workers={STABLE: worker(error=evil)})))
    assert "<img" not in html
    assert "\u202e" not in html


def test_a_report_survives_its_json() -> None:
    live = examples.burning()
    assert render(LiveReport.parse(live.canonical())) == render(live)
