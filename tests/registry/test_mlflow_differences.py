"""Comparing what MLflow shows with the ledger: pure values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.mirrored import ALIASES, FamilyView, Version, differences

FAMILY = "asr-en"
NAMES = st.text("abc", min_size=1, max_size=2)
VERSIONS = st.builds(
    Version,
    tags=st.dictionaries(NAMES, NAMES, max_size=2),
    metrics=st.dictionaries(NAMES, st.floats(allow_infinity=False), max_size=2),
    artifacts=st.dictionaries(NAMES, st.sampled_from(["a1" * 32, "a2" * 32]), max_size=2),
)
FAMILIES = st.builds(
    FamilyView,
    versions=st.dictionaries(st.integers(1, 3), VERSIONS, max_size=3),
    aliases=st.dictionaries(st.sampled_from(ALIASES), st.integers(1, 3), max_size=3),
)


def plain(view: FamilyView) -> str:
    """A view as text, in which one NaN is like another."""
    versions = {
        number: [sorted(one.tags.items()), sorted(one.metrics.items()), sorted(one.artifacts.items())]
        for number, one in sorted(view.versions.items())
    }
    return f"{versions}{sorted(view.aliases.items())}".replace("-0.0", "0.0")


@given(FAMILIES, FAMILIES)
def test_law_no_difference_means_equal(ledger: FamilyView, mlflow: FamilyView) -> None:
    assert (differences(FAMILY, ledger, mlflow) == []) == (plain(ledger) == plain(mlflow))


@given(FAMILIES, FAMILIES)
def test_law_both_directions_name_as_many_differences(ledger: FamilyView, mlflow: FamilyView) -> None:
    assert len(differences(FAMILY, ledger, mlflow)) == len(differences(FAMILY, mlflow, ledger))


@given(FAMILIES)
def test_law_a_family_does_not_differ_from_itself(view: FamilyView) -> None:
    assert differences(FAMILY, view, view) == []


def test_every_kind_of_difference_is_one_sentence() -> None:
    bundle = "b1" * 32
    ledger = FamilyView(
        versions={
            1: Version(tags={"soundcheck.bundle": bundle}, metrics={"wer": 0.25}, artifacts={"a": "11" * 32}),
            2: Version(),
        },
        aliases={"stable": 1},
    )
    mlflow = FamilyView(
        versions={
            1: Version(tags={"owner": "x" * 90}, metrics={"wer": math.nan}, artifacts={"b": "11" * 32},
                       faults=("has no run",)),
            3: Version(),
        },
        aliases={"stable": 3, "champion": 1},
    )  # fmt: skip
    assert differences(FAMILY, ledger, mlflow) == [
        "the alias 'stable' of asr-en is at version 3 (no bundle) in MLflow, "
        "at version 1 (bundle b1b1b1b1b1b1) by the ledger and the pointer",
        "version 1 of asr-en has no run",
        f"version 1 of asr-en: the tag 'owner' is '{'x' * 59}... in MLflow, not set by the ledger",
        f"version 1 of asr-en: the tag 'soundcheck.bundle' is not set in MLflow, '{bundle[:59]}... by the ledger",
        "version 1 of asr-en: the metric 'wer' is nan in MLflow, 0.25 by the ledger",
        "version 1 of asr-en: the artifact a is not in MLflow",
        "version 1 of asr-en: the artifact b is in MLflow alone",
        "version 2 of asr-en is not in MLflow",
        "version 3 of asr-en is in MLflow, but the ledger has no such release",
    ]


@pytest.mark.parametrize("mlflow", [Version(), Version(tags={"owner": "old"}, metrics={"wer": 1.0})])
def test_a_release_under_way_is_compared_when_it_has_ended(mlflow: Version) -> None:
    own = {1: Version(tags={"owner": "new"})}
    seen = FamilyView(versions={1: mlflow})
    assert differences(FAMILY, FamilyView(versions=own, under_way=frozenset({1})), seen) == []
    assert differences(FAMILY, FamilyView(versions=own), seen) != []
    gone = differences(FAMILY, FamilyView(versions=own, under_way=frozenset({1})), FamilyView())
    assert gone == ["version 1 of asr-en is not in MLflow"]
