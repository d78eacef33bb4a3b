"""What changed between two packs, and whether scores on both compare."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpacks.checks.support import Support
from evalpacks.pack import Pack
from evalpacks.pack_diff import PackDiff, diff
from tests.evalpacks.evaluation_samples import META, make_pack, make_table
from tests.evalpacks.pack_folders import PLANTED, setting

TABLE = make_table(speakers=4, per_speaker=4)
BASE = make_pack(TABLE)


def changed(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table, **card: object) -> Pack:
    return make_pack(change(TABLE.copy()), **card)


@pytest.mark.parametrize(
    ("after", "comparable", "why"),
    [
        (changed(), "yes", "scores compare"),
        (changed(notes="more"), "yes", "scores compare"),
        (changed(intents={"on": "on"}), "yes", "scores compare, but not of entities, intents and the end of speech"),
        (changed(setting("speech_end_s", 1.0)), "yes",
         "scores compare, but not of entities, intents and the end of speech"),
        (changed(setting("accent", "scottish")), "overall",
         "overall scores compare, slices of these columns do not: accent"),
        (changed(setting("text", "other")), "shared",
         "scores compare only on the 15 utterances that are the same in both (of 16 and 16)"),
        (changed(setting("speaker", "other")), "shared",
         "scores compare only on the 15 utterances that are the same in both (of 16 and 16)"),
        (changed(lambda table: table.iloc[3:]), "shared",
         "scores compare only on the 13 utterances that are the same in both (of 16 and 13)"),
        (changed(lambda table: table.assign(sha256="f" * 64)), "no",
         "scores do not compare: no utterance is the same in both"),
        (changed(lambda table: table.assign(utterance_id=["x" + name for name in table["utterance_id"]])), "no",
         "scores do not compare: no utterance is the same in both"),
    ],
)  # fmt: skip
def test_scores_compare_where_the_same_was_said_in_the_same_audio(after: Pack, comparable: str, why: str) -> None:
    found = diff(BASE, after)
    assert (found.comparable, found.why) == (comparable, why)
    assert found.equal == (after.digest == BASE.digest)


def test_each_change_is_counted_and_named() -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = setting("text", table["text"][0], "other")(table)
        table = setting("sha256", "f" * 64)(table)
        table = setting("accent", "us", "us", "welsh")(table)
        return pd.concat([table.iloc[:-1], table.iloc[-1:].assign(utterance_id="z")])

    found = diff(BASE, changed(change))
    assert (found.added, found.removed) == (("z",), ("u00015",))
    assert found.changed == {"text": ("u00001",), "accent": ("u00002",), "audio": ("u00000",)}
    assert found.slices["accent=welsh"] == (Support(0, 0, 0, 0.0), Support(1, 1, 8, 1 / 30))
    assert "accent=scottish" not in found.slices
    assert "accent=scottish&noise=5db" not in found.slices


def test_protected_slices_that_came_and_went_are_named() -> None:
    found = diff(BASE, changed(protected=["accent=us", "noise=5db"]))
    assert found.protected_added == ("noise=5db",)
    assert found.protected_removed == ("accent=scottish", "accent=scottish&noise=5db")
    assert found.card == {"protected": (META["protected"], ["accent=us", "noise=5db"])}


def test_texts_are_shown_only_where_both_cards_allow_it() -> None:
    change = setting("text", PLANTED)
    allowed = diff(make_pack(TABLE, show_transcripts=True), changed(change, show_transcripts=True))
    assert allowed.texts == {"u00000": (TABLE["text"][0], PLANTED)}
    for before, after in ((True, False), (False, True), (False, False)):
        found = diff(make_pack(TABLE, show_transcripts=before), changed(change, show_transcripts=after))
        assert found.changed["text"] == ("u00000",)
        assert PLANTED not in str(found)
        assert TABLE["text"][0] not in str(found.as_json())


def nothing(found: PackDiff) -> bool:
    return not (found.added or found.removed or found.changed or found.card or found.slices)


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(["text", "speaker", "sha256", "accent", "speech_end_s", "entities", "language"]),
    st.integers(0, len(TABLE) - 1),
)
def test_law_packs_differ_where_the_difference_says_so(column: str, row: int) -> None:
    value = {"sha256": "e" * 64, "speech_end_s": 0.5}.get(column, "other")
    table = TABLE if column in TABLE.columns else TABLE.assign(**{column: None})
    values = [value if place == row else old for place, old in enumerate(table[column])]
    after = make_pack(table.assign(**{column: pd.Series(values)}))
    found = diff(make_pack(table), after)
    assert not nothing(found)
    assert not found.equal
    assert nothing(diff(after, after))
    assert diff(after, after).equal


@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(0, len(TABLE) - 1), min_size=1, unique=True))
def test_law_a_difference_backwards_is_its_mirror(kept: list[int]) -> None:
    part = changed(lambda table: table.iloc[kept])
    there, back = diff(BASE, part), diff(part, BASE)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert there.comparable == back.comparable
    assert there.slices == {name: (old, new) for name, (new, old) in back.slices.items()}
