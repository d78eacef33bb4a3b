"""Sanitized fixtures through two trained bundles: what a person who asks "is it the model?" is told, as counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.digest import Digest
from evalpacks.metrics.words import word_edits
from operations.incident import open_incident
from operations.incident_replay import replay
from speech.run import run_pack
from speech.runtimes import load
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import REPOSITORY
from tests.operations.trained_family import FIXTURES, TrainedFamily


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TrainedFamily:
    """`v1` was stable, `v2` is: both trained, each with what it says to six clips of the pack."""
    made = TrainedFamily(tmp_path_factory.mktemp("replay") / "project")
    made.release("v1")
    made.release("v2")
    return made


def said_by(family: TrainedFamily, candidate: str) -> list[str]:
    """What a candidate says to the fixtures, without a bundle."""
    folder = REPOSITORY / "candidates" / FAMILY / candidate / "payload"
    clips = family.pack.utterances.head(FIXTURES)
    return [str(text) for text in run_pack(load(folder), clips, family.pack.root)["text"]]


def test_two_trained_bundles_differ_as_their_payloads_do(family: TrainedFamily) -> None:
    old, new = said_by(family, "v1"), said_by(family, "v2")
    edits = [word_edits(one, other) for one, other in zip(old, new, strict=True)]
    found = replay(family.context, old=family.bundles["v1"], new=family.bundles["v2"])
    assert found.fixtures == FIXTURES, "both bundles hold the same clips: they are played once"
    assert (found.different, found.word_edits) == (sum(count > 0 for count in edits), sum(edits))
    assert found.different > 0
    assert found.words == sum(len(text.split()) for text in old)
    assert (found.old_declared_different, found.new_declared_different) == (0, 0)


def test_a_bundle_that_no_longer_says_what_it_declared_is_counted(family: TrainedFamily) -> None:
    first = str(family.pack.utterances["utterance_id"].iloc[0])
    strange: Digest = family.trained("v3", **{first: "nobody says this"}).bundle
    found = replay(family.context, old=family.bundles["v1"], new=strange)
    assert (found.old_declared_different, found.new_declared_different) == (0, 1)


def test_a_packet_has_the_replay_of_stable_beside_the_one_before_and_no_text_of_it(family: TrainedFamily) -> None:
    opened = open_incident(family.context, FAMILY, since_s=1800)
    assert opened.incident.replay == replay(family.context, old=family.bundles["v1"], new=family.bundles["v2"])
    written = "".join(path.read_text() for path in Path(opened.folder).iterdir())
    assert not any(text in written for text in said_by(family, "v1") + said_by(family, "v2") if len(text.split()) > 1)
