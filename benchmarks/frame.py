"""What every benchmark shares: how runs are timed, and the one form in which figures are printed (benchmarks.md).

A benchmark is a module `benchmarks/NAME.py` with a function `measure(progress) -> Result` and, as its last lines,

    if __name__ == "__main__":
        frame.main(measure)

so that `python -m benchmarks.NAME [--json]` prints it and `python -m benchmarks` finds it. Inside `measure`:

    seconds = frame.interleaved({"ours": ours, "peer": peer}, runs=5)       # {"ours": [s, ...], "peer": [s, ...]}
    return frame.Result(
        settings={"pairs": 100_000},                                        # what was measured, and how
        figures={"speedup": frame.ratio(seconds["peer"], seconds["ours"], better="higher", must=20)},
    )

`frame.median_of(runs, unit, better, must)` is a figure of repeated measurements, `frame.Figure(...)` one of any other
kind; `progress("text")` goes to stderr.

Boundary: times callables, reads the machine's description, prints; knows no benchmark.
Invariants: JSON has exactly the keys of benchmarks.md; the value of repeated measurements is their median; peers run
in turns, so that a slow minute of the machine falls on both; what the garbage collector does is part of what is timed
(it is collected between runs, outside the clock). `must` is what a figure must reach; it is shown in the table only.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeAlias

import click

Better: TypeAlias = Literal["higher", "lower"]
Progress: TypeAlias = Callable[[str], None]

MIN_RUNS = 5
"""Fewer repetitions have no median worth the name."""

_LIBRARIES = ("numpy", "pandas", "pyarrow", "numba", "jiwer", "torch", "prefect")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, the runs it comes from, and what it must reach (shown, not part of the JSON)."""

    value: float
    unit: str
    better: Better
    runs: Sequence[float] = ()
    must: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the figure is what it must be; None where nothing is asked."""
        if self.must is None:
            return None
        return self.value >= self.must if self.better == "higher" else self.value <= self.must


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark measured: its settings (JSON values) and its figures by name."""

    settings: Mapping[str, Any]
    figures: Mapping[str, Figure]


Measure: TypeAlias = Callable[[Progress], Result]


def interleaved(
    arms: Mapping[str, Callable[[], object]],
    *,
    runs: int = MIN_RUNS,
    warm_up: int = 1,
    progress: Progress | None = None,
) -> dict[str, list[float]]:
    """Wall seconds of each arm in each run, the arms in turns; `warm_up` rounds go before the clock."""
    if runs < MIN_RUNS:
        raise ValueError(f"{runs} runs; a median needs at least {MIN_RUNS}")
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(warm_up + runs):
        for name, arm in arms.items():
            taken = seconds_of(arm)
            if turn >= warm_up:
                seconds[name].append(taken)
        if progress is not None:
            done = " ".join(f"{name} {taken[-1]:.3f} s" for name, taken in seconds.items() if taken)
            progress(f"run {turn - warm_up + 1} of {runs}: {done}" if turn >= warm_up else "warm")
    return seconds


def seconds_of(action: Callable[[], object]) -> float:
    """Wall seconds of one call; what it returns is dropped outside the clock."""
    gc.collect()
    start = time.perf_counter()
    kept = action()
    taken = time.perf_counter() - start
    del kept
    return taken


def median_of(runs: Iterable[float], unit: str, better: Better, must: float | None = None) -> Figure:
    """The figure of repeated measurements: their median."""
    kept = [float(run) for run in runs]
    return Figure(statistics.median(kept), unit, better, kept, must)


def ratio(over: Sequence[float], under: Sequence[float], *, better: Better, must: float | None = None) -> Figure:
    """The median of the ratios of runs that stood beside each other."""
    return median_of((a / b for a, b in zip(over, under, strict=True)), "ratio", better, must)


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory, Python and libraries: what a figure depends on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name)) is not None},
    }


def document(name: str, result: Result) -> dict[str, Any]:
    """The JSON object of benchmarks.md."""
    figures = {
        key: {"value": figure.value, "unit": figure.unit, "better": figure.better, "runs": list(figure.runs)}
        for key, figure in result.figures.items()
    }
    return {"benchmark": name, "machine": machine(), "settings": dict(result.settings), "figures": figures}


def table(name: str, result: Result) -> str:
    """The figures as people read them, with what each must reach."""
    lines = [name]
    width = max((len(key) for key in result.figures), default=0)
    for key, figure in result.figures.items():
        sign = ">=" if figure.better == "higher" else "<="
        asked = "" if figure.must is None else f"  must be {sign} {figure.must:g}: {'yes' if figure.reached else 'NO'}"
        lines.append(f"  {key:<{width}}  {figure.value:>12.4g} {figure.unit:<10}{asked}".rstrip())
    lines += [f"  {key}: {value}" for key, value in result.settings.items()]
    return "\n".join(lines)


def main(measure: Measure, arguments: Sequence[str] | None = None, *, quick: Measure | None = None) -> None:
    """The command line of one benchmark; `quick` is the same on little data."""
    name = name_of(measure)

    @click.command(help=f"Benchmark {name}: figures to stdout, progress to stderr.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
    @click.option("--quick", "is_quick", is_flag=True, help="Little data: shows that it runs.", hidden=quick is None)
    def command(as_json: bool, is_quick: bool) -> None:
        chosen = quick if is_quick and quick is not None else measure
        result = chosen(lambda text: click.echo(f"{name}: {text}", err=True))
        click.echo(json.dumps(document(name, result)) if as_json else table(name, result))

    command(args=arguments, standalone_mode=arguments is None)


def name_of(measure: Measure) -> str:
    """NAME of `benchmarks/NAME.py`, also where that module is run as the main one."""
    return os.path.basename(measure.__code__.co_filename).removesuffix(".py")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
