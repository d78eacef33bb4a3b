"""Numbers, names and times as text."""

from __future__ import annotations

import pytest

from pages import figures


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("overall", "overall"),
        ("accent=scottish&noise=5db", "scottish x 5 dB"),
        ("length=1-2", "length 1-2"),
        ("codec=g722", "codec g722"),
        ("rate=16khz", "16 kHz"),
        ("digits=yes", "digits yes"),
        ("noise=-5db", "-5 dB"),
    ],
)
def test_slice_names(name: str, said: str) -> None:
    assert figures.slice_name(name) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0.42, "0.42 s"), (12.34, "12.3 s"), (59.96, "1 min 00 s"), (252, "4 min 12 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert figures.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (47_300_000, "47.3 MB"), (25 * 10**8, "2.5 GB")],
)
def test_sizes(count: int, said: str) -> None:
    assert figures.size(count) == said


def test_times_are_utc() -> None:
    assert figures.moment("2026-11-20T15:02:31+01:00") == "2026-11-20 14:02:31 UTC"
    assert figures.clock("2026-11-20T14:02:31Z") == "14:02:31 UTC"
    assert figures.moment("some day\x1b[1m") == "some day?[1m"


def test_rates_and_differences() -> None:
    wer = figures.scale("wer")
    assert (wer.value(0.0841), wer.value(None)) == ("8.4%", "none")
    assert (wer.difference(-0.0231), wer.difference(0.0004), wer.difference(-0.0004)) == ("-2.3", "0.0", "0.0")
    assert wer.interval(None, 0.01) == "[.., +1.0]"
    assert wer.interval(None, None) == ""
    assert figures.scale("something_new").value(3.41) == "3.410"


def test_typographic_signs_leave_options_and_ranges_alone() -> None:
    assert figures.typographic("-2.3 [-3.1, -1.5]") == "\u22122.3 [\u22123.1, \u22121.5]"
    assert figures.typographic("--key KEY, length 1-2, 2026-11-20") == "--key KEY, length 1-2, 2026-11-20"
    assert figures.typographic("8.4% -> 6.1%") == "8.4% \u2192 6.1%"
