"""Slice names and masks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.metrics.words import edit_counts
from evalpacks.slices import parse, slice_masks, slice_names, slice_sums

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


def test_only_texts_are_labels() -> None:
    table = pd.DataFrame({"snr": ["5db", 5, None, float("nan"), "5db"]}, dtype=object)
    assert slice_names(table, ["snr"]) == ["snr=5db"]
    masks = slice_masks(table, ["snr=5db", "snr=5", "snr=nan"])
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"snr=5db": 2, "snr=5": 0, "snr=nan": 0}


def test_an_empty_table_has_no_slices_and_empty_sums() -> None:
    empty = TABLE.iloc[:0]
    assert slice_names(empty, ["accent", "accent&noise"]) == []
    masks = slice_masks(empty, ["overall", "accent=us"])
    assert slice_sums(masks, edit_counts([], [])) == {"overall": [0, 0, 0, 0], "accent=us": [0, 0, 0, 0]}


@given(data=st.data(), size=st.integers(0, 40))
def test_sums_are_those_of_the_utterances_in_the_slice(data: st.DataObject, size: int) -> None:
    def column(element: st.SearchStrategy[int]) -> list[int]:
        return data.draw(st.lists(element, min_size=size, max_size=size))

    counts = [np.array(column(st.integers(0, 2**40)), dtype=np.int64) for _ in range(3)]
    mask = np.array(column(st.integers(0, 1)), dtype=np.bool_)
    expected = [sum(int(count) for count in values[mask]) for values in counts]
    assert slice_sums({"some": mask}, counts) == {"some": expected}


@given(labels=st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=30), data=st.data())
def test_counts_add_up_over_slices(labels: list[str], data: st.DataObject) -> None:
    table = pd.DataFrame({"accent": labels})
    texts = st.lists(st.sampled_from(["a", "b", "a b", ""]), min_size=len(labels), max_size=len(labels))
    edits = edit_counts(data.draw(texts), data.draw(texts))
    masks = slice_masks(table, slice_names(table, ["accent"]))
    for values in edits:
        assert sum(int(values[mask].sum()) for mask in masks.values()) == int(values.sum())
