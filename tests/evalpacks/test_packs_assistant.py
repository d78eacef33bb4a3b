"""The pack assistant-questions: its facts stand in the documents, and its plan keeps what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from evalpacks import pack
from evalpacks.metrics.dialogue import holds
from evalpacks.packs.assistant_questions import build as questions
from speech.assistant.make import read_tenants
from speech.corpus import ACCENTS, TEST_VARIANTS
from tests.evalpacks.fake_studio import HummingStudio


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    studio = HummingStudio()
    studio.variants = TEST_VARIANTS
    return pack.load(questions.build(tmp_path_factory.mktemp("packs") / "assistant-questions", studio=studio))


def test_every_fact_stands_in_the_documents_that_are_to_be_cited() -> None:
    texts = {tenant.tenant: {one.id: one.text for one in tenant.documents} for tenant in read_tenants()}
    listed = questions.questions()
    assert {one.tenant for one in listed} == set(texts)
    for one in listed:
        said = " ".join(texts[one.tenant][name] for name in one.cites)
        assert all(holds(said, fact) for fact in one.answer), one.text
        assert bool(one.answer) == bool(one.cites)


def test_the_pack_is_what_its_card_says(built: pack.Pack) -> None:
    table = built.utterances
    assert table["speaker"].nunique() == len(questions.VARIANTS) * len(ACCENTS) == 72
    assert len(table) == 72 * questions.QUESTIONS_A_SPEAKER
    assert (table["noise"].value_counts() == pd.Series({"clean": 144, "mulaw-8khz": 72, "babble": 72})).all()
    assert (table["interrupts"] != "").sum() == len(table) // questions.INTERRUPTS_EVERY
    support = table.groupby("answerable")["speaker"].nunique()
    assert support.min() >= 40  # params.yaml asks for 30


def test_an_utterance_speaks_over_the_reply_to_another_question_of_its_tenant(built: pack.Pack) -> None:
    table = built.utterances.set_index("path")
    for row in built.utterances.loc[built.utterances["interrupts"] != ""].to_dict("records"):
        other = table.loc[row["interrupts"]]
        assert other["tenant"] == row["tenant"]
        assert other["text"] != row["text"]
        assert json.loads(other["answer"])


def test_every_question_is_asked_equally_often(built: pack.Pack) -> None:
    asked = built.utterances["text"].value_counts()
    assert len(asked) == len(questions.questions())
    assert asked.max() - asked.min() <= 1


def test_the_plan_follows_from_its_seed(built: pack.Pack, tmp_path: Path) -> None:
    studio = HummingStudio()
    studio.variants = TEST_VARIANTS
    assert pack.load(questions.build(tmp_path / "again", studio=studio)).digest == built.digest
