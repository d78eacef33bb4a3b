"""Drift re-evaluation over telemetry on disk: a quiet month, broken firmware, a change of our own, no telemetry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import drift_rows
from contracts.drift import DriftEvaluation, DriftSettings
from contracts.errors import WrongCall
from contracts.reports import Calibration, CalibrationBin
from contracts.verdict import Value, Verdict
from evalpacks.rescoring import Rescored
from operations import drift, drift_scores, drift_windows
from operations.context import Context
from tests.evalpacks.evaluation_samples import make_pack
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import TinyFamily
from tests.serving.conftest import CONTRACT

DAY_S = drift_rows.DAY_S
START_S = datetime(2026, 9, 1, tzinfo=UTC).timestamp()
DAYS = 38
CHANGED = 31
ROWS_A_DAY = 1_500
SMALL = {"slices": ["device", "language"]}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The telemetry of five weeks in which nothing happened."""
    root = tmp_path_factory.mktemp("quiet")
    drift_rows.write(root, FAMILY, "b" * 64, start_s=START_S, days=DAYS, rows_a_day=ROWS_A_DAY, seed=1, segment_h=24)
    return root


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but from a day on headsets are noisy, clip, and are heard with less confidence (coverage 37)."""
    root = tmp_path_factory.mktemp("firmware")
    drift_rows.write(
        root, FAMILY, "b" * 64, start_s=START_S, days=DAYS, rows_a_day=ROWS_A_DAY, seed=2, segment_h=24,
        harm_from=CHANGED, harm={"snr_db": -8.0, "clipped": 0.01, "confidence": -0.08},
    )  # fmt: skip
    return root


class World:
    """A family with a stable bundle, whose models are not run: what they score is given."""

    def __init__(self, folder: Path, telemetry: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
        self.family = TinyFamily(folder)
        self.bundle = self.family.promote("v1", "one")
        self.rescored = Verdict(value=Value.PASS, reasons=("commands: 8.00% as released, every count equal",))
        self.front_end: str | None = None
        self.now_s = START_S + DAYS * DAY_S + 2 * 3600
        settings = self.family.context.settings
        settings.params["drift"] = {"defaults": {"min_sessions": 30, **SMALL}}
        self.context = Context(settings, self.family.context.store, lambda: datetime.fromtimestamp(self.now_s, UTC))
        if telemetry:
            (self.family.home / "telemetry").symlink_to(telemetry)
        bins = (CalibrationBin(lower=0.8, upper=0.9, utterances=900, confidence=0.85, accuracy=0.9),)
        payload = folder / "payload"
        payload.mkdir()
        (payload / "feature_contract.json").write_bytes(CONTRACT.canonical())
        released = SimpleNamespace(calibration=(Calibration(pack="commands", error=0.01, bins=bins),), words={})
        manifest = SimpleNamespace(version="v1", payload_digest="a" * 64)
        stable = drift_scores.Stable(self.bundle, manifest, released, [make_pack()])  # type: ignore[arg-type]
        monkeypatch.setattr(drift, "_stable", lambda _context, _family: stable)
        monkeypatch.setattr(drift_scores, "rescore", lambda *_: Rescored((), self.rescored))
        monkeypatch.setattr(drift, "materialise", lambda _context, _manifest: payload)
        monkeypatch.setattr(drift, "front_end_drift", lambda _payload, _contract: self.front_end)
        monkeypatch.setattr(drift, "_promoted_s", lambda *_: START_S)

    def evaluate(self) -> DriftEvaluation:
        return drift.drift(self.context, FAMILY)


def test_a_quiet_month_asks_for_nothing_but_what_the_packs_lack(
    tmp_path: Path, quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, quiet, monkeypatch)
    found = world.evaluate()
    assert found.moved == ()
    assert found.cause == "none"
    assert found.watch.streams > 30
    assert found.watch.windows == DAYS - 28
    assert found.expectations == ()
    assert {check.same for check in found.checks} == {True}
    assert found.outcome == "propose_pack"  # a fifth of traffic is longer than all that the pack has
    assert any("language=cy" in text for text in found.coverage.proposals)
    folder = drift.page_path(world.context, FAMILY).parent / "change"
    assert [one.name for one in found.changes] == sorted(path.name for path in folder.iterdir())
    assert "language=cy" in (folder / "fixtures.yaml").read_text()
    event = world.context.ledger(FAMILY).events()[-1]
    assert {event.outputs[f"drift_change.{one.name}"] for one in found.changes} == {one.change for one in found.changes}
    assert found.quality is not None
    assert found.quality.lower < found.quality.estimate < found.quality.upper

    (world.family.home / "telemetry").unlink()  # windows outlive their rows, and are summed once
    again = world.evaluate()
    assert again.model_dump(exclude={"at"}) == found.model_dump(exclude={"at"})


def test_firmware_that_broke_headsets_is_the_population_s_change_and_pages(
    tmp_path: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, firmware, monkeypatch)
    found = world.evaluate()
    snr = next(one for one in found.moved if (one.signal, one.slice) == ("snr", "device=headset"))
    assert snr.since_s == START_S + CHANGED * DAY_S
    assert snr.alarmed_s <= START_S + (CHANGED + 3) * DAY_S
    assert snr.lower < -8 < snr.upper
    assert snr.worse
    assert snr.distribution is not None
    others = {one.slice for one in found.moved if one.slice.startswith("device=")}
    assert others == {"device=headset"}
    assert found.cause == "population"
    assert found.outcome == "page"
    assert found.verdict.value == Value.FAIL
    assert found.quality is not None
    assert found.quality.change is not None

    monkeypatch.setattr(drift, "_promoted_s", lambda *_: START_S + DAYS * DAY_S - 3600)
    assert world.evaluate().quality is None  # the last window was heard by another bundle
    monkeypatch.setattr(drift, "_promoted_s", lambda *_: START_S)
    world.evaluate()
    page = drift.page_path(world.context, FAMILY).read_text()
    assert "page somebody" in page
    assert "headset" in page


@pytest.mark.parametrize(
    ("what", "difference"),
    [
        ("front_end", "the front-end probe is off by 0.3"),
        ("rescored", "WER 8.00% when released, 9.00% now: the environment changed"),
    ],
)
def test_a_change_of_our_own_is_the_pipeline_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, difference: str
) -> None:
    world = World(tmp_path, None, monkeypatch)
    setattr(world, what, difference if what == "front_end" else Verdict(value=Value.FAIL, reasons=(difference,)))
    found = world.evaluate()
    assert found.cause == "pipeline"
    assert found.outcome == "page"
    assert difference in found.verdict.reasons[0]


def test_without_telemetry_nothing_is_said_of_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, None, monkeypatch)
    found = world.evaluate()
    assert found.outcome == "nothing"
    assert found.verdict.value == Value.PASS
    assert found.quality is None
    assert any("of 28 reference windows so far" in reason for reason in found.verdict.reasons)
    assert "every count equal" in found.verdict.reasons[-2]
    assert found.verdict.reasons[-1] == f"quality without labels is unknown: {found.quality_unknown}"
    assert found.quality_unknown == "no answer of the stable bundle in the last window has a confidence"
    assert "too early to say" in drift.page_path(world.context, FAMILY).read_text()


def test_sums_hold_no_id_and_no_row(tmp_path: Path, quiet: Path) -> None:
    settings = DriftSettings.model_validate(SMALL)
    table = drift_windows.summed(quiet, FAMILY, settings, since_s=START_S, until_s=START_S + 2 * DAY_S)
    assert set(table["slice"].str.partition("=")[0]) == {"overall", "device", "language"}
    assert max(table["slice"].str.len().max(), table["name"].str.len().max()) < 32
    asked = table[(table["name"] == "requests") & (table["slice"] == "overall")]
    assert asked["x"].between(500, 3_000).all()
    assert (asked["n"] < asked["x"]).all()


def test_the_ledger_has_the_evaluation_and_a_new_one_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, None, monkeypatch)
    found = world.evaluate()
    event = world.context.ledger(FAMILY).events()[-1]
    assert (event.step, event.outcome) == ("drift", "complete")
    assert event.outputs["drift_evaluation"] == found.digest()
    assert event.data["outcome"] == "nothing"


@pytest.mark.parametrize(
    ("section", "place"),
    [({"window_h": 5}, "window_h"), ({"false_alarms_per_year": 0}, "false_alarms_per_year"), ({"speed": 1}, "speed")],
)
def test_a_wrong_section_is_a_wrong_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: dict[str, Any], place: str
) -> None:
    world = World(tmp_path, None, monkeypatch)
    world.context.settings.params["drift"] = {"families": {FAMILY: section}}
    with pytest.raises(WrongCall, match=r"params\.yaml has a wrong value") as caught:
        world.evaluate()
    assert place in str(caught.value.where)


def test_stable_is_stable_since_it_was_promoted_last(tmp_path: Path) -> None:
    family = TinyFamily(tmp_path)
    first = family.promote("v1", "one")
    second = family.promote("v2", "two")
    at = {
        event.outputs["bundle"]: event.at for event in family.context.ledger(FAMILY).events() if event.step == "promote"
    }
    for bundle in (first, second):
        since_s = drift._promoted_s(family.context, FAMILY, bundle, 0.0)
        assert since_s == datetime.fromisoformat(at[bundle]).timestamp()
    assert drift._promoted_s(family.context, FAMILY, "f" * 64, 7.0) == 7.0


@pytest.mark.parametrize(
    ("column", "value", "expectation"),
    [
        ("confidence", 1.5, "expect_column_values_to_be_between"),
        ("tenant", "a person's name", "expect_column_values_to_match_regex"),
        ("session_id", None, "expect_column_values_to_not_be_null"),
        ("arm", "winner", "expect_column_values_to_be_in_set"),
        ("family", "asr-other", "expect_column_values_to_be_in_set"),
    ],
)
def test_telemetry_that_breaks_its_contract_is_counted_and_never_shown(
    tmp_path: Path, quiet: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: Any, expectation: str
) -> None:
    context: Any = SimpleNamespace(home=tmp_path)
    (tmp_path / "telemetry").symlink_to(quiet)
    rows = drift_windows.newest_rows(context, FAMILY, since_s=START_S + (DAYS - 1) * DAY_S, most=100)
    assert len(rows) == 100
    rows[column] = rows[column].astype(object)
    rows.loc[[3, 5], column] = value
    monkeypatch.setattr(drift_windows, "newest_rows", lambda *_, **__: rows)
    (broken,) = drift._expectations(context, FAMILY, 0.0)
    assert (broken.expectation, broken.column, broken.rows) == (expectation, column, 2)
    assert str(value) not in broken.model_dump_json()
