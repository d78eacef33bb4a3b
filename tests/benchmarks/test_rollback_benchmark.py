"""The rollback benchmark on the tests' engine: its figures, and what it calls mixed."""

from __future__ import annotations

from benchmarks import rollback
from benchmarks.rollback import Seen, mixed

FIGURES = {"switch_p50_s", "switch_p99_s", "failed_requests", "mixed_requests"}


def test_rollbacks_under_load_fail_nobody_and_mix_nothing() -> None:
    result = rollback.quick(lambda _text: None)
    figures = result.figures
    assert set(figures) >= FIGURES
    assert (figures["failed_requests"].value, figures["mixed_requests"].value) == (0, 0)
    assert figures["streams_over_a_switch"].value > 0
    assert len(figures["switch_p50_s"].runs) == 4
    assert 0 < figures["switch_p50_s"].value <= figures["switch_p99_s"].value
    assert result.settings["proved_by"] == {"warm workers": 4}


def test_mixed_requests_are_those_that_name_two_bundles_or_not_their_version_s() -> None:
    old, new = frozenset({"a"}), frozenset({"b"})
    seen = [Seen(0, 1, old, 1), Seen(0, 1, old, 1), Seen(0, 1, new, 2)]
    assert mixed(seen) == 0
    assert mixed([*seen, Seen(0, 1, new, 1)]) == 1
    assert mixed([*seen, Seen(0, 1, old | new, 2)]) == 1
    assert mixed([*seen, Seen(0, 1, new, 1, failed="ApiFailure")]) == 0
