"""The certificate of drift detection: false alarms of 1,000 stationary weeks, delays of planted shifts, rows a second.

    python -m benchmarks.drift [--json] [--quick]

Stationary traffic (drift_traffic.py) has seasons, sessions that are alike within, days with effects of their own that
carry over to the next. 40 families are watched for 25 weeks each after a reference of four. A false alarm is each time
that a stream begins to alarm; `false_alarms_upper95` bounds their rate (Poisson, exact). Planted shifts begin a week
after the reference; the delay is counted in windows, to the end of the one that alarms on the shifted slice. PSI and KS
with fixed thresholds (drift_rules.py) see the same traffic. Rows are real Parquet segments of an hour, read, summed and
dropped in a process of its own, whose peak memory is reported.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import drift_rows, drift_rules, frame
from benchmarks.drift_traffic import DAY_S, Shift, draw
from contracts.drift import DriftSettings
from monitoring.drift import detection, windows

SETTINGS = DriftSettings(slices=("device", "language", "tenant"))
REFERENCE = detection.reference_windows(SETTINGS)
BEGINS = REFERENCE + 7
"""The day on which planted shifts begin."""
AFTER = 28
"""Days that a planted shift is looked for."""
SHIFTS = {
    "firmware_snr": Shift("snr", "device", "headset", -4.0, BEGINS),
    "firmware_clipping": Shift("clipping", "device", "headset", 0.04, BEGINS),
    "language_mix": Shift("mix", "language", "cy", 0.05, BEGINS),
    "confidence": Shift("confidence", "device", "headset", -0.06, BEGINS),
    "corrections": Shift("corrections", "tenant", "northern", 0.05, BEGINS),
    "slow_speech": Shift("duration", "language", "en", 0.4, BEGINS),
}
JUDGE = "e_detector"
RULES = (JUDGE, *drift_rules.NAMES)


class Watched(NamedTuple):
    """One family's alarms: rule -> stream -> by day."""

    streams: int
    alarms: dict[str, drift_rules.Alarms]


def table_of(seed: int, days: int, shifts: tuple[Shift, ...] = ()) -> pd.DataFrame:
    """The sums of a family's days."""
    traffic = draw(np.random.default_rng(seed), days, shifts)
    columns = SETTINGS.slices
    sums = windows.sums_of(traffic.sessions, columns, columns)
    return windows.merged([sums, windows.histograms_of(traffic.values, columns)])


def watch(table: pd.DataFrame, days: int) -> Watched:
    """What every rule says of a family, day by day."""
    own: dict[tuple[str, str], npt.NDArray[np.bool_]] = {}
    sides = [detection.streams_of(table, SETTINGS, kind, 0.0, days * DAY_S) for kind in ("input", "output")]
    number = sum(len(streams.names) for streams in sides)
    for streams in sides:
        raised = detection.alarms(streams, detection.evidence(streams, SETTINGS), detection.threshold(number, SETTINGS))
        own |= {(signal.name, piece): row for (signal, piece), row in zip(streams.names, raised, strict=True)}
    rules = drift_rules.alarms(table, REFERENCE, days, DAY_S, SETTINGS.min_sessions)
    return Watched(number, {JUDGE: own, **rules})


def false_alarms(seeds: range, weeks: int, progress: frame.Progress) -> dict[str, list[int]]:
    """Rule -> alarms that began, family by family, in `weeks` stationary weeks after the reference."""
    days = REFERENCE + 7 * weeks
    found: dict[str, list[int]] = {rule: [] for rule in RULES}
    for seed in seeds:
        seen = watch(table_of(seed, days), days)
        for rule in RULES:
            found[rule].append(sum(_begun(row[REFERENCE:]) for row in seen.alarms[rule].values()))
        progress(f"family {seed - seeds.start + 1} of {len(seeds)}: {sum(found[JUDGE])} false alarms so far")
    return found


def _begun(row: npt.NDArray[np.bool_]) -> int:
    return int((row & ~np.concatenate([[False], row[:-1]])).sum())


def delays(name: str, seeds: range) -> dict[str, list[float]]:
    """Rule -> windows until the shifted slice (or the shifted mix) alarms, family by family; infinite: not in time."""
    shift, days = SHIFTS[name], BEGINS + AFTER
    found: dict[str, list[float]] = {rule: [] for rule in RULES}
    for seed in seeds:
        seen = watch(table_of(seed, days, (shift,)), days)
        for rule in RULES:
            rows = [row for stream, row in seen.alarms[rule].items() if _is_of(shift, *stream)]
            at = [int(np.flatnonzero(row[BEGINS:])[0]) + 1 for row in rows if row[BEGINS:].any()]
            found[rule].append(min(at, default=float("inf")))
    return found


