"""The approval form and the step artifacts: what they say, that they render as meant, that nothing planted is alive."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from contracts.document import Document
from contracts.errors import WrongCall
from contracts.policy import Waiver
from contracts.reports import DriftReport
from contracts.routing import RouteTable
from contracts.verdict import Value
from pages.approval import SHOWN, markdown
from pages.markdown import code, table, text
from pages.steps import STEPS, artifact
from pages.view import ReleaseView
from tests.pages import release_documents, release_examples

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PLANTED = "<script>alert(1)</script> | `x` **y** [z](javascript:1)"


def html(source: str) -> str:
    return cast(str, MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(source))


def test_form_opens_with_one_line_of_verdict(release: ReleaseView) -> None:
    assert markdown(release).splitlines()[0] == (
        "**\u2713 PASS** asr-commands **v2** instead of v1: quality PASS, serving PASS, safety PASS, provenance PASS, "
        "privacy PASS, rollback PASS, canary PASS"
    )


def test_form_is_never_pass_with_a_document_missing(release: ReleaseView) -> None:
    first = markdown(dataclasses.replace(release, canary=None)).splitlines()[0]
    assert first.startswith("**? INCONCLUSIVE**")
    assert first.endswith("canary NOT REACHED")


def test_form_of_a_stop_is_fail(stop: ReleaseView) -> None:
    assert markdown(stop).startswith("**\u2717 FAIL** asr-commands **v3**")


def test_slices_stand_worst_first_and_marked(stop: ReleaseView) -> None:
    form = markdown(stop)
    signs = ("| \u2713 ", "| \u2717 ", "| ? ", "| ! ")
    rows = [line for line in form.splitlines() if line.startswith(signs)]
    assert rows[0] == "| \u2717 FAIL | scottish x 20 dB | 20.9% -> 35.7% | +14.8 \\[+11.3, +18.3] |"
    assert "- held to margin 3.0: 29 slices\n- held to margin 1.0: overall\n" in form
    assert "**high risk**" in rows[1]
    assert "\u25c6\u00a0" in rows[2]
    assert len(rows) == SHOWN + 1  # and overall
    assert "19 more slices PASS; the release report has them." in form
    verdicts = [row.split("|")[1].split()[-1] for row in rows]
    assert verdicts == sorted(verdicts, key=lambda word: -Value(word.lower()).severity)


def test_metrics_that_pass_everywhere_share_one_table() -> None:
    form = markdown(release_examples.rich())
    assert "**intent recall on commands**, higher is better\n\n- held to margin 2.0 and floor 90.0%: 7 slices\n" in form
    assert "| ? INCONCLUSIVE | \u25c6\u00a0scottish | 94.2% -> 92.5% | -1.7 \\[-3.1, -0.3] |" in form
    shared = form.split("**Metrics that pass on every slice**")[1].split("###")[0]
    rows = [line.split("|")[1].strip() for line in shared.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "WER on entities",
        "WER on commands (30 slices)",
        "WER on commands against full precision (7 slices)",
        "early endpoints on commands",
        "CER on entities",
        "partial churn on commands",
        "Brier score on commands",
        "entity error rate on entities, worst address (6 slices)",
    ]


def test_form_shows_waivers_exchange_and_policy_difference() -> None:
    form = markdown(release_examples.rich())
    waived = form.split("### Waived by name")[1].split("###")[0]
    assert "- intent recall on scottish of commands, by r.manager (key 3f9ae12b...): eighteen more speakers" in waived
    assert (
        "- cost 0.0017 -> 0.0011 USD/audio hour (35% less)" in form.split("### Cost against quality")[1].split("###")[0]
    )
    changed = form.split("### The policy has changed")[1].split("###")[0]
    assert "serving.first\\_stable\\_p95\\_ms: not set -> 1200 (stricter)" in changed
    assert "- `accent=scottish` ? INCONCLUSIVE, waived: " in form


FORM = "body{margin:0;font:14px/1.5 sans-serif}th,td{padding:6px 8px}pre{overflow-x:auto}code{font-size:12px}"


@pytest.mark.parametrize("name", ["promoted", "rich", "stopped", "first"])
def test_form_fits_the_dialog_that_prefect_draws(browser: Browser, name: str) -> None:
    form = html(markdown(getattr(release_examples, name)()))
    with browser.new_page(viewport={"width": 470, "height": 900}) as page:
        page.set_content(f"<style>{FORM}</style>{form}")
        assert page.evaluate("document.documentElement.scrollWidth") == 470


def test_form_lists_the_first_of_many_prices() -> None:
    view = release_examples.rich()
    assert view.gate
    gate = view.gate.model_copy(update={"exchange": tuple(f"slice {number} pays" for number in range(40))})
    form = markdown(dataclasses.replace(view, gate=gate))
    assert "- slice 9 pays\n- and 30 more sentences in the release report\n" in form
    assert "slice 10 pays" not in form


def test_waiver_whose_document_is_missing_is_named_by_its_digest() -> None:
    view = dataclasses.replace(release_examples.rich(), waivers=())
    form = markdown(view)
    assert view.gate
    assert "a comparison that is not named here, by a person: the waiver's document was not read" in form
    assert f"waiver `{view.gate.waivers[0][:12]}`" in form
    assert "? INCONCLUSIVE, waived" not in form


def test_artifacts_of_a_rich_release_name_metrics_intervals_and_checks() -> None:
    view = release_examples.rich()
    scored = artifact("score", view)
    assert "| `accent=scottish` commands | intent recall | 94.2% | 92.5% |" in scored
    assert "- expected calibration error on commands 3.3% (stable 10.7%)" in scored
    assert "| first partial | 412 | 697 \\[665, 743] | 867 | 1127 | 600 |" in scored
    assert "| first partial, stable | 455 | 823 \\[779, 884] |" in scored
    assert "- spoken private strings: 0 of 24 went wrong" in scored
    gate = artifact("gate", view)
    assert view.gate
    assert f"- waived, see `{view.gate.waivers[0]}`" in gate
    assert "- policy changed: serving.first\\_stable\\_p95\\_ms: not set" in gate


def test_form_names_target_evidence_and_the_terminal_alternative(release: ReleaseView) -> None:
    form = markdown(release)
    assert release.evidence
    digest = release.evidence.digest()
    assert f"target v1 `{str(release.stable_bundle)[:12]}`" in form
    assert "rehearsed in 0.42 s" in form
    assert "command `soundcheck rollback asr-commands --key KEY --reason TEXT`" in form
    assert f"soundcheck approve asr-commands --key KEY --evidence {digest} --decision promote" in form
    assert f"evidence `{digest[:12]}` (whole below)" in form


def test_risks_name_what_is_not_covered(release: ReleaseView) -> None:
    assert release.train
    assert release.score
    few = release.score.comparisons[3].model_copy(update={"unit": "utterance", "speakers": 6})
    view = dataclasses.replace(
        release,
        replay=None,
        train=release.train.model_copy(update={"leakage": "inconclusive: third-party model"}),
        score=release.score.model_copy(update={"comparisons": (few,)}),
        policy=release.policy.model_copy(
            update={"waivers": (Waiver(check="leakage", reason="public model", owner="r.manager"),)}
        ),
    )
    risk = markdown(view).split("### Risk")[1].split("###")[0]
    assert "- **staged replay** was not reached" in risk
    assert "speaks for its 6 speakers alone" in risk
    assert "manual review is mandatory for `accent=scottish&noise=5db`" in risk
    assert "training data leakage: inconclusive: third-party model" in risk
    assert "leakage is waived by r.manager: public model" in risk
    assert "**unsigned**" in risk


def test_first_release_has_no_way_back(first_release: ReleaseView) -> None:
    form = markdown(first_release)
    assert "as the first stable" in form.splitlines()[0]
    assert "None: this is the first release" in form
    assert "| 6.1% | none |" in form
    assert "held to ceiling 35.0%" in form


def test_form_without_evidence_decides_nothing(empty: ReleaseView) -> None:
    assert "There is no evidence to decide about yet." in markdown(empty)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_an_artifact_of_a_view(step: str, release: ReleaseView, empty: ReleaseView) -> None:
    whole = artifact(step, release)
    assert whole.strip()
    assert "Not reached." not in whole
    assert artifact(step, empty).strip()


def document_of(name: str) -> Document:
    view = release_examples.promoted()
    table_now = RouteTable(
        family="asr-commands",
        version=14,
        stable=view.bundle,
        warm=(release_documents.name_of("bundle v1"),),
        ledger_sequence=29,
        ledger_head=release_documents.name_of("head"),
        moved_at="2026-11-20T14:02:31Z",
        actor="r.manager",
        reason="approved",
    )
    documents = {
        "capture": view.train,
        "register": view.entry,
        "score": view.score,
        "gate": view.gate,
        "package": view.manifest,
        "stage": view.replay,
        "canary": view.canary,
        "approve": view.approvals[0],
        "promote": table_now,
    }
    found = documents[name]
    assert found
    return found


SAID = {
    "capture": ("**Captured** asr-commands v2", "9,480 utterances, 2.6 h, 312 speakers"),
    "register": ("**Registered** asr-commands v2", "| owner | speech-commands team |"),
    "score": ("30 comparisons on commands", "and 22 more comparisons that did no worse"),
    "gate": ("**\u2713 PASS** asr-commands v2 at the gate", "manual review is mandatory"),
    "package": ("27 files, 47.3 MB", "`soundcheck restore "),
    "stage": ("golden outputs 12 of 12 equal, rollback 0.42 s, 0 of 24", "60 requests at concurrency 4"),
    "canary": ("**\u2713 PASS** canary: promote", "**wide**: promote after 39.4 s"),
    "approve": ("**promote** by r.manager (signed with `3f9a", "Scottish in noise looked at by hand"),
    "promote": ("**Serving** asr-commands, route table 14", "2026-11-20 14:02:31 UTC"),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_an_artifact_of_its_document(step: str) -> None:
    said = artifact(step, document_of(step))
    for sentence in SAID[step]:
        assert sentence in said


def test_canary_quantiles_are_shares_where_the_plan_is_known(release: ReleaseView) -> None:
    assert "| overall | latency over 900 ms | 2.1% | 1.2% |" in artifact("canary", release)


def test_evidence_lists_its_documents(release: ReleaseView) -> None:
    assert release.evidence
    said = artifact("approve", release.evidence)
    assert f"**Evidence** `{release.evidence.digest()}`" in said
    assert f"| bundle | `{release.bundle}` |" in said


def test_unknown_step_and_unknown_document_are_wrong_calls(release: ReleaseView) -> None:
    with pytest.raises(WrongCall, match="there is no artifact for this step\n  got: dance\n  expected: capture, "):
        artifact("dance", release)
    drift = DriftReport(family="f", bundle="0" * 64, released={}, measured={}, verdict=release_documents.PASS)
    with pytest.raises(WrongCall, match="there is no artifact for this kind of document\n  where: step score\n"):
        artifact("score", drift)


@given(st.text())
def test_text_of_a_document_opens_nothing(value: str) -> None:
    for source in (f"- a {text(value)}", "\n".join(table(("a", "b"), [(text(value), "end")])), f"a {code(value)}"):
        shown = html(source)
        for tag in ("<script", "<a ", "<img", "<em>", "<strong>", "<h1"):
            assert tag not in shown
        assert shown.count("<td") == (2 if source.startswith("|") else 0)


def test_planted_markup_is_inert_in_form_and_artifacts(release: ReleaseView) -> None:
    assert release.entry
    note = release.approvals[0].model_copy(update={"note": PLANTED, "approver": PLANTED})
    view = dataclasses.replace(
        release,
        version=PLANTED,
        stable_version=PLANTED,
        entry=release.entry.model_copy(update={"owner": PLANTED}),
        approvals=(note,),
        policy_changes=(PLANTED,),
    )
    for source in (markdown(view), *(artifact(step, view) for step in STEPS)):
        shown = html(source)
        assert "<script" not in shown
        assert "<a " not in shown
        assert "<strong>y</strong>" not in shown
