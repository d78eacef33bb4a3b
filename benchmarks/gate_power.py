"""Error rates of the offline gates, measured: how often equal models Fail, how often a planted harm is found (U4, U8).

Boundary: simulates word errors, runs `evalpacks.statistics` on them, prints; no model, no file.
Invariants: the bounds and verdicts are the product's own; runs are seeded, so that the same number of runs gives the
same figures; the share of false Fails is judged by its upper 95% Clopper-Pearson bound, at the worst number of
speakers, never by the share itself.
Method: 20 protected slices, 5 accents in 4 noises, `speakers` of each accent, 4 utterances of 4 to 12 words of each in
each noise. A speaker has an error rate of its own and a true difference between the arms of its own; per word both
arms err, one of them or none, so that the arms disagree as `Assumptions` says. Of equal models every slice's
difference is 0 on average ("varying": over speakers; "equal": it is 0 for each, and errors are independent).
The planted harm is +3 points on one slice, at the size that `speakers_needed` plans for power 0.95. Beside it, on the
same data, stands what is commonly done: a percentile bootstrap over utterances, slice by slice.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt

from benchmarks import frame
from contracts.reports import Count
from contracts.verdict import Value
from evalpacks.metrics import WER
from evalpacks.statistics import Assumptions, Paired, Support, compare, regression_verdict, speakers_needed

RUNS = 2000
ALPHA = 0.05
MARGIN = 0.01
HARM = 0.03
PLANNED_POWER = 0.95
SPEAKERS = {"varying": (10, 20, 40, 80, 160, 320), "equal": (10, 40, 160)}

ACCENTS, NOISES, UTTERANCES = 5, 4, 4
SHORTEST, LONGEST = 4, 12
WORDS_A_SPEAKER = UTTERANCES * (SHORTEST + LONGEST) / 2
REPLICATES = 1000

ASSUMED = {
    "varying": Assumptions(rate=0.10, disagreement=0.7, speaker_sd=0.05),
    "equal": Assumptions(rate=0.10, disagreement=1.0, speaker_sd=0.0),
}

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Errors(NamedTuple):
    """Word errors of one simulated pack, each of shape (accents, speakers, noises, utterances)."""

    candidate: Integers
    stable: Integers
    words: Integers


class Found(NamedTuple):
    """Of each slice, whether it Fails: by the product's gate, and by the plain bootstrap; shape (accents, noises)."""

    gate: npt.NDArray[np.bool_]
    plain: npt.NDArray[np.bool_]


def draw(generator: np.random.Generator, speakers: int, harm: float, assumptions: Assumptions) -> Errors:
    """Word errors of two arms that are equally good, but for `harm` (a fraction of words) on the first slice."""
    shape = (ACCENTS, speakers, NOISES, UTTERANCES)
    words = generator.integers(SHORTEST, LONGEST + 1, size=shape)
    rate = generator.beta(80 * assumptions.rate, 80 * (1 - assumptions.rate), size=(ACCENTS, speakers, 1, 1))
    difference = np.clip(generator.normal(0, assumptions.speaker_sd, size=rate.shape), -2 * rate, 2 * rate)
    stable = np.broadcast_to(rate - difference / 2, shape)
    candidate = np.array(np.broadcast_to(rate + difference / 2, shape))
    candidate[0, :, 0] += harm
    both = np.minimum(rate * (1 - assumptions.disagreement * (1 - assumptions.rate)), np.minimum(stable, candidate))
    in_both = generator.binomial(words, both)
    rest = words - in_both
    in_stable = generator.binomial(rest, (stable - both) / (1 - both))
    in_candidate = generator.binomial(rest - in_stable, (candidate - both) / (1 - stable))
    return Errors(in_both + in_candidate, in_both + in_stable, words)


def gate_fails(errors: Errors) -> npt.NDArray[np.bool_]:
    """Which slices Fail by the product's own bounds and verdicts, shape (accents, noises)."""
    accent, speaker, noise, _ = np.indices(errors.words.shape, sparse=False)
    speakers = (accent * errors.words.shape[1] + speaker).ravel()
    slices = [(one, other) for one in range(ACCENTS) for other in range(NOISES)]
    pairs = [
        Paired(
            population="simulated",
            candidate=errors.candidate.ravel(),
            stable=errors.stable.ravel(),
            denominator=errors.words.ravel(),
            mask=((accent == one) & (noise == other)).ravel(),
            speakers=speakers,
        )
        for one, other in slices
    ]
    intervals = compare(pairs, alpha=ALPHA, replicates=REPLICATES, seed=7)
    fails = []
    for (one, other), interval in zip(slices, intervals, strict=True):
        candidate, stable, words = (float(counts[one, :, other].sum()) for counts in errors)
        verdict = regression_verdict(
            "simulated",
            WER,
            Count(numerator=candidate, denominator=words),
            Count(numerator=stable, denominator=words),
            interval,
            speakers=interval.speakers,
            margin=MARGIN,
            support=Support(speakers=0, denominator=1),
        )
        fails.append(verdict.value == Value.FAIL)
    return np.reshape(fails, (ACCENTS, NOISES))