def _is_of(shift: Shift, signal: str, piece: str) -> bool:
    if shift.signal == "mix":
        return signal.startswith(f"mix:{shift.column}")
    return signal == shift.signal and piece == f"{shift.column}={shift.label}"


def rows_per_second(rows: int, days: int, progress: frame.Progress) -> tuple[float, float, int]:
    """Rows a second and peak memory (GB) of summing `rows` rows over `days` days; and how many rows it were."""
    with tempfile.TemporaryDirectory(prefix="soundcheck-drift-") as folder:
        a_day = round(1.01 * rows / days / drift_rows.MEAN_DAY)  # at least `rows`, as they come by chance
        written = drift_rows.write(
            Path(folder), "asr-commands", "b" * 64, start_s=20_000 * DAY_S, days=days, rows_a_day=a_day, seed=1
        )
        progress(f"{written:,} rows written")
        began = time.perf_counter()
        answer = subprocess.run([sys.executable, "-c", _SUM, folder], capture_output=True, text=True, check=True)
        progress(f"summed in {time.perf_counter() - began:.0f} s with start and imports")
        seconds, peak_kb = json.loads(answer.stdout)
        return written / seconds, peak_kb / 1e6, written


_SUM = """
import json, resource, sys, time
from pathlib import Path
import pandas, pyarrow.compute, pyarrow.dataset
from contracts.drift import DriftSettings
from operations import drift_windows
began = time.perf_counter()
table = drift_windows.summed(Path(sys.argv[1]), "asr-commands", DriftSettings(), since_s=0.0, until_s=1e12)
assert len(table)
print(json.dumps([time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def _measure(families: int, weeks: int, planted: int, rows: int, progress: frame.Progress) -> frame.Result:
    from scipy.stats import chi2

    false = false_alarms(range(families), weeks, progress)
    years = families * weeks * 7 / 365.25
    figures = {
        "false_alarms_per_year": frame.Figure(sum(false[JUDGE]) / years, "alarms", "lower", false[JUDGE], must=1.0),
        "false_alarms_upper95": frame.Figure(
            chi2.ppf(0.95, 2 * sum(false[JUDGE]) + 2) / 2 / years, "alarms", "lower", must=1.0
        ),
    }
    for rule in drift_rules.NAMES:
        figures[f"false_alarms_per_year_{rule}"] = frame.Figure(
            sum(false[rule]) / years, "alarms", "lower", false[rule]
        )
    waits: dict[str, list[float]] = {rule: [] for rule in RULES}
    for name in SHIFTS:
        found = delays(name, range(10_000, 10_000 + planted))
        progress(f"{name}: " + ", ".join(f"{rule} {statistics.median(found[rule]):g}" for rule in RULES))
        for rule in RULES:
            waits[rule] += found[rule]
            late = float(AFTER + 1)
            figures[f"delay_{name}_{rule}"] = frame.Figure(
                min(statistics.median(found[rule]), late), "windows", "lower"
            )
            share = sum(np.isfinite(found[rule])) / planted
            figures[f"found_{name}_{rule}"] = frame.Figure(float(share), "share", "higher")
    seen = [wait for wait in waits[JUDGE] if np.isfinite(wait)]
    figures["detection_delay_windows"] = frame.Figure(statistics.median(seen), "windows", "lower")
    speed, peak, written = rows_per_second(rows, 56, progress)
    figures["rows_per_s"] = frame.Figure(speed, "rows/s", "higher", must=170_000)
    figures["peak_memory_gb"] = frame.Figure(peak, "GB", "lower", must=2.0)
    shifts = {name: f"{one.signal} {one.add:+g} on {one.column}={one.label}" for name, one in SHIFTS.items()}
    settings = {
        "families": families,
        "weeks": weeks,
        "planted_runs": planted,
        "rows": written,
        "window_h": SETTINGS.window_h,
        "shifts": shifts,
        "late": f"a delay of {AFTER + 1} means: not within {AFTER} windows, in the median run",
    }
    return frame.Result(settings=settings, figures=figures)


def measure(progress: frame.Progress) -> frame.Result:
    """1,000 weeks, ten runs of each shift, ten million rows."""
    return _measure(40, 25, 10, 10_000_000, progress)


def quick(progress: frame.Progress) -> frame.Result:
    """The same on little data."""
    return _measure(1, 4, 1, 60_000, progress)


if __name__ == "__main__":
    frame.main(measure, quick=quick)
