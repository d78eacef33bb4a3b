"""Drift re-evaluation: stable is scored again on its packs, and what telemetry says of traffic is compared with before.

Boundary: runs the stable payload; reads telemetry; writes two documents, one ledger event, and the page below
HOME/drift/FAMILY. monitoring/drift judges.
Invariants: a pack that changed since the release is said and is not compared; equal counts are the only Pass of the
scores; without enough telemetry nothing is said of traffic, and the evaluation says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.drift import DriftEvaluation, DriftSettings, Expectation, PackCoverage, QualityEstimate
from contracts.errors import Refused
from contracts.feature_contract import FeatureContract
from contracts.reports import ScoreReport
from contracts.verdict import worst
from operations import drift_change, drift_rollback, drift_scores, drift_windows, pointer
from operations.context import Context, put
from operations.drift_rollback import settings_of
from operations.drift_scores import Stable
from operations.packs import required_packs
from operations.payload import feature_contract, materialise
from operations.register import front_end_drift
from registry.documents import get_document

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.rescoring import Rescored

VALIDATED_ROWS = 5_000
"""The newest rows of telemetry that Great Expectations looks at."""
_MOVES = ("promote", "rollback")
_UNKNOWN = "quality without labels is unknown"


def drift(context: Context, family: str, *, window_h: int | None = None) -> DriftEvaluation:
    """Score stable again, look at its traffic, and say what to do.

    Raises Refused without a stable bundle, WrongCall for a wrong section of params.yaml, Corrupt for telemetry that
    cannot be read.
    """
    context.settings.policy(family)
    settings = settings_of(context, family, window_h)
    stable = _stable(context, family)
    rescored = drift_scores.rescore(context, family, stable)
    (report,) = put(context, drift_scores.report(family, stable, rescored))
    evaluation = _evaluate(context, family, settings, stable, rescored, report)
    if evaluation.outcome == "recommend_rollback":
        evaluation = evaluation.model_copy(update={"rollback": drift_rollback.decide(context, evaluation)})
    changes = drift_change.propose(context, family, evaluation.coverage.uncovered, settings)
    evaluation = evaluation.model_copy(update={"changes": tuple(change.ready for change in changes)})
    (digest,) = put(context, evaluation)
    context.ledger(family).append(
        "drift", "complete", at=context.timestamp(), inputs={"bundle": stable.bundle},
        outputs={"drift_report": report, "drift_evaluation": digest}
        | {f"drift_change.{one.name}": one.change for one in evaluation.changes},
        data={"verdict": evaluation.verdict.value.value, "outcome": evaluation.outcome},
    )  # fmt: skip
    drift_change.write(page_path(context, family).parent / "change", changes)
    _show(context, evaluation)
    return evaluation


class NothingStable(Refused):
    """There is nothing to look at yet: a person who asks is refused, a schedule that comes too early has no news."""


def page_path(context: Context, family: str) -> Path:
    """Where the newest page of a family lies."""
    return context.home / "drift" / family / "index.html"


def _show(context: Context, evaluation: DriftEvaluation) -> None:
    from pages.drift import render

    path = page_path(context, evaluation.family)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(evaluation), encoding="utf-8")


def _stable(context: Context, family: str) -> Stable:
    bundle = pointer.current(context, family).stable
    if bundle is None:
        raise NothingStable("the family has no stable bundle", where=family, next_step=f"soundcheck release {family}")
    manifest = get_document(context.store, BundleManifest, bundle)
    released = get_document(context.store, ScoreReport, manifest.files["reports/quality.json"].sha256)
    return Stable(bundle, manifest, released, required_packs(context, family))


# ---- traffic ----------------------------------------------------------------------------------------------------
def _evaluate(
    context: Context, family: str, settings: DriftSettings, stable: Stable, rescored: Rescored, report: Digest
) -> DriftEvaluation:
    from monitoring.drift import detection, outcome, population

    now_s = context.now().timestamp()
    table = drift_windows.sums(context, family, settings, until_s=now_s)
    window_s = settings.window_h * detection.HOUR_S
    last_s = float(table["window_s"].max()) if len(table) else 0.0
    until_s = (last_s + window_s) if len(table) else now_s
    promoted_s = _promoted_s(context, family, stable.bundle, now_s)
    reference_s = _reference_s(table, settings, now_s)
    found = detection.detect(table, settings, from_s=reference_s, promoted_s=promoted_s, until_s=until_s)
    rates = _rates(table[table["window_s"] == last_s])
    checks = (
        population.scores_check(rescored.verdict),
        population.front_end_check(_front_end(context, stable)),
        population.rates_check(*rates, _contract(context, stable)),
    )
    seen = outcome.Seen(
        moved=found.moved, checks=checks, cause=population.cause(checks, found.moved),
        coverage=_coverage(table, stable, settings, until_s), waiting=found.watch.waiting,
        expectations=_expectations(context, family, now_s - window_s - drift_windows.SETTLED_S),
        rates_fit_before=_rates_fit_before(context, family, stable, rates),
    )  # fmt: skip
    advice = outcome.advise(family, seen, settings)
    verdict = worst((rescored.verdict, advice.verdict))
    estimated, unknown = _quality(table, stable, promoted_s, until_s, settings)
    reasons = (*advice.verdict.reasons, *verdict.reasons, *([f"{_UNKNOWN}: {unknown}"] if unknown else ()))
    return DriftEvaluation(
        family=family, bundle=stable.bundle, version=stable.manifest.version, at=context.timestamp(), rescored=report,
        rescored_verdict=rescored.verdict, watch=found.watch, moved=found.moved, cause=seen.cause, checks=checks,
        coverage=seen.coverage, quality=estimated, quality_unknown=unknown,
        task=context.settings.policy(family).task, scores=rescored.scores,
        telemetry_rows=_requests(table, until_s - window_s), expectations=tuple(seen.expectations),
        outcome=advice.outcome, commands=advice.commands,
        verdict=verdict.model_copy(update={"reasons": tuple(dict.fromkeys(reasons))}),
    )  # fmt: skip


def _reference_s(table: pd.DataFrame, settings: DriftSettings, now_s: float) -> float:
    """Where the reference of input signals begins: the first window that is known, or the day that was named."""
    first = float(table["window_s"].min()) if len(table) else now_s
    if settings.reference_from is None:
        return first
    return max(first, datetime.combine(settings.reference_from, time(), UTC).timestamp())


def _promoted_s(context: Context, family: str, bundle: Digest, now_s: float) -> float:
    """When stable became stable, by the ledger."""
    for event in reversed(context.ledger(family).events()):
        if event.step in _MOVES and event.outcome == "complete" and event.outputs.get("bundle") == bundle:
            return datetime.fromisoformat(event.at).timestamp()
    return now_s


def _front_end(context: Context, stable: Stable) -> str | None:
    payload = materialise(context, stable.manifest)
    return front_end_drift(payload, _contract(context, stable))


def _contract(context: Context, stable: Stable) -> FeatureContract:
    path = materialise(context, stable.manifest) / "feature_contract.json"
    return FeatureContract.parse(path.read_bytes(), where=path.name)


def _rates(last: pd.DataFrame) -> tuple[dict[int, float], float]:
    """Requests by the rate of their audio (Hz), and how many were refused for theirs."""
    rates = {int(rate): float(count) for rate, count in _mix(last, "rate").items() if rate.isdecimal()}
    refused = float(last.loc[(last["name"] == "refused_rate") & (last["slice"] == "overall"), "x"].sum())
    return rates, refused


def _rates_fit_before(context: Context, family: str, stable: Stable, rates: tuple[dict[int, float], float]) -> bool:
    """Whether stable refuses rates that the bundle takes which a rollback goes to."""
    from monitoring.drift import population

    own = _contract(context, stable)
    if population.rates_check(*rates, own).same is not False:
        return False
    back = drift_rollback.target(context, family).bundle
    return back is not None and population.rates_fit(*rates, own, feature_contract(context, back))


def _mix(table: pd.DataFrame, column: str) -> dict[str, float]:
    """Requests by value of a label column."""
    prefix = f"mix:{column}="
    own = table[table["name"].str.startswith(prefix)]
    return {str(name).removeprefix(prefix): float(count) for name, count in own.groupby("name")["x"].sum().items()}


def _requests(table: pd.DataFrame, since_s: float) -> int:
    own = table[(table["name"] == "requests") & (table["slice"] == "overall") & (table["window_s"] >= since_s)]
    return int(own["x"].sum())


def _bins(table: pd.DataFrame, name: str, since_s: float, until_s: float) -> Any:
    """How many values fell into each bin of a histogram, over all of the traffic of some windows."""
    import numpy as np

    from monitoring.drift.signals import HISTOGRAMS

    own = table[(table["name"] == name) & (table["slice"] == "overall") & (table["bin"] >= 0)]
    own = own[(own["window_s"] >= since_s) & (own["window_s"] < until_s)]
    return np.bincount(own["bin"].astype(int), own["n"], len(HISTOGRAMS[name].edges) - 1)


def _coverage(table: pd.DataFrame, stable: Stable, settings: DriftSettings, until_s: float) -> PackCoverage:
    """The last week of traffic beside the packs."""
    from monitoring.drift import coverage
    from monitoring.drift.signals import HISTOGRAMS

    since_s = until_s - 7 * 24 * drift_windows.HOUR_S
    week = table[table["window_s"] >= since_s]
    unlabelled = ("none", "other", "0")
    traffic = {
        column: {value: count for value, count in _mix(week, column).items() if value not in unlabelled}
        for column in (*settings.slices, "rate")
    }
    edges = HISTOGRAMS["duration"].edges
    names = [f"{low:g}-{high:g}s" for low, high in pairwise(edges)]
    traffic["duration"] = dict(zip(names, _bins(week, "duration", since_s, until_s).tolist(), strict=True))
    packs: dict[str, dict[str, float]] = {}
    for pack in stable.packs:
        rows = pack.utterances
        places = HISTOGRAMS["duration"].places(rows["duration_s"].to_numpy(dtype=float))
        columns: dict[str, Any] = {name: rows[name] for name in (*settings.slices, "language") if name in rows.columns}
        columns |= {"rate": rows["sample_rate_hz"], "duration": [names[place] for place in places]}
        for column, values in columns.items():
            counts = packs.setdefault(column, {})
            for value in values:
                counts[str(value)] = counts.get(str(value), 0.0) + 1
    return coverage.coverage({name: counts for name, counts in traffic.items() if counts}, packs, settings)


def _quality(
    table: pd.DataFrame, stable: Stable, promoted_s: float, until_s: float, settings: DriftSettings
) -> tuple[QualityEstimate | None, str]:
    """The last window beside the reference: both of stable, since another bundle is calibrated otherwise.

    None comes with the reason.
    """
    from monitoring.drift import detection, quality

    window_s = settings.window_h * drift_windows.HOUR_S
    first_s, last_s = detection.first_window(promoted_s, window_s), until_s - window_s
    if last_s < first_s:
        return None, "no window is over since stable was promoted"
    reference_s = first_s + detection.reference_windows(settings) * window_s
    now = _bins(table, "confidence", last_s, until_s)
    before = _bins(table, "confidence", first_s, min(reference_s, last_s))
    calibrations = stable.released.calibration
    return quality.estimate(calibrations, now, before), quality.why_unknown(calibrations, now)


def _expectations(context: Context, family: str, since_s: float) -> tuple[Expectation, ...]:
    """The expectations about telemetry that its newest rows do not meet (Great Expectations)."""
    rows = drift_windows.newest_rows(context, family, since_s=since_s, most=VALIDATED_ROWS)
    if rows.empty:
        return ()
    from evalpacks.expectations import failed_expectations
    from monitoring.drift.expected import telemetry

    frame = rows.rename(columns={"request_id": "utterance_id"})
    failed = failed_expectations(frame, telemetry(family), where=f"telemetry of {family}")
    return tuple(Expectation(expectation=one.expectation, column=one.column, rows=one.rows) for one in failed)
