"""Error rates of the canary judge, measured: how often an equal canary is stopped, how soon a harmful one (U6 to U8).

Boundary: simulates canaries, runs three rules on them, prints; no file. `--quick` takes a twentieth of the runs.
Invariants: the evidence and the stop rule are the product's own (monitoring.evidence, monitoring.canary); runs are
seeded, so that the same number of runs gives the same figures; every rule sees the same runs; a share of false stops is
judged by its upper 95% Clopper-Pearson bound, never by itself.
Method: 20 slices and the whole x 4 metrics, 40,000 sessions in an hour (benchmarks.canary_traffic). The judge looks
after every session; the peers (benchmarks.canary_rules) at six looks. A planted harm is found when a rule stops on its
slice or on the whole. Sessions to a stop are those of the harmed slice, both arms; a run without a stop counts as all
of them. `at_margin` is a harm of exactly the margin, which must not be stopped either. `sticky_users` is a stress: half
of all sessions are one more of the user before them in the same arm, so that sessions of an arm are not independent.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import click
import numpy as np

from benchmarks import frame
from benchmarks.canary_rules import ALPHA, MIN_SESSIONS, OVERALL, Stop, fixed_thresholds, mann_whitney, product
from benchmarks.canary_traffic import METRICS, MINUTES, SESSIONS, SLICES, Harm, draw
from benchmarks.gate_power import upper95

RUNS = 2_000
POWER_RUNS = 300
"""For each metric and size of harm."""
STRESS_RUNS = 500
STICKY = 0.5
RULES = ("judge", "fixed_thresholds", "mann_whitney")


class Run(NamedTuple):
    """What one canary came to: the stop of each of RULES, sessions of the first slice until then, what was settled."""

    stops: tuple[Stop, ...]
    sessions: tuple[int, ...]
    promoted: bool
    settled: float


class Work(NamedTuple):
    """One canary to simulate."""

    seed: int
    harm: Harm | None = None
    sticky: float = 0.0


def one(work: Work) -> Run:
    """Draw a canary and let the rules judge it."""
    kind = 0 if work.harm is None else 1 + list(METRICS).index(work.harm.metric)
    times = 0 if work.harm is None else round(work.harm.times)
    canary = draw(
        np.random.default_rng([work.seed, kind, times, round(100 * work.sticky)]), work.harm, sticky=work.sticky
    )
    judged = product(canary)
    stops = (judged.stop, fixed_thresholds(canary), mann_whitney(canary))
    sessions = tuple(int((canary.closed_s[0] <= stop.at_s).sum()) for stop in stops)
    promoted = judged.settled_s < math.inf and judged.settled_s < judged.stop.at_s
    return Run(stops, sessions, promoted, judged.settled)


def simulate(runs: int, harm: Harm | None = None, *, sticky: float = 0.0) -> list[Run]:
    """So many canaries, on all processors that may be used."""
    work = [Work(seed, harm, sticky) for seed in range(runs)]
    cores = len(os.sched_getaffinity(0))
    if cores == 1 or runs < cores * 4:
        return [one(each) for each in work]
    with ProcessPoolExecutor(cores) as pool:
        return list(pool.map(one, work, chunksize=4))


def stopped(runs: Iterable[Run], rule: str) -> float:
    """The share of runs that the rule stopped."""
    return float(np.mean([math.isfinite(run.stops[RULES.index(rule)].at_s) for run in runs]))


def found(runs: Iterable[Run], rule: str) -> float:
    """The share of runs that the rule stopped on the harmed slice, or on the whole."""
    return float(np.mean([run.stops[RULES.index(rule)].slice in {0, OVERALL} for run in runs]))


def median_sessions(runs: Iterable[Run], rule: str) -> float:
    """Sessions of the harmed slice until the stop."""
    return float(np.median([run.sessions[RULES.index(rule)] for run in runs]))


def equal_arms(runs: int, stress_runs: int, progress: frame.Progress) -> dict[str, frame.Figure]:
    """False stops and promotions where nothing is wrong."""
    same = simulate(runs)
    sticky = simulate(stress_runs, sticky=STICKY)
    margins = [run for name in METRICS for run in simulate(max(stress_runs // 4, 1), Harm(name, 1))]
    false = {rule: stopped(same, rule) for rule in RULES}
    progress(f"equal arms, {runs} runs: stopped " + ", ".join(f"{rule} {share:.2%}" for rule, share in false.items()))
    return {
        "aa_false_stop_upper95": frame.Figure(upper95(false["judge"], runs), "share", "lower", must=ALPHA),
        "aa_promote_rate": frame.Figure(float(np.mean([run.promoted for run in same])), "share", "higher"),
        "aa_settled_pairs": frame.Figure(float(np.mean([run.settled for run in same])), "share", "higher"),
        "aa_false_stop": frame.Figure(false["judge"], "share", "lower"),
        "fixed_thresholds_aa_false_stop": frame.Figure(false["fixed_thresholds"], "share", "lower"),
        "mann_whitney_aa_false_stop": frame.Figure(false["mann_whitney"], "share", "lower"),
        "at_margin_false_stop_upper95": frame.Figure(
            upper95(stopped(margins, "judge"), len(margins)), "share", "lower"
        ),
        "sticky_users_false_stop_upper95": frame.Figure(
            upper95(stopped(sticky, "judge"), stress_runs), "share", "lower"
        ),
        "mann_whitney_sticky_users_false_stop": frame.Figure(stopped(sticky, "mann_whitney"), "share", "lower"),
    }


def planted(runs: int, progress: frame.Progress) -> dict[str, frame.Figure]:
    """How often and how soon a harm of twice and of four times its margin is found, by rule and metric."""
    figures: dict[str, frame.Figure] = {}
    lowest: dict[int, float] = {}
    for times in (4, 2):
        for name in METRICS:
            harmed = simulate(runs, Harm(name, times))
            for rule in RULES:
                ours = "" if rule == "judge" else f"{rule}_"
                power, median = found(harmed, rule), median_sessions(harmed, rule)
                figures[f"{ours}power_{times}x_{name}"] = frame.Figure(power, "share", "higher")
                figures[f"{ours}median_sessions_to_stop_{times}x_{name}"] = frame.Figure(median, "sessions", "lower")
                progress(f"{name}, {times} margins: {rule} finds {power:.0%}, after {median:.0f} sessions of the slice")
            lowest[times] = min(lowest.get(times, 1.0), figures[f"power_{times}x_{name}"].value)
    return {
        "power_4x": frame.Figure(lowest[4], "share", "higher", must=0.9),
        "power_2x": frame.Figure(lowest[2], "share", "higher"),
        "median_sessions_to_stop_4x": figures["median_sessions_to_stop_4x_wer"],
        **figures,
    }


def certificate(scale: float, progress: frame.Progress) -> frame.Result:
    """All figures, of `scale` times the runs that a certificate takes."""
    runs, power_runs, stress_runs = (max(round(scale * count), 4) for count in (RUNS, POWER_RUNS, STRESS_RUNS))
    equal = equal_arms(runs, stress_runs, progress)
    harmed = planted(power_runs, progress)
    settings = {
        "runs": runs,
        "power_runs": power_runs,
        "stress_runs": stress_runs,
        "slices": SLICES,
        "sessions_an_arm_and_slice": SESSIONS,
        "minutes": MINUTES,
        "alpha": ALPHA,
        "min_sessions": MIN_SESSIONS,
        "margins": {name: metric.margin for name, metric in METRICS.items()},
        "sticky": STICKY,
        "peers_look_at_minutes": "10, 20, 30, 40, 50, 60",
    }
    return frame.Result(settings=settings, figures=equal | harmed)


def measure(progress: frame.Progress) -> frame.Result:
    """The certificate at its full number of runs."""
    return certificate(1.0, progress)


@click.command()
@click.option("--quick", is_flag=True, help="A twentieth of the runs: whether it works, not what it is worth.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(quick: bool, as_json: bool) -> None:
    """Benchmark canary_power: figures to stdout, progress to stderr."""
    name = frame.name_of(measure)
    result = certificate(0.05 if quick else 1.0, lambda text: click.echo(f"{name}: {text}", err=True))
    click.echo(json.dumps(frame.document(name, result)) if as_json else frame.table(name, result))


if __name__ == "__main__":
    main()
