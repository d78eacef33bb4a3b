"""The release report as text: well-formed, self-contained, complete, escaped."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.verdict import Value, Verdict
from pages.facts import flat, is_digest
from pages.prose import card, prose
from pages.release import render, tiles
from pages.view import Outcome, ReleaseView
from tests.pages import release_examples as examples
from tests.pages.release_documents import name_of

VOID = {"meta", "br", "col", "link", "img", "input", "hr"}
VIEWS = {
    "promoted": examples.promoted,
    "rich": examples.rich,
    "stopped": examples.stopped,
    "nothing": examples.nothing,
    "first": examples.first,
}
PLANTED = "<script>alert(1)</script>"


class Tree(HTMLParser):
    """Checks that tags nest and collects ids, references and visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[tuple[str, str, str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"):
                self.references.append((tag, name, value or ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes another tag"


def read(page: str) -> Tree:
    tree = Tree()
    tree.feed(page)
    tree.close()
    return tree


@pytest.mark.parametrize("name", VIEWS)
def test_page_is_well_formed_and_self_contained(name: str) -> None:
    page = render(VIEWS[name]())
    tree = read(page)
    assert tree.open == []
    assert len(tree.ids) == len(set(tree.ids))
    local = [value for tag, _, value in tree.references if value.startswith("#")]
    assert {value[1:] for value in local} <= set(tree.ids)
    elsewhere = [one for one in tree.references if not one[2].startswith("#")]
    assert all(tag == "a" for tag, _, _ in elsewhere)  # a link of the model card loads nothing
    assert not tree.tags & {"script", "img", "link", "iframe", "object", "form", "base"}
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_every_digest_stands_whole(release: ReleaseView) -> None:
    page = render(release)
    assert release.evidence
    assert release.manifest
    named = {release.bundle, release.release, release.evidence.digest(), release.policy.digest(), release.stable_bundle}
    named |= {digest for event in release.events for digest in (*event.inputs.values(), *event.outputs.values())}
    named |= {entry.sha256 for entry in release.manifest.files.values()}
    for digest in named:
        assert digest
        assert f'title="{digest}"' in page or f"{digest}</title>" in page


@pytest.mark.parametrize(
    ("field", "section"),
    [
        ("score", "slices"),
        ("score", "errors"),
        ("score", "calibration"),
        ("timing", "streaming"),
        ("safety", "safety"),
        ("replay", "staging"),
        ("canary", "canary"),
        ("approvals", "approvals"),
        ("events", "lineage"),
        ("entry", "contract"),
        ("rollback_packet", "rollback"),
        ("manifest", "bundle"),
        ("model_card", "card"),
    ],
)
def test_section_without_its_document_says_so(release: ReleaseView, field: str, section: str) -> None:
    empty: dict[str, Any] = {"approvals": (), "events": (), "model_card": ""}
    without: dict[str, Any] = {field: empty.get(field)}
    page = render(dataclasses.replace(release, **without))
    assert "not reached" in page.split(f'<section id="{section}">')[1].split("</section>")[0]
    assert "not reached" not in render(release).split(f'<section id="{section}">')[1].split("</section>")[0]


def test_a_release_that_fell_over_at_once_says_why_and_what_next(empty: ReleaseView) -> None:
    page = render(empty)
    assert "weights.pkl is a pickle" in page
    assert "export safetensors" in page
    assert page.count('<p class="soft">not reached</p>') == 15


DOCUMENTS = (
    "train",
    "entry",
    "score",
    "timing",
    "safety",
    "gate",
    "manifest",
    "replay",
    "canary",
    "evidence",
    "timeline",
)


@settings(max_examples=20, deadline=None)
@given(missing=st.sets(st.sampled_from(DOCUMENTS)), outcome=st.sampled_from(get_args(Outcome)))
def test_whatever_is_missing_the_page_is_drawn(missing: set[str], outcome: Outcome) -> None:
    without: dict[str, Any] = dict.fromkeys(missing)
    page = render(dataclasses.replace(examples.rich(), outcome=outcome, **without))
    tree = read(page)
    assert tree.open == []
    assert {"act", "slices", "speed", "errors", "streaming", "canary", "bundle"} <= set(tree.ids)


def test_speed_is_not_reached_without_timing_and_replay(release: ReleaseView) -> None:
    page = render(dataclasses.replace(release, timing=None, replay=None))
    assert "not reached" in page.split('<section id="speed">')[1].split("</section>")[0]


def test_stop_names_slice_amount_and_support(stop: ReleaseView) -> None:
    head = render(stop).split("</header>")[0]
    assert "scottish \u00d7 20 dB of commands: FAIL" in head
    assert "+14.8 [+11.3, +18.3] points, margin 3.0" in head
    assert "accent=scottish&amp;noise=20db: 44 speakers" in head


def test_a_tile_stays_short() -> None:
    quality = tiles(examples.rich())[0]
    assert quality.lead.startswith("worst slice scottish, intent recall on commands")
    assert len(quality.rest) == 5
    assert quality.rest[-1] == "and 2 more, below"
    assert all("more, below" not in text for tile in tiles(examples.promoted()) for text in tile.rest)


def test_waivers_reviews_and_exchange_stand_on_the_page() -> None:
    page = render(examples.rich())
    approvals = page.split('<section id="approvals">')[1].split("</section>")[0]
    assert "intent recall on scottish of commands" in approvals
    assert "eighteen more speakers are being recorded" in approvals
    assert "NOT REVIEWED" in approvals
    reviewed = dataclasses.replace(examples.rich(), approvals=examples.promoted().approvals)
    assert "NOT REVIEWED" not in render(reviewed)
    assert "commands/accent=us pays WER 0.3 points worse" in page.split('<section id="exchange">')[1]
    assert "serving.first_stable_p95_ms: not set \u2192 1200 (stricter)" in page.split('<section id="policy">')[1]


def test_words_are_shown_only_where_a_document_has_them(release: ReleaseView) -> None:
    page = render(release)
    assert "Most frequent confusions" not in page
    assert "No pack whose consent lets a transcript be shown was streamed." in page
    assert "This engine gives no confidence." in page


def planted_view() -> ReleaseView:
    """The script tag in every free text of the documents."""
    view = examples.promoted()
    assert view.entry
    assert view.gate
    assert view.train
    assert view.canary
    assert view.replay
    assert view.rollback_packet
    verdict = Verdict(value=Value.INCONCLUSIVE, reasons=(PLANTED,))
    check = view.replay.checks[0].model_copy(update={"name": PLANTED, "clause": PLANTED, "verdict": verdict})
    stage = view.canary.stages[0].model_copy(update={"reasons": (PLANTED,)})
    return dataclasses.replace(
        view,
        version=PLANTED,
        entry=view.entry.model_copy(update={"owner": PLANTED, "languages": (PLANTED,)}),
        train=view.train.model_copy(update={"leakage": PLANTED, "base_model": PLANTED}),
        gate=view.gate.model_copy(update={"quality": verdict, "manual_review": (PLANTED,)}),
        canary=view.canary.model_copy(update={"stages": (stage,)}),
        replay=view.replay.model_copy(update={"checks": (check,)}),
        approvals=tuple(one.model_copy(update={"note": PLANTED, "approver": PLANTED}) for one in view.approvals),
        policy_changes=(PLANTED,),
        stable_version=PLANTED,
        links={PLANTED: PLANTED},
        model_card=f"{PLANTED}\n\n![x](https://example.org/x.png) [y](javascript:alert(1))",
        rollback_packet=view.rollback_packet.model_copy(update={"criteria": (PLANTED,), "cache": PLANTED}),
    )


def test_planted_script_is_inert() -> None:
    page = render(planted_view())
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 15
    assert 'href="javascript' not in page
    assert "<img" not in page
    assert read(page).open == []


def test_digests_in_sentences_are_drawn_short_and_copy_whole() -> None:
    digest = name_of("bundle v1")
    write = prose(frozenset({digest}))
    assert write(f"to {digest[:12]}") == write(f"to {digest}")
    assert f'data-digest="{digest}"' in write(f"to {digest[:12]}")
    assert write("no digest: 0123456789ab") == "no digest: 0123456789ab"


def test_card_keeps_links_leaves_images_out_and_lowers_headings() -> None:
    html = card("# Title\n\n[corpus](https://example.org/corpus) ![pixel](https://example.org/p.png)")
    assert "<h3>Title</h3>" in html
    assert 'href="https://example.org/corpus"' in html
    assert "[image left out: pixel]" in html
    assert "p.png" not in html


def test_json_objects_become_labelled_values() -> None:
    facts = flat({"a_b": {"c": True, "d": None}, "e": ["x", 1], "f": "0" * 64, "g": 1.5})
    assert [(fact.label, fact.text, fact.digest) for fact in facts] == [
        ("a b, c", "yes", False),
        ("a b, d", "none", False),
        ("e", "x, 1", False),
        ("f", "0" * 64, True),
        ("g", "1.5", False),
    ]
    assert not is_digest("v1")
