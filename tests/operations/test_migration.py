"""Moving voiceprints to another vector space: plans, the step, dual writes, going back, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from contracts.approval import Evidence
from contracts.digest import short
from contracts.errors import Corrupt, NotFound, Refused
from contracts.migration import MIGRATION_FILE, MigrationReport, Reindex, Shim, WayBack
from contracts.reports import ScoreReport
from contracts.verdict import Value
from operations import approve, pointer
from operations.context import put
from operations.gate import Stopped
from operations.migration import moving, shim, voiceprints
from operations.migration.planning import (
    index_fault,
    indexes,
    read_plan,
    refuse_without_index,
    require_plan,
    without_comparing_spaces,
)
from operations.promote import _refuse_incomplete
from operations.rollback import rollback
from registry import vector_index
from registry.documents import get_document
from serving.presence import announce, withdraw
from tests.operations.gated_releases import FAMILY, GatedRelease
from tests.operations.tiny_family import OPERATOR
from tests.operations.voices_world import NEW, OLD, PROBES, SPEAKERS, Voices, contract_of, plan, recordings, voice
from tests.serving.conftest import CONTRACT


@pytest.fixture
def voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voices:
    """v1 of the old space is stable, with its index; v2 of the new one is packaged."""
    made = Voices(tmp_path / "project", monkeypatch)
    made.add("v1", OLD)
    made.migrate("v1")
    made.add("v2", NEW, promote=False)
    made.asked.clear()
    return made


def counts(voices: Voices) -> dict[str, int]:
    """Voiceprints by space."""
    return {one.space: one.voiceprints for one in voiceprints.held(voices.context, FAMILY)}


def report_of(voices: Voices, outputs: dict[str, str]) -> MigrationReport:
    return get_document(voices.context.store, MigrationReport, outputs["migration_report"])


def steps(voices: Voices) -> list[str]:
    """Outcomes of the step in the ledger."""
    return [event.outcome for event in voices.context.ledger(FAMILY).events() if event.step == "migrate"]


# ---- plans


def test_a_candidate_may_stay_or_move_by_its_plan(voices: Voices) -> None:
    allowed = [(contract_of(OLD), None), (CONTRACT, None), (contract_of(NEW), plan()), (contract_of(OLD), plan())]
    for contract, given in allowed:
        require_plan(voices.context, FAMILY, contract, given)


def test_a_first_release_needs_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Voices(tmp_path / "empty", monkeypatch)
    require_plan(empty.context, FAMILY, contract_of(NEW), None)
    assert steps(empty) == []


def test_another_space_without_a_plan_is_refused_and_names_what_is_missing(voices: Voices) -> None:
    with pytest.raises(Refused) as refusal:
        require_plan(voices.context, FAMILY, contract_of(NEW), None)
    assert refusal.value.what == (
        "the candidate's vectors are of another space than those that are enrolled, and it has no migration plan"
    )
    assert refusal.value.where == f"{FAMILY}, migration.yaml in the candidate's folder"
    assert refusal.value.got.startswith("narrow-8 (8 components); stable ")
    assert refusal.value.got.endswith(" has wide-12 (12 components)")
    assert "reindex, dual_write, backfill, shim and rollback" in refusal.value.expected
    assert "write migration.yaml" in refusal.value.next_step


def test_a_plan_for_another_move_is_refused(voices: Voices) -> None:
    other = plan(target=NEW.model_copy(update={"name": "narrow-9", "dimension": 9}))
    with pytest.raises(Refused, match="the migration plan is for another move") as refusal:
        require_plan(voices.context, FAMILY, contract_of(NEW), other)
    assert refusal.value.got == "from wide-12 (12 components) to narrow-9 (9 components)"
    assert refusal.value.expected == "from wide-12 (12 components) to narrow-8 (8 components)"


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    (tmp_path / MIGRATION_FILE).write_text(yaml.safe_dump(plan().model_dump(mode="json")))
    assert read_plan(tmp_path) == plan()


@pytest.mark.parametrize(
    ("changes", "where", "got"),
    [
        ({"dual_write": False}, "dual_write", "Input should be True"),
        ({"reindex": {"batch": 0, "max_recall_loss": 0.1}}, "reindex.batch", "Input should be greater than 0"),
        ({"source": plan().target.model_dump()}, "", "source and target are the same space, 'narrow-8'"),
        ({"rollback": None}, "rollback", "Input should be a valid dictionary or instance of Rollback"),
    ],
)
def test_a_plan_that_does_not_parse_names_its_field(
    tmp_path: Path, changes: dict[str, Any], where: str, got: str
) -> None:
    (tmp_path / MIGRATION_FILE).write_text(yaml.safe_dump(plan().model_dump(mode="json") | changes))
    with pytest.raises(Refused, match="the migration plan does not parse") as refusal:
        read_plan(tmp_path)
    assert refusal.value.where == f"{tmp_path.name}/{MIGRATION_FILE} {where}".strip()
    assert got in refusal.value.got


def test_scores_across_versions_are_moot_where_a_plan_takes_voiceprints_along(voices: Voices) -> None:
    release = GatedRelease(voices.context)
    report = get_document(voices.context.store, ScoreReport, release.scored["score_report"])
    row = report.comparisons[0].model_copy(update={"metric": "cross_version_eer"})
    asked = report.model_copy(update={"comparisons": (row, *report.comparisons[1:])})
    assert without_comparing_spaces(asked, None) == asked
    moot = without_comparing_spaces(asked, plan())
    assert moot.comparisons[0].verdict.value == Value.PASS
    assert moot.comparisons[0].verdict.reasons[0].endswith("the migration plan takes them from wide-12 to narrow-8")
    assert moot.comparisons[1:] == asked.comparisons[1:]


# ---- the step


def test_a_first_release_fills_its_index_and_writes_no_event(voices: Voices) -> None:
    assert counts(voices) == {"wide-12": SPEAKERS}
    assert steps(voices) == []


def test_families_that_make_no_vectors_have_no_such_step(voices: Voices) -> None:
    (policy,) = put(voices.context, voices.context.settings.policy(FAMILY))
    assert moving.migrate(voices.context, FAMILY, {"policy": policy}, {"bundle": voices.bundles["v2"]}) == {}


def test_a_migration_fills_checks_and_maps(voices: Voices) -> None:
    report = report_of(voices, voices.migrate("v2", plan()))
    assert (report.source, report.target) == (OLD, NEW)
    assert (report.source_bundle, report.target_bundle) == (voices.bundles["v1"], voices.bundles["v2"])
    assert report.source_count == report.target_count == SPEAKERS
    assert report.source_recall.probes == report.target_recall.probes == SPEAKERS * PROBES
    assert report.target_recall.rate >= 0.9
    assert report.shim is not None
    assert (report.shim.pairs, report.shim.native.probes) == (SPEAKERS // 2 * (2 + PROBES), SPEAKERS // 2 * PROBES)
    assert report.shim.recall.rate >= report.shim.native.rate - 0.2
    assert report.faults == ()
    assert report.way_back == WayBack(missing=0, keep_old_index_days=30)
    assert counts(voices) == {"narrow-8": SPEAKERS, "wide-12": SPEAKERS}
    assert steps(voices) == ["complete"]


def test_every_space_is_answered_by_its_own_index(voices: Voices) -> None:
    voices.migrate("v2", plan())
    for version, space in (("v1", OLD), ("v2", NEW)):
        found = voiceprints.find(voices.context, FAMILY, Path("s03-4.wav"), bundle=version, count=1)
        assert (found[0], found[1][0].key) == (space.name, "s03")
    with pytest.raises(Refused, match="a vector is not of the index's form"):
        voiceprints.search(voices.context, FAMILY, voice("s03-4", OLD), space=NEW.name)


def test_the_same_migration_is_not_made_again(voices: Voices) -> None:
    first = voices.migrate("v2", plan())
    voices.asked.clear()
    assert voices.migrate("v2", plan()) == first
    assert voices.asked == []
    assert steps(voices) == ["complete"]


def test_a_migration_that_was_killed_goes_on_where_it_stopped(voices: Voices) -> None:
    voices.dies_after = 13  # one batch of five speakers is written, the second is being heard
    with pytest.raises(KeyboardInterrupt):
        voices.migrate("v2", plan())
    assert counts(voices) == {"narrow-8": 5, "wide-12": SPEAKERS}
    done = {name.partition("-")[0] for _, name in voices.asked[:10]}
    voices.asked.clear()
    voices.dies_after = 10**6
    assert report_of(voices, voices.migrate("v2", plan())).target_count == SPEAKERS
    again = [name for space, name in voices.asked if space == NEW.name][: 2 * (SPEAKERS - 5)]
    assert {name.partition("-")[0] for name in again}.isdisjoint(done)


def test_a_new_index_that_finds_fewer_stops_the_release_and_a_repaired_one_goes_on(voices: Voices) -> None:
    voices.noise = 6.0
    with pytest.raises(Stopped) as stop:
        voices.migrate("v2", plan(shim=None))
    (reason,) = stop.value.verdict.reasons
    assert reason.startswith("recall@1 falls from 100.0% to ")
    assert reason.endswith("(at most 5.0% is allowed)")
    assert steps(voices) == ["fail"]
    assert voices.migrate("v2", plan(shim=None, reindex=Reindex(batch=5, max_recall_loss=1.0)))
    assert steps(voices) == ["fail", "complete"]


def test_a_shim_that_loses_too_much_stops_the_release(voices: Voices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "fit", lambda old, new: np.ones((new.shape[1], old.shape[1]), np.float32))
    with pytest.raises(Stopped) as stop:
        voices.migrate("v2", plan(shim=Shim(max_recall_loss=0.2)))
    assert stop.value.verdict.reasons[0].startswith("through the shim recall@1 is ")


def test_a_voiceprint_without_kept_audio_stops_the_release(voices: Voices) -> None:
    voiceprints.enrol(voices.context, FAMILY, "walk-in", recordings("walk", [1]))
    with pytest.raises(Stopped) as stop:
        voices.migrate("v2", plan())
    assert stop.value.verdict.reasons == (
        "1 of 13 voiceprints of wide-12 are not in narrow-8: no enrolment audio of theirs was kept",
    )


def test_a_migration_that_could_not_be_taken_back_stops_the_release(voices: Voices) -> None:
    voices.migrate("v2", plan())
    index = vector_index.read(indexes(voices.context, FAMILY), NEW.name)
    index.put({"only-new": voice("only-1", NEW)}, space=NEW.name)
    with pytest.raises(Stopped) as stop:
        voices.migrate("v2", plan(reindex=Reindex(batch=6, max_recall_loss=0.05)))
    assert stop.value.verdict.reasons == (
        "1 of 13 voiceprints of narrow-8 are not in wide-12: the old bundle could not return (B4)",
    )


def test_who_approves_is_shown_the_report_and_nothing_is_promoted_without_it(voices: Voices) -> None:
    outputs = voices.migrate("v2", plan())
    roles = ("score_report", "timing_report", "safety_report", "gate_report", "replay_report", "canary_report")
    steps = {role: voices.context.store.put_blob(role.encode()) for role in (*roles, "policy")}
    captured = {"policy": steps["policy"], "release": "c" * 64}
    asked = approve.evidence(
        voices.context, FAMILY, captured, {**steps, **outputs, "bundle": voices.bundles["v2"]}, "v2"
    )
    shown = get_document(voices.context.store, Evidence, asked)
    assert shown.migration_report == outputs["migration_report"]
    _refuse_incomplete(voices.context, shown)
    voices.context.store.delete_blob(outputs["migration_report"])
    with pytest.raises(Corrupt, match="the evidence is not whole") as refusal:
        _refuse_incomplete(voices.context, shown)
    assert refusal.value.got.startswith(f"migration_report {short(outputs['migration_report'])}: ")


# ---- dual writes, and going back


def test_who_is_enrolled_after_the_migration_is_found_in_both_spaces(voices: Voices) -> None:
    voices.migrate("v2", plan())
    assert voiceprints.enrol(voices.context, FAMILY, "walk-in", recordings("walk", [1, 2])) == ["narrow-8", "wide-12"]
    assert counts(voices) == {"narrow-8": SPEAKERS + 1, "wide-12": SPEAKERS + 1}
    for space in (OLD, NEW):
        found = voiceprints.search(voices.context, FAMILY, voice("walk-3", space), space=space.name, count=1)
        assert found[0].key == "walk-in"


def test_nobody_is_enrolled_where_no_release_has_made_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="the family has no index yet"):
        voiceprints.enrol(Voices(tmp_path / "empty", monkeypatch).context, FAMILY, "walk-in", recordings("walk", [1]))


def promote_v2(voices: Voices) -> None:
    voices.spaces[voices.add("v2b", NEW)] = NEW
    proof = {"equal": 1, "expected": 1, "erased": 0, "at": "now"}
    said = {"version": 10**6, "bundles": [], "proved": dict.fromkeys(voices.bundles.values(), proof)}
    announce(voices.home, "http://127.0.0.1:9", {FAMILY: said})


def test_b4_lets_go_back_across_dimensions_while_the_old_index_is_complete(voices: Voices) -> None:
    voices.migrate("v2", plan())
    promote_v2(voices)
    voiceprints.enrol(voices.context, FAMILY, "walk-in", recordings("walk", [1]))
    try:
        done = rollback(voices.context, FAMILY, key_name=OPERATOR, reason="callers complain")
    finally:
        withdraw(voices.home)
    assert done.target == voices.bundles["v1"] == pointer.current(voices.context, FAMILY).stable
    space, (best, *_) = voiceprints.find(voices.context, FAMILY, Path("walk-4.wav"))
    assert (space, best.key) == (OLD.name, "walk-in")


def test_b4_refuses_to_go_back_where_the_old_index_misses_somebody(voices: Voices) -> None:
    voices.migrate("v2", plan())
    promote_v2(voices)
    index = vector_index.read(indexes(voices.context, FAMILY), NEW.name)
    index.put({"only-new": voice("only-1", NEW)}, space=NEW.name)
    try:
        with pytest.raises(Refused, match="it is not compatible") as refusal:
            rollback(voices.context, FAMILY, key_name=OPERATOR, reason="callers complain")
    finally:
        withdraw(voices.home)
    assert refusal.value.got == (
        "vectors change from narrow-8 (8 components) to wide-12 (12 components), whose index lacks 1 of 13 voiceprints"
    )
    assert refusal.value.next_step.startswith("fix forward")


def test_b4_refuses_to_go_back_where_there_is_no_old_index(voices: Voices) -> None:
    fault = index_fault(voices.context, "another-family", contract_of(NEW), contract_of(OLD))
    assert fault is not None
    assert fault.startswith("vectors change from narrow-8 (8 components) to wide-12 (12 components): there is no index")
    assert index_fault(voices.context, FAMILY, contract_of(OLD), contract_of(OLD)) is None


def test_a_bundle_without_a_complete_index_is_not_promoted(voices: Voices) -> None:
    with pytest.raises(Refused, match="the bundle's vectors would not find everybody who is enrolled") as refusal:
        refuse_without_index(voices.context, FAMILY, voices.bundles["v2"])
    assert "there is no index of this vector space" in refusal.value.got
    voices.migrate("v2", plan())
    refuse_without_index(voices.context, FAMILY, voices.bundles["v2"])


def test_the_old_index_goes_when_the_plan_lets_it_and_the_shim_answers_for_it(voices: Voices) -> None:
    voices.migrate("v2", plan())
    with pytest.raises(Refused, match="the index is served"):
        moving.retire(voices.context, FAMILY, OLD.name)
    promote_v2(voices)
    withdraw(voices.home)
    with pytest.raises(Refused, match="the migration plan keeps this index") as refusal:
        moving.retire(voices.context, FAMILY, OLD.name)
    assert refusal.value.expected.startswith("after 20")
    now = voices.context.now()
    voices.context.now = lambda: now + timedelta(days=31)
    moving.retire(voices.context, FAMILY, OLD.name)
    assert counts(voices) == {"narrow-8": SPEAKERS}
    assert voiceprints.search(voices.context, FAMILY, voice("s03-4", OLD), space=OLD.name, count=1)[0].key == "s03"
    with pytest.raises(NotFound, match="no shim leads from it"):
        voiceprints.search(voices.context, FAMILY, voice("s03-4", OLD), space="unknown-12")
    assert "there is no index" in str(index_fault(voices.context, FAMILY, contract_of(NEW), contract_of(OLD)))


# ---- the shim


def test_law_a_shim_of_a_linear_change_recovers_it() -> None:
    draw = np.random.default_rng(3)
    old = draw.standard_normal((400, 6)).astype(np.float32)
    matrix = draw.standard_normal((4, 6)).astype(np.float32)
    mapped = shim.mapped(shim.fit(old, old @ matrix.T), old)
    wanted = old @ matrix.T / np.linalg.norm(old @ matrix.T, axis=1, keepdims=True)
    assert (mapped * wanted).sum(axis=1).min() > 0.99


def test_recall_counts_who_was_found_first() -> None:
    counted = shim.recall(["anna", "ben", None], ["anna", "anna", "cleo"])
    assert (counted.found, counted.probes) == (1, 3)
    assert counted.rate == pytest.approx(1 / 3)
