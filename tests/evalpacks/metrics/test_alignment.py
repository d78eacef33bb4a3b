"""Alignments with their path: the counts of U3, and a path that is fixed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpacks.metrics.alignment import Column, align
from evalpacks.metrics.words import edit_counts

Words = st.lists(st.sampled_from("abc"), max_size=7)


def drawn(reference: str, hypothesis: str) -> list[str]:
    """Columns as `a=a`, `a~b`, `a-` (deleted), `+b` (inserted)."""
    said, heard = reference.split(), hypothesis.split()
    names = []
    for column in align(said, heard):
        left = "" if column.reference is None else said[column.reference]
        right = "" if column.hypothesis is None else heard[column.hypothesis]
        names.append(left + ("=" if column.equal else "~" if left and right else "-" if left else "+") + right)
    return names


@pytest.mark.parametrize(
    ("reference", "hypothesis", "columns"),
    [
        ("", "", []),
        ("a b", "a b", ["a=a", "b=b"]),
        ("a b", "", ["a-", "b-"]),
        ("", "a", ["+a"]),
        ("a b c", "a x c", ["a=a", "b~x", "c=c"]),
        ("a b", "b a", ["+b", "a=a", "b-"]),  # two edits without a substitution, not two substitutions
        ("a a a", "a", ["a=a", "a-", "a-"]),  # the common beginning is aligned first
        ("x a", "y a a", ["+y", "x~a", "a=a"]),  # the common end is aligned before the rest
        ("a b c", "x c", ["a-", "b~x", "c=c"]),  # from the end: a pair before a deletion
    ],
)
def test_named_alignments(reference: str, hypothesis: str, columns: list[str]) -> None:
    assert drawn(reference, hypothesis) == columns


@given(reference=Words, hypothesis=Words)
@settings(deadline=None, max_examples=200)
def test_an_alignment_has_the_counts_of_the_kernel(reference: list[str], hypothesis: list[str]) -> None:
    columns = align(reference, hypothesis)
    edits = edit_counts([" ".join(reference)], [" ".join(hypothesis)])
    pairs = [column for column in columns if column.reference is not None and column.hypothesis is not None]
    assert sum(not column.equal for column in pairs) == edits.substitutions[0]
    assert sum(column.hypothesis is None for column in columns) == edits.deletions[0]
    assert sum(column.reference is None for column in columns) == edits.insertions[0]


@given(reference=Words, hypothesis=Words)
@settings(deadline=None, max_examples=100)
def test_every_word_stands_in_one_column_in_order(reference: list[str], hypothesis: list[str]) -> None:
    columns = align(reference, hypothesis)
    assert [column.reference for column in columns if column.reference is not None] == list(range(len(reference)))
    assert [column.hypothesis for column in columns if column.hypothesis is not None] == list(range(len(hypothesis)))
    for column in columns:
        assert column.equal == _says_the_same(column, reference, hypothesis)


def _says_the_same(column: Column, reference: list[str], hypothesis: list[str]) -> bool:
    if column.reference is None or column.hypothesis is None:
        return False
    return reference[column.reference] == hypothesis[column.hypothesis]