def plain_fails(errors: Errors, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which slices a percentile bootstrap over utterances, one slice at a time, calls worse; (accents, noises)."""
    by_slice = [np.moveaxis(counts, 2, 1).reshape(ACCENTS * NOISES, -1).T for counts in errors]
    harm, words = (by_slice[0] - by_slice[1]).astype(np.float64), by_slice[2].astype(np.float64)
    utterances = len(words)
    drawn = generator.integers(utterances, size=(REPLICATES, utterances)) + utterances * np.arange(REPLICATES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
    lower = np.quantile((counts @ harm) / (counts @ words), ALPHA / 2, axis=0)
    worse = (lower > 0) & (harm.sum(axis=0) / words.sum(axis=0) > MARGIN)
    return np.reshape(worse, (ACCENTS, NOISES))


def simulate(runs: int, speakers: int, harm: float, assumptions: Assumptions) -> Found:
    """Which slices Fail in each run, of shape (runs, accents, noises)."""
    gate, plain = [], []
    for run in range(runs):
        generator = np.random.default_rng([run, speakers, round(1000 * harm), round(1000 * assumptions.speaker_sd)])
        errors = draw(generator, speakers, harm, assumptions)
        gate.append(gate_fails(errors))
        plain.append(plain_fails(errors, generator))
    return Found(np.array(gate), np.array(plain))


def any_slice(fails: npt.NDArray[np.bool_]) -> float:
    """The share of runs in which any slice Fails."""
    return float(fails.any(axis=(1, 2)).mean())


def upper95(share: float, runs: int) -> float:
    """The one-sided 95% Clopper-Pearson upper bound of a share.

    >>> round(upper95(0.0, 2000), 4)
    0.0015
    """
    from scipy.special import betaincinv

    events = round(share * runs)
    return 1.0 if events == runs else float(betaincinv(events + 1, runs - events, 0.95))


def certificate(runs: int, progress: frame.Progress) -> frame.Result:
    """All figures, from `runs` simulated packs each."""
    planned_for = ASSUMED["varying"]
    planned = speakers_needed(
        effect=HARM,
        units_per_speaker=WORDS_A_SPEAKER,
        comparisons=ACCENTS * NOISES,
        alpha=ALPHA,
        power=PLANNED_POWER,
        margin=MARGIN,
        assumptions=planned_for,
    )
    figures: dict[str, frame.Figure] = {}
    worst = 0.0
    for name, assumptions in ASSUMED.items():
        for speakers in SPEAKERS[name]:
            found = simulate(runs, speakers, 0.0, assumptions)
            gate, plain = any_slice(found.gate), any_slice(found.plain)
            worst = max(worst, upper95(gate, runs))
            figures[f"aa_false_fail_{name}_{speakers}"] = frame.Figure(gate, "share", "lower")
            figures[f"plain_bootstrap_aa_false_fail_{name}_{speakers}"] = frame.Figure(plain, "share", "lower")
            progress(f"equal models ({name}), {speakers} speakers a slice: false Fail {gate:.2%}, plain {plain:.2%}")
    harmed = simulate(runs, planned, HARM, planned_for)
    power, plain_power = (float(fails[:, 0, 0].mean()) for fails in harmed)
    progress(f"+{HARM:.0%} on one slice, {planned} speakers a slice: found {power:.2%}, plain {plain_power:.2%}")
    plain_worst = max(figure.value for name, figure in figures.items() if name.startswith("plain_bootstrap"))
    headline = {
        "aa_false_fail_upper95": frame.Figure(worst, "share", "lower", must=ALPHA),
        "power_at_mde": frame.Figure(power, "share", "higher", must=0.9),
        "plain_bootstrap_aa_false_fail": frame.Figure(plain_worst, "share", "lower"),
        "plain_bootstrap_power": frame.Figure(plain_power, "share", "higher"),
        "planned_speakers": frame.Figure(planned, "speakers", "lower"),
    }
    settings = {
        "runs": runs,
        "slices": ACCENTS * NOISES,
        "words_a_speaker_and_slice": WORDS_A_SPEAKER,
        "alpha": ALPHA,
        "margin": MARGIN,
        "harm": HARM,
        "planned_power": PLANNED_POWER,
        "replicates": REPLICATES,
        "assumptions": {name: asdict(assumptions) for name, assumptions in ASSUMED.items()},
    }
    return frame.Result(settings=settings, figures=headline | figures)


def measure(progress: frame.Progress) -> frame.Result:
    """The certificate at its full number of runs."""
    return certificate(RUNS, progress)


@click.command()
@click.option("--runs", type=click.IntRange(min=1), default=RUNS, show_default=True, help="Simulated packs a figure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(runs: int, as_json: bool) -> None:
    """Benchmark gate_power: figures to stdout, progress to stderr."""
    name = frame.name_of(measure)
    result = certificate(runs, lambda text: click.echo(f"{name}: {text}", err=True))
    click.echo(json.dumps(frame.document(name, result)) if as_json else frame.table(name, result))


if __name__ == "__main__":
    main()
