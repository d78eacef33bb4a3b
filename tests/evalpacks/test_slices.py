"""Slice names and masks."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.metrics.words import edit_counts
from evalpacks.slices import parse, slice_masks, slice_names

TABLE = pd.DataFrame(
    {
        "accent": ["us", "us", "scottish", "scottish"],
        "noise": ["clean", "5db", "clean", None],
        "text": ["a", "b", "c", "d"],
    }
)


def test_masks_by_name() -> None:
    names = ["overall", "accent=us", "accent=scottish&noise=clean", "accent=welsh"]
    masks = {name: mask.tolist() for name, mask in slice_masks(TABLE, names).items()}
    assert masks == {
        "overall": [True, True, True, True],
        "accent=us": [True, True, False, False],
        "accent=scottish&noise=clean": [False, False, True, False],
        "accent=welsh": [False, False, False, False],
    }


def test_every_value_and_every_combination_that_occurs_is_a_slice() -> None:
    assert slice_names(TABLE, ["accent", "accent&noise"]) == [
        "accent=scottish",
        "accent=us",
        "accent=scottish&noise=clean",
        "accent=us&noise=5db",
        "accent=us&noise=clean",
    ]


@pytest.mark.parametrize("name", ["accent", "accent=", "=us", "accent=us&", "accent=us&accent=us", ""])
def test_malformed_names_are_wrong_calls(name: str) -> None:
    with pytest.raises(WrongCall, match="a slice name is malformed"):
        parse(name)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(WrongCall) as error:
        slice_masks(TABLE, ["device=phone"])
    assert str(error.value) == (
        "a slice names a column that is not there\n  got: 'device'\n  expected: one of accent, noise, text"
    )


@given(labels=st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=30), data=st.data())
def test_counts_add_up_over_slices(labels: list[str], data: st.DataObject) -> None:
    table = pd.DataFrame({"accent": labels})
    texts = st.lists(st.sampled_from(["a", "b", "a b", ""]), min_size=len(labels), max_size=len(labels))
    edits = edit_counts(data.draw(texts), data.draw(texts))
    masks = slice_masks(table, slice_names(table, ["accent"]))
    for values in edits:
        assert sum(int(values[mask].sum()) for mask in masks.values()) == int(values.sum())
