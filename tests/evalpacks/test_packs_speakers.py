"""The pack speaker-trials: who is enrolled, who is tried, and what is crossed with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalpacks import pack, slices
from evalpacks.metrics.embedding import ENROLMENT, PROBE
from evalpacks.packs.speaker_trials import build as trials
from speech.conditions import CONDITIONS
from tests.evalpacks.fake_studio import HummingStudio


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    return pack.load(trials.build(tmp_path_factory.mktemp("packs") / "speaker-trials", studio=HummingStudio()))


def test_every_speaker_is_enrolled_twice_and_tried_under_every_condition(made: pack.Pack) -> None:
    table = made.utterances
    assert (made.name, len(table), table["speaker"].nunique()) == ("speaker-trials", 576, 96)
    enrolled, probes = (table[table["role"] == role] for role in (ENROLMENT, PROBE))
    assert set(enrolled.groupby("speaker").size()) == {trials.ENROLMENTS}
    assert set(enrolled["noise"]) == {"clean"}
    assert set(probes.groupby(["speaker", "noise"]).size()) == {1}
    assert set(probes["noise"]) == set(trials.CONDITIONS) <= set(CONDITIONS)


def test_lengths_and_conditions_are_crossed(made: pack.Pack) -> None:
    probes = made.utterances[made.utterances["role"] == PROBE]
    assert probes.groupby(["noise", "length"]).size().unique().tolist() == [32]


def test_nobody_says_a_text_twice(made: pack.Pack) -> None:
    assert not made.utterances.duplicated(["speaker", "text"]).any()


def test_protected_slices_have_their_support_in_probes_alone(made: pack.Pack) -> None:
    probes = made.utterances[made.utterances["role"] == PROBE]
    for name, mask in slices.slice_masks(probes, made.protected).items():
        assert probes[mask]["speaker"].nunique() >= made.meta.min_support["speakers"], name


def test_building_again_gives_the_same_digest(made: pack.Pack, tmp_path: Path) -> None:
    assert pack.load(trials.build(tmp_path / "again", studio=HummingStudio())).digest == made.digest
