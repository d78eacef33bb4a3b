"""The rollback packet: everything that a person on call needs, nothing private, deterministic, readable anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts.reports import Confusion
from contracts.rollback_packet import RollbackPacket
from contracts.verdict import Value, Verdict
from operations.rollback_packet import RISKS, make
from pages.comparing import worst_first
from pages.rollback_packet import PacketView, render
from tests.pages.looks import Theme, complaints, shown, unfold
from tests.pages.packet_examples import documents, first_release, packet, stable
from tests.pages.release_documents import name_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PLANTED = "<script>alert(1)</script>"
CANARY = "zebra umbrella seventeen"
TARGET = name_of("bundle v1")


def test_a_packet_holds_every_field_of_coverage_28() -> None:
    found = packet()
    assert (found.family, found.version, found.owner) == ("asr-commands", "v2", "speech-commands team")
    assert found.on_call == "speech-oncall"
    assert "families/asr-commands" in found.flag
    assert found.rollback.command == f"soundcheck rollback asr-commands --key KEY --reason TEXT --to {TARGET}"
    assert found.verification == "soundcheck status asr-commands --json"
    assert TARGET in found.verified_when
    assert set(found.thresholds.canary) == {"wer", "latency_ms", "privacy"}
    assert found.compatibility.input_schema.startswith("serving_api 1.1")
    assert found.compatibility.embedding_dimension is None
    assert all((found.links, found.cache, found.customer_message, found.criteria, found.stages))


def test_known_risks_are_the_worst_comparisons_of_any_metric() -> None:
    made = documents()
    risks = make(made).known_risks
    assert list(risks) == worst_first(made.score.comparisons)[:RISKS]
    assert len({one.metric for one in risks}) > 1


def test_equal_documents_give_equal_bytes() -> None:
    """R5.5."""
    assert make(documents()).canonical() == make(documents()).canonical()
    assert RollbackPacket.parse(packet().canonical()) == packet()


def test_an_embedding_has_its_dimension() -> None:
    made = documents()
    train = made.train.model_copy(update={"hyperparameters": {"embedding_dimension": 256}})
    assert make(made._replace(train=train)).compatibility.embedding_dimension == 256


def test_a_first_release_has_nothing_to_go_back_to_and_says_so() -> None:
    found = packet(first=True)
    assert found.target is None
    assert found.rollback.command == "soundcheck release asr-commands --candidate DIR"
    assert not any("rollback" in action.command for action in found.others)
    assert "previous version" not in found.customer_message + found.cache + found.verified_when
    page = render(first_release())
    assert "there is nothing to go back to: it is the first release" in page
    assert "none: first release" in page


def test_no_transcript_stands_in_a_packet_or_on_its_page() -> None:
    """Fault 62: a planted transcript in the report of scores is not copied."""
    made = documents()
    confusion = Confusion(reference=CANARY, hypothesis=CANARY, count=3)
    score = made.score.model_copy(update={"confusions": {"commands": (confusion,)}})
    found = make(made._replace(score=score))
    assert CANARY.encode() in score.canonical()
    assert CANARY.encode() not in found.canonical()
    assert CANARY not in render(dataclasses.replace(stable(), packet=found))


def test_the_command_stands_before_everything_that_explains_it() -> None:
    page = render(stable())
    sections = [part.split('"')[0] for part in page.split('<section id="')[1:]]
    assert sections == ["act", "tell", "thresholds", "risks", "canary", "fits", "look", "again"]
    assert packet().rollback.command in page


def test_every_text_is_escaped_and_nothing_outside_is_loaded() -> None:
    found = packet()
    risk = found.known_risks[0].model_copy(update={"slice": PLANTED, "pack": PLANTED})
    spoiled = found.model_copy(
        update={
            "family": PLANTED, "owner": PLANTED, "on_call": PLANTED, "customer_message": PLANTED, "cache": PLANTED,
            "criteria": (PLANTED,), "links": {PLANTED: PLANTED}, "known_risks": (risk,),
            "cohort": {PLANTED: (PLANTED,)},
            "safety": Verdict(value=Value.FAIL, reasons=(PLANTED,)),
        }
    )  # fmt: skip
    page = render(dataclasses.replace(stable(), packet=spoiled, target_version=PLANTED))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://127.0.0.1", "")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=str)
@pytest.mark.parametrize("view", [stable, first_release])
def test_it_fits_and_can_be_read(
    browser: Browser, tmp_path: Path, view: Callable[[], PacketView], width: int, theme: Theme
) -> None:
    with shown(browser, tmp_path, lambda _: render(view()))("packet", width, theme) as page:
        for opened in (False, True):
            unfold(page, opened)
            assert complaints(page) == {}
