"""Drift evaluations as pages show them: a quiet family, one whose headsets broke, one that began yesterday."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.drift import (
    Distribution,
    DriftEvaluation,
    Expectation,
    Mix,
    Moved,
    PackCoverage,
    PipelineCheck,
    Point,
    QualityEstimate,
    ReadyFile,
    ScoredAgain,
    TakeBack,
    Uncovered,
    Watch,
)
from contracts.policy import MetricName
from contracts.reports import Better, Count
from contracts.verdict import Value, Verdict

DAY_S = 86_400.0
START_S = 1_788_220_800.0
DAYS = 40
HOSTILE = "<script>alert(1)</script>\u202e"


def watch(streams: int = 82, windows: int = 12, waiting: tuple[str, ...] = ()) -> Watch:
    return Watch(
        window_h=24, reference_from_s=START_S, reference_until_s=START_S + 28 * DAY_S, until_s=START_S + DAYS * DAY_S,
        windows=windows, streams=streams, waiting=waiting, alarm_at=29_950.5, false_alarms_per_year=1.0,
    )  # fmt: skip


def moved(
    signal: str, says: str, piece: str, before: float, now: float, unit: str = "share", *, worse: bool = True
) -> Moved:
    """A signal that moved five days ago, with its windows and, for signals that have one, its distribution."""
    generator = np.random.default_rng(3)
    spread = abs(now - before) / 6
    season = [spread * (day % 7 >= 5) for day in range(DAYS)]
    series = tuple(
        Point(at_s=START_S + day * DAY_S, expected=before + season[day], value=max(
            (now if day >= DAYS - 5 else before) + season[day] + spread * float(generator.standard_normal()), 0.0))
        for day in range(DAYS)
    )  # fmt: skip
    edges = tuple(float(edge) for edge in range(-10, 65, 5))
    middle = np.array(edges[:-1]) + 2.5
    shares = [np.exp(-((middle - at) ** 2) / 60) for at in (before, now)]
    drawn = [tuple(float(share) for share in each / each.sum()) for each in shares]
    return Moved(
        signal=signal, says=says, unit=unit, slice=piece, since_s=START_S + (DAYS - 5) * DAY_S,
        alarmed_s=START_S + (DAYS - 3) * DAY_S, before=before, now=now, change=now - before,
        lower=now - before - 2 * spread, upper=now - before + 2 * spread, margin=abs(now - before) / 4, evidence=4e6,
        alarm_at=29_950.5, sessions=1_204, worse=worse, series=series,
        distribution=Distribution(edges=edges, unit="dB", reference=drawn[0], now=drawn[1]) if unit == "dB" else None,
    )  # fmt: skip


CHECKS = (
    PipelineCheck(name="scores on packs", same=True, says="commands: 8.41% as released, every count equal"),
    PipelineCheck(name="front end", same=True, says="checksum and probe are those of the feature contract"),
    PipelineCheck(name="sample rates", same=None, says="no request in the last window"),
)
PASSED = Verdict(value=Value.PASS, reasons=("commands: 8.41% as released, every count equal",))


def scored(
    metric: MetricName, before: float, now: float | None, *, piece: str = "overall", better: Better = "lower",
    of: float = 1_000,
) -> ScoredAgain:  # fmt: skip
    """A figure of the pack `commands`, rates; `now` None: not measured."""
    measured, same, change, wide = None, None, None, 0.0
    if now is not None:
        measured, same, change = Count(numerator=now * of, denominator=of), now == before, now - before
        wide = 0.0 if same else 0.02
    return ScoredAgain(
        pack="commands", metric=metric, slice=piece, better=better, measured=measured, same=same, difference=change,
        released=Count(numerator=before * of, denominator=of),
        lower=None if change is None else change - wide, upper=None if change is None else change + wide,
    )  # fmt: skip


def quiet() -> DriftEvaluation:
    return DriftEvaluation(
        family="asr-commands", bundle="b" * 64, version="v2", at="2026-10-11T04:00:07.000Z", rescored="d" * 64,
        rescored_verdict=PASSED, watch=watch(), checks=CHECKS, telemetry_rows=18_233, outcome="nothing",
        verdict=Verdict(value=Value.PASS, reasons=("no signal moved on any slice", *PASSED.reasons)),
        quality=QualityEstimate(estimate=0.914, lower=0.882, upper=0.937, unsupported=0.012, requests=18_233),
        scores=(scored("wer", 0.0841, 0.0841), scored("wer", 0.12, 0.12, piece="accent=us"),
                scored("intent_recall", 0.91, 0.91, better="higher")),
    )  # fmt: skip


def firmware() -> DriftEvaluation:
    lacking = Uncovered(column="language", value="cy", traffic_share=0.083, pack_share=0, pack_utterances=0)
    text = "a slice for language=cy: 8.3% of traffic, 0 utterances in packs, at least 30 more are needed"
    mixes = (
        Mix(column="language", traffic={"en": 0.917, "cy": 0.083}, packs={"en": 1.0}, distance=0.083),
        Mix(column="duration", traffic={f"{at}-{at + 1}s": 0.1 for at in range(10)}, packs={"1-2s": 1.0}, distance=0.9),
    )
    found = (
        moved("snr", "speech over background", "device=headset", 22.4, 14.1, "dB"),
        moved("clipping", "share of utterances with clipped samples", "device=headset", 0.021, 0.094),
        moved("confidence", "mean confidence", "device=headset", 0.887, 0.801),
        moved("mix:device=headset", "share of traffic with device headset", "overall", 0.2, 0.26, worse=False),
    )
    reasons = ("mean confidence on device=headset: 88.7% -> 80.1% (change [-11.5%, -5.7%])", f"proposed: {text}")
    return quiet().model_copy(
        update={
            "moved": found, "cause": "population", "outcome": "page", "telemetry_rows": 21_077,
            "verdict": Verdict(value=Value.FAIL, reasons=reasons),
            "coverage": PackCoverage(mixes=mixes, uncovered=(lacking,), unseen=("device", "tenant"), proposals=(text,)),
            "quality": QualityEstimate(estimate=0.871, lower=0.82, upper=0.91, change=-0.043, change_lower=-0.061,
                                       change_upper=-0.02, unsupported=0.03, requests=21_077),
            "changes": (
                ReadyFile(name="fixtures.yaml", place="the eval pack that is to have them", change="f" * 64),
                ReadyFile(name="pack.slice.yaml", place="pack.yaml of the first eval pack", change="e" * 64),
            ),
            "expectations": (Expectation(expectation="expect_column_values_to_be_between", column="clipped", rows=3),),
            "commands": ("soundcheck incident open asr-commands --since 24h", "soundcheck status asr-commands"),
        }
    )  # fmt: skip


def young() -> DriftEvaluation:
    waiting = ("who asks and how it sounds: 1 of 28 reference windows so far",)
    return quiet().model_copy(
        update={
            "watch": watch(0, 0, waiting),
            "quality": None,
            "quality_unknown": "no window is over since stable was promoted",
            "telemetry_rows": 0,
            "verdict": Verdict(value=Value.PASS, reasons=waiting),
        }
    )


def environment() -> DriftEvaluation:
    """A voice whose judge hears another background, and whose churn-like figure could not be had again."""
    check = PipelineCheck(
        name="scores on packs", same=False,
        says="commands/overall: MOS (predicted) 3.10 when released, 2.70 now (-0.40 [-0.42, -0.38]): "
        "the environment changed",
    )  # fmt: skip
    return quiet().model_copy(
        update={
            "family": "tts-en", "task": "synthesis", "cause": "pipeline", "outcome": "page", "quality": None,
            "quality_unknown": "the release has no calibration, since its model gives no confidence",
            "checks": (check, *CHECKS[1:]), "rescored_verdict": Verdict(value=Value.FAIL, reasons=(check.says,)),
            "verdict": Verdict(value=Value.FAIL, reasons=(f"scores on packs: {check.says}",)),
            "scores": (scored("cer", 0.104, 0.104), scored("cer", 0.21, 0.26, piece="domain=paragraph"),
                       scored("mos", 3.1, 2.7, better="higher", of=64), scored("speaker_similarity", 0.91, None)),
            "commands": ("soundcheck incident open tts-en --since 24h", "soundcheck status tts-en"),
        }
    )  # fmt: skip


def own_doing() -> DriftEvaluation:
    """What stable makes of traffic got worse, and traffic did not move."""
    worse = moved("corrections", "share that users corrected", "overall", 0.021, 0.094)
    checks = (*CHECKS[:2], PipelineCheck(name="sample rates", same=True, says="audio comes at rates of the contract"))
    said = "share that users corrected: 2.1% -> 9.4% (change [+4.9%, +9.7%])"
    return quiet().model_copy(
        update={
            "moved": (worse,), "cause": "bundle", "outcome": "recommend_rollback", "checks": checks,
            "verdict": Verdict(value=Value.FAIL, reasons=(said,)),
            "rollback": TakeBack(target="a" * 64, version="v1", key="drift-watch",
                                 refusals=("T1: params.yaml says rollback: recommend",)),
            "commands": ("soundcheck rollback asr-commands --key KEY --reason TEXT", "soundcheck status asr-commands"),
        }
    )  # fmt: skip


def started() -> DriftEvaluation:
    """The same where params.yaml lets drift act."""
    back = TakeBack(target="a" * 64, version="v1", key="drift-watch", refusals=())
    return own_doing().model_copy(update={"rollback": back})


def hostile() -> DriftEvaluation:
    """Names and reasons that try to become markup."""
    found = moved("snr", HOSTILE, f"device={HOSTILE}", 22.4, 14.1, "dB")
    return firmware().model_copy(
        update={"family": HOSTILE, "moved": (found,), "verdict": Verdict(value=Value.FAIL, reasons=(HOSTILE,))}
    )


EXAMPLES: dict[str, Callable[[], DriftEvaluation]] = {
    "quiet": quiet, "firmware": firmware, "young": young, "environment": environment,
    "own doing": own_doing,
    "started": started,
}  # fmt: skip
