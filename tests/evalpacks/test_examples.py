"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "evalpacks.gates",
        "evalpacks.metrics.words",
        "evalpacks.normalize",
        "evalpacks.slices",
        "evalpacks.statistics.bootstrap",
        "evalpacks.transcript_scores",
    ],
)
def test_docstring_examples(name: str) -> None:
    failures, examples = doctest.testmod(importlib.import_module(name))
    assert (failures, examples > 0) == (0, True)
