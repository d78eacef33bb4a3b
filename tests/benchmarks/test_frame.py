"""The frame of the benchmarks: the form of benchmarks.md, medians, turns, and bars that are shown."""

from __future__ import annotations

import json

import pytest

from benchmarks import frame
from benchmarks.__main__ import names
from benchmarks.frame import Figure, Progress, Result


def measure(progress: Progress) -> Result:
    progress("measuring")
    return Result(
        settings={"pairs": 3},
        figures={
            "speedup": frame.ratio([10.0, 30.0, 20.0], [1.0, 1.0, 1.0], better="higher", must=20),
            "peak": Figure(2000.0, "B", "lower", must=1500),
            "note": Figure(0.5, "s", "lower"),
        },
    )


def test_json_has_the_keys_of_the_design(capsys: pytest.CaptureFixture[str]) -> None:
    frame.main(measure, ["--json"])
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.out.count("\n") == 1
    assert set(result) == {"benchmark", "machine", "settings", "figures"}
    assert result["benchmark"] == "test_frame"
    assert result["settings"] == {"pairs": 3}
    assert result["figures"]["speedup"] == {
        "value": 20.0,
        "unit": "ratio",
        "better": "higher",
        "runs": [10.0, 30.0, 20.0],
    }
    assert all(set(figure) == {"value", "unit", "better", "runs"} for figure in result["figures"].values())
    assert {"processor", "cores", "memory_gib", "system", "python", "libraries"} == set(result["machine"])
    assert printed.err == "test_frame: measuring\n"


def test_the_table_says_what_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    frame.main(measure, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "test_frame",
        "  speedup            20 ratio       must be >= 20: yes",
        "  peak             2000 B           must be <= 1500: NO",
        "  note              0.5 s",
        "  pairs: 3",
    ]


def test_arms_run_in_turns_and_warm_up_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # the heap of a test run is large
    calls: list[str] = []
    seconds = frame.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=5, warm_up=1)
    assert calls == ["a", "b"] * 6
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 5, "b": 5}


def test_too_few_runs_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="4 runs; a median needs at least 5"):
        frame.interleaved({}, runs=4)


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure(1.0, "s", "lower", must=1.0), True),
        (Figure(1.1, "s", "lower", must=1.0), False),
        (Figure(1.0, "s", "higher", must=1.0), True),
        (Figure(0.9, "s", "higher", must=1.0), False),
        (Figure(0.9, "s", "higher"), None),
    ],
)
def test_a_figure_reaches_what_it_must(figure: Figure, reached: bool | None) -> None:
    assert figure.reached is reached


def test_the_frame_itself_is_no_benchmark() -> None:
    assert not {"frame", "__main__"} & set(names())
